"""What the golden scripts share. They are run once, by hand; the numbers they write are committed, and neither building nor
testing needs Python. To repeat them:

    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    venv/bin/python tests/golden/vit.py
    venv/bin/python tests/golden/swin.py          (and the other models' scripts)

A case is three files under tests/golden/data, of which the program's `forward` reads the first two as they are:
    NAME.weights.safetensors   the parameters under timm's names, and running statistics      F32
    NAME.input.safetensors     input (B,C,H,W), cotangent like logits                         F32
    NAME.golden.safetensors    computed in float64 from them:
        logits, grad.input, grad.PARAMETER of sum(logits * cotangent), feature.I if given     F64
        labels (B), trace: the losses of ten AdamW steps                                      I64, F64
Losses are cross-entropies with label smoothing 0.1; AdamW has lr 1e-2, betas (0.9, 0.999), eps 1e-8, weight decay 0.05 on matrices
(not on biases, norms, cls_token, pos_embed, bias tables, the MLP of log_cpb, logit_scale) and clips the gradient norm to 1. In these steps
BatchNorm takes the statistics of the batch; in a case written with train=True it does so for logits and gradients, too.
"""
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.set_num_threads(1)
DATA = pathlib.Path(__file__).parent / "data"


def redraw(model, generator):
    """Weights at which every parameter matters: matrices of unit gain, biases and norms off their neutral values."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        with torch.no_grad():
            if p.ndim == 1:
                neutral = 1.0 if name.endswith("weight") else 0.5 if name.endswith("gamma") else 0.0
                p.copy_(neutral + 0.2 * noise)
            elif any(part in name for part in ("_token", "pos_embed", "class_emb", "positional_emb")):
                p.copy_(0.5 * noise)
            elif "logit_scale" in name:
                p.copy_(1.5 + 0.5 * noise)  # a factor of 2 to 10; larger ones make float32 rounding grow with every step
            else:
                p.copy_(noise / math.sqrt(p[0].numel()))
    for name, b in model.named_buffers():
        if name.endswith("running_mean"):
            b.copy_(0.2 * torch.randn(b.shape, generator=generator))
        if name.endswith("running_var"):
            b.copy_(0.5 + torch.rand(b.shape, generator=generator))


def decays(name, p):
    return p.ndim > 1 and not any(part in name for part in ("cls_token", "pos_embed", "bias_table", "cpb_mlp", "logit_scale"))


def trace(model, x, labels, decays=decays, steps=10):
    for m in model.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.train()
    groups = [{"params": [p for n, p in model.named_parameters() if decays(n, p)], "weight_decay": 0.05},
              {"params": [p for n, p in model.named_parameters() if not decays(n, p)], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=1e-2)
    losses = []
    for _ in range(steps):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(x), labels, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def write(name, model, shape, classes, facts, features=None, train=False, ours=lambda n: n, decays=decays, adjust=None):
    """Computes and writes the files of a case. shape: of the input; features(model, x): maps (B,C,H,W) of each stage; train: the mode of
    logits and gradients; ours(name): our name of a parameter or buffer; decays(name, p): does weight decay apply?; adjust(model) changes
    the redrawn weights."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    redraw(model, generator)
    if adjust:
        adjust(model)
    state = list(model.named_parameters()) + [(n, b) for n, b in model.named_buffers() if "running_" in n]
    save_file({ours(n): p.detach().clone() for n, p in state}, DATA / f"{name}.weights.safetensors")
    x = torch.randn(shape, generator=generator)
    labels = torch.randint(0, classes, (shape[0],), generator=generator)
    model = model.double().train(train)
    xd = x.double().requires_grad_()
    logits = model(xd)
    cotangent = torch.randn(logits.shape, generator=generator)
    save_file({"input": x, "cotangent": cotangent}, DATA / f"{name}.input.safetensors")
    (logits * cotangent.double()).sum().backward()
    out = {"labels": labels, "logits": logits.detach(), "grad.input": xd.grad}
    out |= {f"grad.{ours(n)}": p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}
    if features:
        out |= {f"feature.{i}": f.detach() for i, f in enumerate(features(model, x.double()))}
    out["trace"] = trace(model, x.double(), labels, decays)
    save_file({n: t.contiguous() for n, t in out.items()}, DATA / f"{name}.golden.safetensors", metadata=facts)
    for file in DATA.glob(f"{name}.*"):
        file.chmod(0o644)
    print(name, sum(p.numel() for p in model.parameters()), "parameters", out["trace"].tolist())
