"""The 0.8M ViT (65 tokens, 4 heads of 32) with position encodings as people write them in PyTorch: where a bias can be handed to
F.scaled_dot_product_attention it is; terms of queries and values are einsums over a gathered (N, N, d) table, Transformer-XL shifts, iRPE looks up its
buckets with an index. Parameters have tessera's names, so that its weights load."""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

C, DEPTH, H, GRID = 128, 6, 4, 8
N, D = GRID * GRID + 1, C // H


def offsets(size):
    """(N, N) of j - i clipped to +-size on the raster, from 1 on; 0 for pairs with the class token."""
    at = torch.arange(N - 1)
    rho = torch.zeros(N, N, dtype=torch.long)
    rho[1:, 1:] = (at[None, :] - at[:, None]).clamp(-size, size) + size + 1
    return rho


def rows_and_columns():
    y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
    return torch.stack([y.flatten(), x.flatten()])


def query_minus_key():
    at = rows_and_columns()
    return at[:, :, None] - at[:, None, :]


def table(*shape):
    return nn.Parameter(torch.zeros(*shape))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)

    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(-1, N, 3, H, D).permute(2, 0, 3, 1, 4)
        return self.proj(self.attend(q, k, v).transpose(1, 2).reshape(-1, N, C))


class SwinBias(Attention):
    """A table with rows for the class token, as in BEiT and timm."""

    def __init__(self):
        super().__init__()
        rows = (2 * GRID - 1) ** 2
        self.relative_position_bias_table = table(rows + 3, H)
        off = query_minus_key() + GRID - 1
        rho = torch.empty(N, N, dtype=torch.long)
        rho[1:, 1:] = off[0] * (2 * GRID - 1) + off[1]
        rho[0, :], rho[:, 0], rho[0, 0] = rows, rows + 1, rows + 2
        self.register_buffer("rho", rho, persistent=False)

    def attend(self, q, k, v):
        bias = self.relative_position_bias_table[self.rho.view(-1)].view(N, N, H).permute(2, 0, 1).contiguous()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])


class Shaw(Attention):
    """Keys; with `values` the same of values."""

    def __init__(self, values=False, size=16):
        super().__init__()
        names = ("key", "value") if values else ("key",)
        self.position = nn.ParameterDict({name: table(2 * size + 2, D) for name in names})
        self.values = values
        self.register_buffer("rho", offsets(size), persistent=False)

    def attend(self, q, k, v):
        s = q @ k.transpose(-2, -1) + torch.einsum("bhid,ijd->bhij", q, self.position["key"][self.rho])
        p = (s * D**-0.5).softmax(-1)
        o = p @ v
        return o + torch.einsum("bhij,ijd->bhid", p, self.position["value"][self.rho]) if self.values else o


class TransformerXL(Attention):
    """Bidirectional, with the relative shift; the class token has the content term only."""

    def __init__(self):
        super().__init__()
        self.pos_bias_u, self.pos_bias_v, self.linear_pos = table(H, D), table(H, D), nn.Linear(C, C, bias=False)
        p = torch.arange(N - 2, -N + 1, -1.0)[:, None] * 10000 ** (-2 * torch.arange(C // 2) / C)
        self.register_buffer("R", torch.cat([p.sin(), p.cos()], -1), persistent=False)

    @staticmethod
    def shift(x):
        b, h, n, m = x.shape
        return F.pad(x, (1, 0)).view(b, h, m + 1, n)[:, :, 1:].reshape(b, h, n, m)[..., :n]

    def attend(self, q, k, v):
        r = self.linear_pos(self.R).view(-1, H, D).transpose(0, 1)
        position = self.shift((q[:, :, 1:] + self.pos_bias_v[:, None]) @ r.transpose(-2, -1))
        s = (q + self.pos_bias_u[:, None]) @ k.transpose(-2, -1) + F.pad(position, (1, 0, 1, 0))
        return (s * D**-0.5).softmax(-1) @ v


class IrpeProductK(Attention):
    """Product method, contextual, on keys, one table for all heads; without the CUDA operator of the released code."""

    def __init__(self, ratio=1.9):
        super().__init__()
        alpha, beta, gamma = ratio, 2 * ratio, 8 * ratio
        b = int(beta)

        def g(x):
            far = alpha + (x.abs().clamp(min=1) / alpha).log() / math.log(gamma / alpha) * (beta - alpha)
            return torch.where(x.abs() <= alpha, x, x.sign() * far.round().clamp(max=b)).long()

        off, w = query_minus_key().float(), 2 * b + 1
        rho = torch.full((N, N), w * w, dtype=torch.long)
        rho[1:, 1:] = (g(off[0]) + b) * w + g(off[1]) + b
        self.buckets = w * w + 1
        self.rpe_k = nn.ParameterDict({"lookup_table_weight": table(1, D, self.buckets)})
        self.register_buffer("index", (rho + torch.arange(N)[:, None] * self.buckets).flatten(), persistent=False)

    def attend(self, q, k, v):
        q = q * D**-0.5
        lookup = torch.matmul(q.transpose(0, 1).reshape(1, -1, D), self.rpe_k["lookup_table_weight"]).view(H, -1, N, self.buckets).transpose(0, 1)
        s = q @ k.transpose(-2, -1) + lookup.flatten(2)[:, :, self.index].view(-1, H, N, N)
        return s.softmax(-1) @ v


class RopeAxial(Attention):
    """Neighbouring channels turned in pairs by column and row angles; the class token stays."""

    def __init__(self, theta=100.0):
        super().__init__()
        f = theta ** (-torch.arange(D // 4) / (D // 4))
        y, x = rows_and_columns()
        angle = torch.cat([x[:, None] * f, y[:, None] * f], -1).repeat_interleave(2, -1)
        self.register_buffer("sin", angle.sin(), persistent=False), self.register_buffer("cos", angle.cos(), persistent=False)

    def turn(self, x):
        c, p = x[:, :, :1], x[:, :, 1:]
        crossed = torch.stack([-p[..., 1::2], p[..., ::2]], -1).reshape(p.shape)
        return torch.cat([c, p * self.cos + crossed * self.sin], 2)

    def attend(self, q, k, v):
        return F.scaled_dot_product_attention(self.turn(q), self.turn(k), v)


ENCODINGS = {"none": Attention, "relative_position_bias": SwinBias, "shaw": Shaw, "shaw_kv": lambda: Shaw(values=True),
             "transformer_xl": TransformerXL, "irpe": IrpeProductK, "rope_axial": RopeAxial}


class Mlp(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(C, 2 * C), nn.Linear(2 * C, C)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, attention):
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(C, eps=1e-6), attention()
        self.norm2, self.mlp = nn.LayerNorm(C, eps=1e-6), Mlp()

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class EncodedViT(nn.Module):
    def __init__(self, encoding):
        super().__init__()
        self.patch_embed, self.cls_token = nn.ModuleDict({"proj": nn.Conv2d(3, C, 4, 4)}), table(1, 1, C)
        self.blocks = nn.Sequential(*[Block(ENCODINGS[encoding]) for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(C, eps=1e-6), nn.Linear(C, 10)

    def forward(self, x):
        x = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.norm(self.blocks(x))[:, 0])
