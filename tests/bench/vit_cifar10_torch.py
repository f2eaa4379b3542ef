"""The recipe vit_cifar10_small in plain PyTorch: the peer that tessera's accuracy is compared with.

    python vit_cifar10_torch.py DATA_DIR OUT.jsonl [--epochs 30] [--seed 1] [--compile] [--checkpoint FILE] [--test-every N]

DATA_DIR holds cifar-10-batches-bin. Prints and appends one JSON line an epoch: training loss, learning rate, test
accuracy of that epoch, processor seconds. fp32 throughout. With --checkpoint every epoch is saved to FILE, and the same command goes on
from there after an interruption.
"""
import argparse, json, math, os, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("data"); p.add_argument("out")
p.add_argument("--epochs", type=int, default=30); p.add_argument("--seed", type=int, default=1)
p.add_argument("--batch", type=int, default=128); p.add_argument("--compile", action="store_true")
p.add_argument("--checkpoint"); p.add_argument("--test-every", type=int, default=1, help="epochs; the first, the fifth and the last are always tested")
p.add_argument("--steps", type=int, default=0, help="stop after that many steps and print images/s")
a = p.parse_args()
torch.manual_seed(a.seed)

def records(names):
    raw = np.concatenate([np.fromfile(os.path.join(a.data, "cifar-10-batches-bin", n), np.uint8) for n in names]).reshape(-1, 3073)
    return torch.from_numpy(raw[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(raw[:, 0].astype(np.int64))
train_x, train_y = records([f"data_batch_{i}.bin" for i in range(1, 6)])
test_x, test_y = records(["test_batch.bin"])
f = train_x.float() / 255
mean, std = f.mean((0, 2, 3)).view(1, 3, 1, 1), f.std((0, 2, 3)).view(1, 3, 1, 1); del f
norm = lambda u: (u.float() / 255 - mean) / std

def augment(u):                                       # zero padding by 4, random crop, horizontal flip: on the bytes, as torchvision does
    b = u.shape[0]; q = F.pad(u, (4, 4, 4, 4)); dy, dx = torch.randint(0, 9, (2, b)); flip = torch.rand(b) < .5
    ys = dy[:, None] + torch.arange(32); xs = dx[:, None] + torch.arange(32); xs = torch.where(flip[:, None], xs.flip(1), xs)
    return q[torch.arange(b)[:, None, None, None], torch.arange(3)[None, :, None, None], ys[:, None, :, None], xs[:, None, None, :]]

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
    def __init__(s, c=128, depth=6, h=4, p=4, k=10):
        super().__init__()
        s.proj = nn.Conv2d(3, c, p, p); s.cls = nn.Parameter(torch.randn(1, 1, c) * 1e-6); s.pos = nn.Parameter(torch.randn(1, (32 // p) ** 2 + 1, c) * .02)
        s.blocks = nn.Sequential(*[Block(c, h, 2 * c) for _ in range(depth)]); s.norm = nn.LayerNorm(c, eps=1e-6); s.head = nn.Linear(c, k)
        for m in s.modules():
            if isinstance(m, nn.Linear): nn.init.normal_(m.weight, std=.02); nn.init.zeros_(m.bias)
    def forward(s, x):
        x = s.proj(x).flatten(2).transpose(1, 2)
        x = torch.cat([s.cls.expand(x.shape[0], -1, -1), x], 1) + s.pos
        return s.head(s.norm(s.blocks(x))[:, 0])
net = ViT(); print("parameters", sum(q.numel() for q in net.parameters()), "torch", torch.__version__, "threads", torch.get_num_threads(), flush=True)
decay = [q for n, q in net.named_parameters() if q.ndim > 1 and n not in ("cls", "pos")]; rest = [q for n, q in net.named_parameters() if not (q.ndim > 1 and n not in ("cls", "pos"))]
opt = torch.optim.AdamW([{"params": decay, "weight_decay": .05}, {"params": rest, "weight_decay": 0.}], lr=1e-3)
run = torch.compile(net) if a.compile else net
steps = (len(train_x) + a.batch - 1) // a.batch; warm = 3
def rate(e): return 1e-3 * (e / warm if e < warm else .5 * (1 + math.cos(math.pi * (e - warm) / (a.epochs - warm))))
t0 = time.time(); done = start = 0; spent = 0.
if a.checkpoint and os.path.exists(a.checkpoint):
    state = torch.load(a.checkpoint); net.load_state_dict(state["net"]); opt.load_state_dict(state["opt"])
    start, spent = state["epoch"], state["spent"]; torch.set_rng_state(state["rng"]); print("going on after epoch", start, flush=True)
for epoch in range(start, a.epochs):
    order = torch.randperm(len(train_x)); total = 0.; net.train()
    for i in range(steps):
        at = order[i * a.batch:(i + 1) * a.batch]
        for g in opt.param_groups: g["lr"] = rate(epoch + i / steps)
        loss = F.cross_entropy(run(norm(augment(train_x[at]))), train_y[at], label_smoothing=.1)
        opt.zero_grad(set_to_none=True); loss.backward(); nn.utils.clip_grad_norm_(net.parameters(), 1.); opt.step()
        total += loss.item() * len(at); done += 1
        if a.steps and done == 5: t0 = time.time()
        if a.steps and done == a.steps: print(f"images/s {(done - 5) * a.batch / (time.time() - t0):.1f}"); raise SystemExit
    net.eval(); hit = 0; test = epoch in (0, 4, a.epochs - 1) or (epoch + 1) % a.test_every == 0
    with torch.no_grad():
        for i in range(0, len(test_x) if test else 0, 500): hit += (net(norm(test_x[i:i + 500])).argmax(1) == test_y[i:i + 500]).sum().item()
    line = json.dumps({"epoch": epoch + 1, "train_loss": total / len(train_x), "test_acc1": hit / len(test_x) if test else None, "lr": rate(epoch + 1), "cpu_seconds": spent + time.process_time()})
    print(line, flush=True); open(a.out, "a").write(line + "\n")
    if a.checkpoint:
        torch.save({"net": net.state_dict(), "opt": opt.state_dict(), "epoch": epoch + 1, "spent": spent + time.process_time(), "rng": torch.get_rng_state()}, a.checkpoint + ".new")
        os.replace(a.checkpoint + ".new", a.checkpoint)
