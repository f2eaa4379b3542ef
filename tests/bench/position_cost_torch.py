#!/usr/bin/env python3
"""The same encodings as people write them in PyTorch, in the same training step, beside tessera's images a second, in turn in one run.

    python tests/bench/position_cost_torch.py [--tessera build/release/tessera] [--rounds 3] [--steps 6] [--csv FILE] [--no-compile] [NAME ...]

The step is that of `tessera bench train --model vit_cifar_small --batch-size 128`: 0.8M parameters, 65 tokens with a class token, 4 heads of 32,
fp32, clipping, AdamW, 2 threads. Where a bias can be handed to F.scaled_dot_product_attention it is; terms of queries and values are einsums over a
gathered (N, N, d) table, Transformer-XL shifts, iRPE looks up its buckets with an index, as their authors' and lucidrains' code do.
eager and torch.compile share the module. The round's three programs follow each other; figures are medians of the rounds. Needs a quiet machine.
"""
import argparse, csv, json, math, os, statistics, sys, time
import torch, torch.nn as nn, torch.nn.functional as F

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from position_cost_common import commit, cpu, milliseconds

C, DEPTH, H, GRID, BATCH = 128, 6, 4, 8, 128
N, D = GRID * GRID + 1, C // H


def table(*shape, std=0.02):
    return nn.Parameter(torch.randn(*shape) * std)


def offsets(size):
    """(N, N) of j - i clipped to +-size on the raster, from 1 on; 0 for pairs with the class token."""
    at = torch.arange(N - 1)
    rho = torch.zeros(N, N, dtype=torch.long)
    rho[1:, 1:] = (at[None, :] - at[:, None]).clamp(-size, size) + size + 1
    return rho


class Plain(nn.Module):
    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


class SwinBias(nn.Module):
    """relative_position_bias_table with class rows, as in BEiT and timm."""

    def __init__(self):
        super().__init__()
        rows = (2 * GRID - 1) ** 2
        self.table = table(rows + 3, H)
        y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
        at = torch.stack([y.flatten(), x.flatten()])
        off = at[:, :, None] - at[:, None, :] + GRID - 1
        rho = torch.empty(N, N, dtype=torch.long)
        rho[1:, 1:] = off[0] * (2 * GRID - 1) + off[1]
        rho[0, :], rho[:, 0], rho[0, 0] = rows, rows + 1, rows + 2
        self.register_buffer("rho", rho)

    def forward(self, q, k, v):
        bias = self.table[self.rho.view(-1)].view(N, N, H).permute(2, 0, 1).contiguous()
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None])


class Shaw(nn.Module):
    def __init__(self, values, size=16):
        super().__init__()
        self.key, self.value = table(2 * size + 2, D), table(2 * size + 2, D) if values else None
        self.register_buffer("rho", offsets(size))

    def forward(self, q, k, v):
        s = q @ k.transpose(-2, -1) + torch.einsum("bhid,ijd->bhij", q, self.key[self.rho])
        p = (s * D**-0.5).softmax(-1)
        o = p @ v
        return o if self.value is None else o + torch.einsum("bhij,ijd->bhid", p, self.value[self.rho])


class TransformerXL(nn.Module):
    """Bidirectional, with the relative shift; the class token has the content term only."""

    def __init__(self):
        super().__init__()
        self.u, self.v = table(H, 1, D), table(H, 1, D)
        self.linear_pos = nn.Linear(C, C, bias=False)
        n = N - 1
        p = torch.arange(n - 1, -n, -1.0)[:, None] * 10000 ** (-2 * torch.arange(C // 2) / C)
        self.register_buffer("R", torch.cat([p.sin(), p.cos()], -1))

    @staticmethod
    def shift(x):
        b, h, n, m = x.shape
        return F.pad(x, (1, 0)).view(b, h, m + 1, n)[:, :, 1:].reshape(b, h, n, m)[..., :n]

    def forward(self, q, k, v):
        r = self.linear_pos(self.R).view(-1, H, D).transpose(0, 1)
        position = self.shift((q[:, :, 1:] + self.v) @ r.transpose(-2, -1))
        s = (q + self.u) @ k.transpose(-2, -1) + F.pad(position, (1, 0, 1, 0))
        return (s * D**-0.5).softmax(-1) @ v


class IrpeProductK(nn.Module):
    """Product method, contextual, on keys, one table for all heads; the released code without its CUDA operator."""

    def __init__(self, ratio=1.9):
        super().__init__()
        alpha, beta, gamma = ratio, 2 * ratio, 8 * ratio
        b = int(beta)

        def g(x):
            far = alpha + (x.abs().clamp(min=1) / alpha).log() / math.log(gamma / alpha) * (beta - alpha)
            return torch.where(x.abs() <= alpha, x, x.sign() * far.round().clamp(max=b)).long()

        y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
        at = torch.stack([y.flatten(), x.flatten()]).float()
        off = at[:, :, None] - at[:, None, :]
        w = 2 * b + 1
        rho = torch.full((N, N), w * w, dtype=torch.long)
        rho[1:, 1:] = (g(off[0]) + b) * w + g(off[1]) + b
        self.buckets = w * w + 1
        self.lookup_table_weight = nn.Parameter(torch.zeros(1, D, self.buckets))
        self.register_buffer("index", (rho + torch.arange(N)[:, None] * self.buckets).flatten())

    def forward(self, q, k, v):
        q = q * D**-0.5
        lookup = torch.matmul(q.transpose(0, 1).reshape(1, -1, D), self.lookup_table_weight).view(H, -1, N, self.buckets).transpose(0, 1)
        s = q @ k.transpose(-2, -1) + lookup.flatten(2)[:, :, self.index].view(-1, H, N, N)
        return s.softmax(-1) @ v


class RopeAxial(nn.Module):
    """Pairs of channels turned by column and row angles, as timm's apply_rot_embed_cat; the class token stays."""

    def __init__(self, theta=100.0):
        super().__init__()
        f = theta ** (-torch.arange(D // 4) / (D // 4))
        y, x = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
        angle = torch.cat([x.flatten()[:, None] * f, y.flatten()[:, None] * f], -1).repeat_interleave(2, -1)
        self.register_buffer("sin", angle.sin()), self.register_buffer("cos", angle.cos())

    def turn(self, x):
        c, p = x[:, :, :1], x[:, :, 1:]
        crossed = torch.stack([-p[..., 1::2], p[..., ::2]], -1).reshape(p.shape)
        return torch.cat([c, p * self.cos + crossed * self.sin], 2)

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(self.turn(q), self.turn(k), v)


class Gate(nn.Module):
    """Huang's method 3: every channel of the product times a weight of the offset."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2 * (N - 2) + 2, D))
        self.register_buffer("rho", offsets(N - 2))

    def forward(self, q, k, v):
        s = torch.einsum("bhid,bhjd,ijd->bhij", q, k, self.weight[self.rho])
        return (s * D**-0.5).softmax(-1) @ v


ENCODINGS = {"none": Plain, "relative_position_bias": SwinBias, "shaw": lambda: Shaw(False), "shaw_kv": lambda: Shaw(True),
             "transformer_xl": TransformerXL, "irpe": IrpeProductK, "rope_axial": RopeAxial, "huang3": Gate}


class Block(nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.norm1, self.qkv, self.proj = nn.LayerNorm(C, eps=1e-6), nn.Linear(C, 3 * C), nn.Linear(C, C)
        self.norm2, self.fc1, self.fc2 = nn.LayerNorm(C, eps=1e-6), nn.Linear(C, 2 * C), nn.Linear(2 * C, C)
        self.attend = attend()

    def forward(self, x):
        b = x.shape[0]
        q, k, v = self.qkv(self.norm1(x)).reshape(b, N, 3, H, D).permute(2, 0, 3, 1, 4)
        x = x + self.proj(self.attend(q, k, v).transpose(1, 2).reshape(b, N, C))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class ViT(nn.Module):
    def __init__(self, attend):
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, C, 4, 4), nn.Parameter(torch.randn(1, 1, C) * 1e-6)
        self.blocks = nn.Sequential(*[Block(attend) for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(C, eps=1e-6), nn.Linear(C, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
        return self.head(self.norm(self.blocks(x))[:, 0])


class Trainer:
    def __init__(self, name, compiled):
        torch.manual_seed(1)
        self.net = ViT(ENCODINGS[name])
        self.run = torch.compile(self.net) if compiled else self.net
        self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=1e-4, weight_decay=0.05)
        self.x, self.y = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10

    def step(self):
        loss = F.cross_entropy(self.run(self.x), self.y, label_smoothing=0.1)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()

    def milliseconds(self, warmup, steps):
        """Medians by the clock and of processor time."""
        clock, cpu_time = [], []
        for i in range(warmup + steps):
            start, start_cpu = time.perf_counter(), time.process_time()
            self.step()
            if i >= warmup:
                clock.append(1e3 * (time.perf_counter() - start)), cpu_time.append(1e3 * (time.process_time() - start_cpu))
        return statistics.median(clock), statistics.median(cpu_time)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", help="of " + ", ".join(ENCODINGS) + "; all if none is named")
    p.add_argument("--tessera", default="build/release/tessera")
    for name, value in (("rounds", 3), ("steps", 6), ("warmup", 2), ("threads", 2)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--no-compile", action="store_true")
    p.add_argument("--csv")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    names = a.names or list(ENCODINGS)
    print(f"torch {torch.__version__}, {a.threads} threads, batch {BATCH}; images/s; in brackets how many times as fast tessera is, by the clock and by processor time")
    print(f"{'encoding':26} {'tessera':>9} {'eager':>22} {'torch.compile':>22}", flush=True)
    rows = []
    for name in names:
        eager, compiled = Trainer(name, False), None if a.no_compile else Trainer(name, True)
        for t in (eager, compiled):
            if t:
                t.step(), t.step()  # compiles
        times = {"tessera": [], "eager": [], "compile": []}
        for _ in range(a.rounds):
            times["tessera"].append(milliseconds(a.tessera, name, a.threads, a.steps, a.warmup))
            times["eager"].append(eager.milliseconds(a.warmup, a.steps))
            if compiled:
                times["compile"].append(compiled.milliseconds(a.warmup, a.steps))
        speed = {k: 1e3 * BATCH / statistics.median(x[0] for x in v) for k, v in times.items() if v}
        cost = {k: statistics.median(x[1] for x in v) for k, v in times.items() if v}
        print(f"{name:26} {speed['tessera']:9.1f} " + " ".join(f"{speed[k]:9.1f} ({speed['tessera'] / speed[k]:4.2f}, {cost[k] / cost['tessera']:4.2f})" for k in speed if k != "tessera"), flush=True)
        rows.append([name, *(f"{speed[k]:.1f}" if k in speed else "" for k in times), *(f"{cost[k]:.1f}" if k in cost else "" for k in times), torch.__version__, cpu(), commit(), f"{os.getloadavg()[0]:.1f}"])
    if a.csv:
        fresh = not os.path.exists(a.csv)
        with open(a.csv, "a", newline="") as f:
            w = csv.writer(f, lineterminator="\n")
            if fresh:
                w.writerow(["encoding", "tessera_images_per_s", "torch_eager_images_per_s", "torch_compile_images_per_s", "tessera_cpu_ms",
                            "torch_eager_cpu_ms", "torch_compile_cpu_ms", "torch", "cpu", "commit", "load"])
            w.writerows(rows)


if __name__ == "__main__":
    main()
