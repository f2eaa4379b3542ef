"""Golden numbers of what others have put into ViTs: registers and normalised queries and keys by timm, the rest in plain PyTorch after the
equations of the papers. Names are ours. See common.py."""
import math

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from common import DATA, write

FACTS = {"timm": timm.__version__, "torch": torch.__version__}
OWN = {"torch": torch.__version__}
SMALL = dict(patch_size=4, embed_dim=16, depth=1, num_heads=2, mlp_ratio=2, num_classes=5)


def depthwise(dim, kernel=3, bias=True):
    return nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=bias)


def on_map(x, grid, f):
    """f on the patches of x as a map (B, C, h, w); the class token passes by."""
    token, patches = x[:, :1], x[:, 1:]
    y = f(patches.transpose(1, 2).unflatten(2, grid))
    return torch.cat([token, y.flatten(2).transpose(1, 2)], 1)


def elu(x):
    return F.elu(x) + 1


def turned(x, grid):
    """Pairs of neighbouring channels, the first half of them by the column, the others by the row; the class token stays."""
    d = x.shape[-1]
    band = 100.0 ** (-4 * torch.arange(d // 4, dtype=x.dtype) / d)
    y, col = torch.meshgrid(torch.arange(grid[0], dtype=x.dtype), torch.arange(grid[1], dtype=x.dtype), indexing="ij")
    angle = torch.cat([col.flatten()[:, None] * band, y.flatten()[:, None] * band], 1)
    angle = torch.cat([torch.zeros(1, d // 2, dtype=x.dtype), angle])
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1).flatten(-2)


class Attention(nn.Module):
    def __init__(self, dim, heads, head_dim, kind, rope, lsa, lepe, bias, proj_bias):
        super().__init__()
        inner = heads * head_dim
        self.qkv, self.proj = nn.Linear(dim, 3 * inner, bias), nn.Linear(inner, dim, proj_bias)
        self.heads, self.kind, self.rope = heads, kind, rope
        if lsa:
            self.temperature = nn.Parameter(torch.ones(heads))
        if lepe:
            self.lepe = depthwise(inner, lepe)

    def forward(self, x, grid):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
        if self.kind == "softmax":
            s = q @ k.transpose(-2, -1)
            if hasattr(self, "temperature"):
                s = s * self.temperature[:, None, None] + torch.diag(torch.full(s.shape[-1:], -math.inf, dtype=s.dtype))
            else:
                s = s / math.sqrt(q.shape[-1])
            o = s.softmax(-1) @ v
        else:  # all pairs, which is what the sums must give
            f, one, eps = (elu, 0, 1e-6) if self.kind == "elu" else (lambda t: F.normalize(t, dim=-1), 1, 0)
            q, k = f(q), f(k)
            below = one + q @ k.transpose(-2, -1)
            above = one + turned(q, grid) @ turned(k, grid).transpose(-2, -1) if self.rope else below
            o = above @ v / (below.sum(-1, keepdim=True) + eps)
        o = o.transpose(1, 2).flatten(2)
        if hasattr(self, "lepe"):
            values = on_map(v.transpose(1, 2).flatten(2), grid, self.lepe)
            o = torch.cat([o[:, :1], o[:, 1:] + values[:, 1:]], 1)
        return self.proj(o)


class Mlp(nn.Module):
    def __init__(self, dim, hidden, kind):
        super().__init__()
        self.fc1, self.fc2, self.kind = nn.Linear(dim, hidden), nn.Linear(hidden, dim), kind
        if kind in ("mix_ffn", "conv_ff"):
            self.dwconv = depthwise(hidden)
        if kind == "conv_ff":
            self.pointwise = nn.Linear(hidden, hidden)

    def forward(self, x, grid):
        y = self.fc1(x)
        if self.kind == "mix_ffn":
            y = F.gelu(on_map(y, grid, self.dwconv))
        elif self.kind == "conv_ff":
            y = F.hardswish(self.pointwise(on_map(F.hardswish(y), grid, self.dwconv)))
        else:
            y = F.gelu(y)
        return F.gelu(self.fc2(y)) if self.kind == "act_out" else self.fc2(y)


class SqueezeExcite(nn.Module):
    """Hu et al. 2018 as in LocalViT: every channel times a hard sigmoid of what two layers make of the means of all."""

    def __init__(self, dim, reduction):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(dim, dim // reduction), nn.ReLU(), nn.Linear(dim // reduction, dim), nn.Hardsigmoid())

    def forward(self, map):
        return map * self.fc(map.mean((2, 3)))[:, :, None, None]


class Locality(nn.Module):
    def __init__(self, dim, hidden, reduction=0):
        super().__init__()
        se = [SqueezeExcite(hidden, reduction)] if reduction else []
        self.conv = nn.Sequential(nn.Conv2d(dim, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish(),
                                  depthwise(hidden, bias=False), nn.BatchNorm2d(hidden), nn.Hardswish(), *se,
                                  nn.Conv2d(hidden, dim, 1, bias=False), nn.BatchNorm2d(dim))

    def forward(self, map):
        return map + self.conv(map)


class Block(nn.Module):
    def __init__(self, dim, hidden, mlp, eps, **attn):
        super().__init__()
        self.norm1, self.attn, self.kind = nn.LayerNorm(dim, eps), Attention(dim, **attn), mlp
        if mlp.startswith("local"):
            self.conv = Locality(dim, hidden, 4 if mlp == "local_se" else 0)
        else:
            self.norm2, self.mlp = nn.LayerNorm(dim, eps), Mlp(dim, hidden, mlp)

    def forward(self, x, grid):
        x = x + self.attn(self.norm1(x), grid)
        if self.kind.startswith("local"):
            return on_map(x, grid, self.conv)
        y = self.mlp(self.norm2(x), grid)
        return x + (torch.cat([0 * y[:, :1], y[:, 1:]], 1) if self.kind == "conv_ff" else y)


class Patches(nn.Module):
    """conv; or rows of pixels (row, column, channel) through LayerNorm and Linear: of the image and its four diagonal shifts (spt), or with
    a second LayerNorm (norm)."""

    def __init__(self, kind, size, dim):
        super().__init__()
        self.kind, self.size = kind, size
        if kind == "conv":
            self.proj = nn.Conv2d(3, dim, size, size)
        else:
            pixels = 3 * size * size * (5 if kind == "spt" else 1)
            self.pre_norm, self.proj = nn.LayerNorm(pixels), nn.Linear(pixels, dim)
        if kind == "norm":
            self.norm = nn.LayerNorm(dim)

    def forward(self, image):
        if self.kind == "conv":
            return self.proj(image).flatten(2).transpose(1, 2)
        if self.kind == "spt":
            B, C, H, W = image.shape
            s = self.size // 2
            all_five = [image]
            for down in (s, -s):
                for right in (s, -s):
                    moved = torch.zeros_like(image)
                    moved[:, :, max(down, 0):H + min(down, 0), max(right, 0):W + min(right, 0)] = \
                        image[:, :, max(-down, 0):H + min(-down, 0), max(-right, 0):W + min(-right, 0)]
                    all_five.append(moved)
            image = torch.cat(all_five, 1)
        B, C, H, W = image.shape
        p = self.size
        rows = image.permute(0, 2, 3, 1).reshape(B, H // p, p, W // p, p, C).transpose(2, 3).reshape(B, -1, p * p * C)
        x = self.proj(self.pre_norm(rows))
        return self.norm(x) if self.kind == "norm" else x


class Vit(nn.Module):
    """simple: no class token, sinusoids of both coordinates, the mean of the normalised tokens."""

    def __init__(self, img_size=(16, 12), patch="conv", kind="softmax", rope=False, lsa=False, lepe=0, mlp="mlp", bias=True, proj_bias=True,
                 head_dim=8, eps=1e-6, simple=False, mode="eval"):
        super().__init__()
        dim, heads, p = SMALL["embed_dim"], SMALL["num_heads"], SMALL["patch_size"]
        self.grid, self.simple, self.mode = (img_size[0] // p, img_size[1] // p), simple, mode
        if not simple:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            if not rope:
                self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], dim))
        self.patch_embed = Patches(patch, p, dim)
        self.blocks = nn.ModuleList([Block(dim, 2 * dim, mlp, eps, heads=heads, head_dim=head_dim, kind=kind, rope=rope, lsa=lsa, lepe=lepe,
                                           bias=bias, proj_bias=proj_bias) for _ in range(SMALL["depth"])])
        self.norm, self.head = nn.LayerNorm(dim, eps), nn.Linear(dim, SMALL["num_classes"])

    def eval(self):
        return self.train() if self.mode == "train" else super().eval()

    def forward(self, image):
        x = self.patch_embed(image)
        if self.simple:
            x = x + self.sincos(x.shape[-1] // 4).to(x.dtype)
        else:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
            x = x + self.pos_embed if hasattr(self, "pos_embed") else x
        for block in self.blocks:
            x = block(x, self.grid)
        x = self.norm(x)
        return self.head(x.mean(1) if self.simple else x[:, 0])

    def sincos(self, quarter):
        omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / (quarter - 1))
        col = (torch.arange(self.grid[1], dtype=torch.float64)[:, None] * omega).repeat(self.grid[0], 1)
        row = (torch.arange(self.grid[0], dtype=torch.float64)[:, None] * omega).repeat_interleave(self.grid[1], 0)
        return torch.cat([col.sin(), col.cos(), row.sin(), row.cos()], 1)


def with_buffers(name, model):
    """Running statistics beside the parameters: any, for in training they are not read."""
    path = DATA / f"{name}.weights.safetensors"
    fresh = {n: torch.zeros(b.shape) if n.endswith("mean") else torch.ones(b.shape) for n, b in model.named_buffers() if "running" in n}
    save_file(load_file(path) | fresh, path)
    path.chmod(0o644)


SHAPE = (2, 3, 16, 12)
write("vit_registers", VisionTransformer(img_size=(12, 20), reg_tokens=3, **SMALL), (2, 3, 12, 20), 5, FACTS)
write("vit_qk_norm", VisionTransformer(img_size=(12, 20), reg_tokens=2, no_embed_class=True, qk_norm=True, global_pool="avg", **SMALL),
      (2, 3, 12, 20), 5, FACTS)
write("vit_conv_ff", Vit(mlp="conv_ff", lepe=3), SHAPE, 5, OWN)
write("vit_mix_ffn", Vit(mlp="mix_ffn"), SHAPE, 5, OWN)
write("vit_act_out", Vit(mlp="act_out"), SHAPE, 5, OWN)
write("vit_spt_lsa", Vit(patch="spt", lsa=True, bias=False, eps=1e-5), SHAPE, 5, OWN)
write("vit_elu", Vit(kind="elu"), SHAPE, 5, OWN)
write("vit_elu_rope", Vit(kind="elu", rope=True), SHAPE, 5, OWN)
write("vit_taylor", Vit(kind="taylor", lepe=5), SHAPE, 5, OWN)
write("simple_vit_lucidrains", Vit(patch="norm", bias=False, proj_bias=False, head_dim=6, eps=1e-5, simple=True), SHAPE, 5, OWN)
local = Vit(mlp="local", mode="train")
write("vit_local", local, SHAPE, 5, OWN)
with_buffers("vit_local", local)
local_se = Vit(mlp="local_se", mode="train")
write("vit_local_se", local_se, SHAPE, 5, OWN)
with_buffers("vit_local_se", local_se)
