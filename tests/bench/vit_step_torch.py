"""Milliseconds of a ViT training step in PyTorch (eager and torch.compile), the peer of `tessera bench train`.

    python vit_step_torch.py [--dim 192 --depth 12 --heads 3 --mlp 4 --batch 64] [--threads 2] [--steps 12] [--compile] [--bf16]

One step = forward, backward, gradient clipping, AdamW on random 32x32 images with patch 4 and a class token (65 tokens), fp32, or
with --bf16 forward and loss under torch.autocast, weights and optimiser in fp32: what `--precision bf16` is there.
Prints one JSON document with min, median and max of the counted steps.
"""
import argparse, json, statistics, time
import torch, torch.nn as nn, torch.nn.functional as F

p = argparse.ArgumentParser()
for name, value in (("dim", 192), ("depth", 12), ("heads", 3), ("batch", 64), ("threads", 2), ("steps", 12), ("warmup", 4)):
    p.add_argument("--" + name, type=int, default=value)
p.add_argument("--mlp", type=float, default=4); p.add_argument("--compile", action="store_true"); p.add_argument("--bf16", action="store_true")
a = p.parse_args()
torch.set_num_threads(a.threads); torch.manual_seed(1)

class Block(nn.Module):
    def __init__(s, c, h, m):
        super().__init__(); s.h = h
        s.norm1, s.qkv, s.proj = nn.LayerNorm(c, eps=1e-6), nn.Linear(c, 3 * c), nn.Linear(c, c)
        s.norm2, s.fc1, s.fc2 = nn.LayerNorm(c, eps=1e-6), nn.Linear(c, m), nn.Linear(m, c)
    def forward(s, x):
        b, n, c = x.shape
        q, k, v = s.qkv(s.norm1(x)).reshape(b, n, 3, s.h, c // s.h).permute(2, 0, 3, 1, 4)
        x = x + s.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))
        return x + s.fc2(F.gelu(s.fc1(s.norm2(x))))

class ViT(nn.Module):
    def __init__(s):
        super().__init__()
        s.proj = nn.Conv2d(3, a.dim, 4, 4); s.cls = nn.Parameter(torch.zeros(1, 1, a.dim)); s.pos = nn.Parameter(torch.randn(1, 65, a.dim) * .02)
        s.blocks = nn.Sequential(*[Block(a.dim, a.heads, int(a.mlp * a.dim)) for _ in range(a.depth)])
        s.norm = nn.LayerNorm(a.dim, eps=1e-6); s.head = nn.Linear(a.dim, 10)
    def forward(s, x):
        x = s.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([s.cls.expand(x.shape[0], -1, -1), x], 1) + s.pos
        return s.head(s.norm(s.blocks(x))[:, 0])

net = ViT(); opt = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=.05)
run = torch.compile(net) if a.compile else net
x, y = torch.randn(a.batch, 3, 32, 32), torch.randint(0, 10, (a.batch,))
times = []
for i in range(a.warmup + a.steps):
    t = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16, enabled=a.bf16):
        loss = F.cross_entropy(run(x), y, label_smoothing=.1)
    opt.zero_grad(set_to_none=True); loss.backward(); nn.utils.clip_grad_norm_(net.parameters(), 1.); opt.step()
    if i >= a.warmup: times.append(1e3 * (time.perf_counter() - t))
m = statistics.median(times)
print(json.dumps({"framework": "torch " + torch.__version__, "compile": a.compile, "bf16": a.bf16, "params": sum(q.numel() for q in net.parameters()),
                  "threads": a.threads, "batch_size": a.batch, "ms_per_step": {"min": min(times), "median": m, "max": max(times)}, "images_per_s": 1e3 * a.batch / m}))
