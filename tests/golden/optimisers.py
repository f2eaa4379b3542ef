"""Ten steps of the authors' optimisers in float64: the numbers of tests/twin/optimisers.cpp and tests/unit/optimisers.cpp.

    venv/bin/pip install torch==2.14.1 timm==1.0.31 lion-pytorch==0.2.5 schedulefree==1.4.1 safetensors
    venv/bin/python tests/golden/optimisers.py [the folder of Jordan's muon.py, to compare with it, too]

One file, data/optimisers.safetensors:
    start.PARAMETER                 the weights, F64
    CASE.PARAMETER                  (10, ...) after each step; of schedule-free AdamW that is y ...
    CASE.x.PARAMETER                ... and this is x, what is evaluated

Lion is lucidrains' and timm's, which agree; Muon is PyTorch's, whose bfloat16 is taken out, beside PyTorch's AdamW; schedule-free AdamW is
its authors'. SAM has no package: it is written out here from the paper (Foret et al. 2021, algorithm 1), around PyTorch's optimisers.
"""
import sys

sys.path.pop(0)  # statistics.py beside this file is called like a module of Python's own
import math
import pathlib

import lion_pytorch
import schedulefree
import timm.optim
import torch
from safetensors.torch import save_file

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
torch.Tensor.bfloat16 = torch.Tensor.clone
STEPS = 10
SHAPES = {"wide": (4, 6), "tall": (6, 3), "conv": (3, 2, 2, 2), "bias": (6,)}
DECAYED = ("wide", "tall", "conv")


def numbered(name):
    return torch.arange(torch.Size(SHAPES[name]).numel(), dtype=torch.float64) + 100 * list(SHAPES).index(name)


def start(name):
    return torch.sin(1 + 3 * numbered(name)).reshape(SHAPES[name])


def gradient(name, w, t):
    """Of step t = 0, 1, ...: a bowl with ripples, so that another point has another gradient."""
    i = numbered(name).reshape(SHAPES[name])
    return 0.3 * (w - torch.cos(1 + i)) + 0.2 * torch.sin(2 * w + t + i)


def fill(params, t, clip=0.0):
    for name, p in params.items():
        p.grad = gradient(name, p.detach(), t).reshape(p.shape)
    if clip:
        torch.nn.utils.clip_grad_norm_(params.values(), clip)


def fresh():
    return {name: torch.nn.Parameter(start(name)) for name in SHAPES}


def groups(params, decay):
    return [{"params": [params[n] for n in DECAYED], "weight_decay": decay},
            {"params": [params["bias"]], "weight_decay": 0.0}]


def trace(make, clip=0.0, each=lambda opt, params, t: None, params=None):
    params = params or fresh()
    opts = make(params)
    seen = {name: [] for name in params}
    for t in range(STEPS):
        fill(params, t, clip)
        for opt in opts:
            opt.step()
            each(opt, params, t)
        for name, p in params.items():
            seen[name].append(p.detach().clone().reshape(SHAPES[name]))
    return {name: torch.stack(rows) for name, rows in seen.items()}


def lion(lr, betas, decay, clip=0.0):
    ours = trace(lambda p: [lion_pytorch.Lion(groups(p, decay), lr=lr, betas=betas)], clip)
    theirs = trace(lambda p: [timm.optim.Lion(groups(p, decay), lr=lr, betas=betas)], clip)
    assert all((ours[n] - theirs[n]).abs().max() < 1e-12 for n in ours)
    return ours


def muon(lr, decay, adamw, normalised=False, **how):
    """normalised: before each step a matrix is brought to the norm sqrt(rows), as Jordan's airbench94_muon.py does."""
    params = fresh()
    params["conv"] = torch.nn.Parameter(start("conv").reshape(3, -1))
    def fill_matrix(p, t):
        for name in p:
            p[name].grad = gradient(name, p[name].detach().reshape(SHAPES[name]), t).reshape(p[name].shape)
    opts = [torch.optim.Muon([params[n] for n in DECAYED], lr=lr, weight_decay=decay, **how),
            torch.optim.AdamW([params["bias"]], lr=adamw, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)]
    seen = {name: [] for name in params}
    for t in range(STEPS):
        fill_matrix(params, t)
        if normalised:
            with torch.no_grad():
                for n in DECAYED:
                    params[n].mul_(math.sqrt(len(params[n])) / torch.linalg.norm(params[n]))
        for opt in opts:
            opt.step()
        for name, p in params.items():
            seen[name].append(p.detach().clone().reshape(SHAPES[name]))
    return {name: torch.stack(rows) for name, rows in seen.items()}


def jordans(folder, lr, decay, adamw):
    sys.path.append(folder)
    import muon as author
    def make(p):
        return [author.SingleDeviceMuonWithAuxAdam([
            dict(params=[p[n] for n in DECAYED], use_muon=True, lr=lr, weight_decay=decay),
            dict(params=[p["bias"]], use_muon=False, lr=adamw, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)])]
    return trace(make)


def schedule_free(lr, betas, decay, warmup):
    params, averages = fresh(), {name: [] for name in SHAPES}

    def make(p):
        opt = schedulefree.AdamWScheduleFree(groups(p, decay), lr=lr, betas=betas, warmup_steps=warmup)
        opt.train()
        return [opt]

    def each(opt, p, t):
        opt.eval()
        for name in p:
            averages[name].append(p[name].detach().clone())
        opt.train()
    y = trace(make, each=each, params=params)
    return y, {name: torch.stack(rows) for name, rows in averages.items()}


def sam(rho, make):
    params = fresh()
    opt = make(params)
    seen = {name: [] for name in params}
    for t in range(STEPS):
        fill(params, t)
        norm = torch.sqrt(sum((p.grad ** 2).sum() for p in params.values()))
        before = {name: p.detach().clone() for name, p in params.items()}
        with torch.no_grad():
            for p in params.values():
                p.add_(rho * p.grad / (norm + 1e-12))
        fill(params, t)
        with torch.no_grad():
            for name, p in params.items():
                p.copy_(before[name])
        opt.step()
        for name, p in params.items():
            seen[name].append(p.detach().clone())
    return {name: torch.stack(rows) for name, rows in seen.items()}


def main():
    out = {f"start.{name}": start(name) for name in SHAPES}

    def add(case, rows):
        out.update({f"{case}.{name}": v.contiguous() for name, v in rows.items()})

    add("lion", lion(0.01, (0.9, 0.99), 0.1))
    add("lion_clipped", lion(0.003, (0.8, 0.95), 0.0, clip=0.5))
    add("muon", muon(0.02, 0.1, adamw=3e-3))
    add("muon_plain", muon(0.01, 0.0, adamw=1e-3, momentum=0.6, nesterov=False, ns_steps=3, adjust_lr_fn="match_rms_adamw"))
    add("muon_normalised", muon(0.24, 0.1, adamw=3e-3, normalised=True, momentum=0.6, ns_steps=3))
    if len(sys.argv) > 1:
        theirs = jordans(sys.argv[1], 0.02, 0.1, 3e-3)
        print("Jordan's own differs from PyTorch's by", max(float((theirs[n] - out[f"muon.{n}"]).abs().max()) for n in theirs))
    for case, args in (("schedule_free", (0.05, (0.9, 0.999), 0.1, 4)), ("schedule_free_still", (0.02, (0.95, 0.99), 0.0, 0))):
        y, x = schedule_free(*args)
        add(case, y)
        add(f"{case}.x", x)
    add("sam_adamw", sam(0.05, lambda p: torch.optim.AdamW(groups(p, 0.1), lr=0.01)))
    add("sam_sgd", sam(0.5, lambda p: torch.optim.SGD(groups(p, 0.01), lr=0.1, momentum=0.9, nesterov=True)))
    save_file(out, pathlib.Path(__file__).parent / "data" / "optimisers.safetensors")


main()
