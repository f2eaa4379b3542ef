"""Ten steps of the authors' optimisers in float64: the numbers of tests/twin/optimisers.cpp and tests/unit/optimisers.cpp.

    venv/bin/pip install torch==2.14.1 timm==1.0.31 lion-pytorch==0.2.5 schedulefree==1.4.1 safetensors
    venv/bin/python tests/golden/optimisers.py [FOLDER]

One file, data/optimisers.safetensors:
    start.PARAMETER                 the weights, F64
    CASE.PARAMETER                  (10, ...) after each step; of schedule-free AdamW that is y ...
    CASE.x.PARAMETER                ... and this is x, what is evaluated

Lion is lucidrains' and timm's, which agree; Muon is PyTorch's, whose bfloat16 is taken out, beside PyTorch's AdamW; schedule-free AdamW is
its authors'. SAM has no package: it is written out here from the paper (Foret et al. 2021, algorithm 1), around PyTorch's optimisers.

With FOLDER, files of the authors' own repositories in it are run beside these, and the largest difference of any weight in the ten steps is
printed (needs JAX for SAM, whose function of the climb is taken out of its file):
    KellerJordan/Muon 857d1ad, muon.py                                      1.3e-07, by the 1e-7 that it adds to a norm and PyTorch does not
    google/automl 6a54c87, lion/lion_pytorch.py                             0
    google-research/sam dae9904, sam_jax/training_utils/flax_training.py    6.3e-14
"""
import sys

sys.path.pop(0)  # statistics.py beside this file is called like a module of Python's own
import ast
import importlib.util
import math
import pathlib
import types

import lion_pytorch
import numpy
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


def module(folder, file):
    spec = importlib.util.spec_from_file_location("author_" + file.split(".")[0], pathlib.Path(folder) / file)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def jordans(folder, lr, decay, adamw):
    author = module(folder, "muon.py")

    def make(p):
        return [author.SingleDeviceMuonWithAuxAdam([
            dict(params=[p[n] for n in DECAYED], use_muon=True, lr=lr, weight_decay=decay),
            dict(params=[p["bias"]], use_muon=False, lr=adamw, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.0)])]
    return trace(make)


def googles_lion(folder, lr, betas, decay, clip=0.0):
    author = module(folder, "lion_pytorch.py")
    return trace(lambda p: [author.Lion(groups(p, decay), lr=lr, betas=betas)], clip)


def foret(folder):
    """The climb, by the function in the authors' file; the rest of that file needs a Flax of 2020."""
    import jax
    import jax.numpy as jnp
    jax.config.update("jax_enable_x64", True)
    tree = ast.parse((pathlib.Path(folder) / "flax_training.py").read_text())
    function = next(f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == "dual_vector")
    names = {"jnp": jnp, "jax": types.SimpleNamespace(tree_util=jax.tree_util, tree_map=jax.tree_util.tree_map)}
    exec(compile(ast.Module([function], []), "flax_training.py", "exec"), names)

    def climb(grads, rho):
        unit = names["dual_vector"]({name: jnp.asarray(g.numpy()) for name, g in grads.items()})
        return {name: rho * torch.from_numpy(numpy.array(g)) for name, g in unit.items()}
    return climb


def compare(folder, out):
    def say(file, *pairs):
        print(f"{file}: {max(float((rows[n] - out[f'{case}.{n}']).abs().max()) for case, rows in pairs for n in rows):.1e}")
    say("muon.py", ("muon", jordans(folder, *MUON)))
    say("lion_pytorch.py", *((case, googles_lion(folder, *how)) for case, how in LION.items()))
    say("flax_training.py", *((case, sam(rho, make, foret(folder))) for case, (rho, make) in SAM.items()))


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


def paper(grads, rho):
    """The climb: rho g / |g|."""
    norm = torch.sqrt(sum((g ** 2).sum() for g in grads.values()))
    return {name: rho * g / (norm + 1e-12) for name, g in grads.items()}


def sam(rho, make, climb=paper):
    params = fresh()
    opt = make(params)
    seen = {name: [] for name in params}
    for t in range(STEPS):
        fill(params, t)
        up = climb({name: p.grad for name, p in params.items()}, rho)
        before = {name: p.detach().clone() for name, p in params.items()}
        with torch.no_grad():
            for name, p in params.items():
                p.add_(up[name])
        fill(params, t)
        with torch.no_grad():
            for name, p in params.items():
                p.copy_(before[name])
        opt.step()
        for name, p in params.items():
            seen[name].append(p.detach().clone())
    return {name: torch.stack(rows) for name, rows in seen.items()}


LION = {"lion": (0.01, (0.9, 0.99), 0.1), "lion_clipped": (0.003, (0.8, 0.95), 0.0, 0.5)}
MUON = (0.02, 0.1, 3e-3)
SAM = {"sam_adamw": (0.05, lambda p: torch.optim.AdamW(groups(p, 0.1), lr=0.01)),
       "sam_sgd": (0.5, lambda p: torch.optim.SGD(groups(p, 0.01), lr=0.1, momentum=0.9, nesterov=True))}


def main():
    out = {f"start.{name}": start(name) for name in SHAPES}

    def add(case, rows):
        out.update({f"{case}.{name}": v.contiguous() for name, v in rows.items()})

    for case, how in LION.items():
        add(case, lion(*how))
    add("muon", muon(*MUON))
    add("muon_plain", muon(0.01, 0.0, adamw=1e-3, momentum=0.6, nesterov=False, ns_steps=3, adjust_lr_fn="match_rms_adamw"))
    add("muon_normalised", muon(0.24, 0.1, adamw=3e-3, normalised=True, momentum=0.6, ns_steps=3))
    for case, args in (("schedule_free", (0.05, (0.9, 0.999), 0.1, 4)), ("schedule_free_still", (0.02, (0.95, 0.99), 0.0, 0))):
        y, x = schedule_free(*args)
        add(case, y)
        add(f"{case}.x", x)
    for case, (rho, make) in SAM.items():
        add(case, sam(rho, make))
    if len(sys.argv) > 1:
        compare(sys.argv[1], out)
    save_file(out, pathlib.Path(__file__).parent / "data" / "optimisers.safetensors")


main()
