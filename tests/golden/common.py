"""What the golden scripts share. They are run once, by hand; the numbers they write are committed, and neither building nor
testing needs Python. To repeat them:

    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    venv/bin/python tests/golden/vit.py

A case is two files under tests/golden/data: NAME.weights.safetensors, the parameters under timm's names (F32), and
NAME.golden.safetensors, computed in float64 from them:
    input (B,C,H,W), cotangent like logits, labels (B)                     F32, F32, I64
    logits, grad.input, grad.PARAMETER of sum(logits * cotangent)          F64
    trace: the losses of ten AdamW steps                                   F64
Losses are cross-entropies with label smoothing 0.1; AdamW has lr 1e-2, betas (0.9, 0.999), eps 1e-8, weight decay 0.05 on matrices
(not on biases, norms, cls_token, pos_embed) and clips the gradient norm to 1.
"""
import math
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

DATA = pathlib.Path(__file__).parent / "data"


def redraw(model, generator):
    """Weights at which every parameter matters: matrices of unit gain, biases and norms off their neutral values."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        with torch.no_grad():
            if p.ndim == 1:
                neutral = 1.0 if "norm" in name and name.endswith("weight") else 0.5 if name.endswith("gamma") else 0.0
                p.copy_(neutral + 0.2 * noise)
            elif "token" in name or "pos_embed" in name:
                p.copy_(0.5 * noise)
            else:
                p.copy_(noise / math.sqrt(p[0].numel()))


def decays(name, p):
    return p.ndim > 1 and not any(part in name for part in ("cls_token", "pos_embed"))


def trace(model, x, labels, steps=10):
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


def write(name, model, shape, classes, facts):
    """Computes and writes both files of a case. shape: of the input."""
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    redraw(model, generator)
    save_file({n: p.detach().clone() for n, p in model.named_parameters()}, DATA / f"{name}.weights.safetensors")
    x = torch.randn(shape, generator=generator)
    labels = torch.randint(0, classes, (shape[0],), generator=generator)
    model = model.double().eval()
    xd = x.double().requires_grad_()
    logits = model(xd)
    cotangent = torch.randn(logits.shape, generator=generator)
    (logits * cotangent.double()).sum().backward()
    out = {"input": x, "cotangent": cotangent, "labels": labels, "logits": logits.detach(), "grad.input": xd.grad}
    out |= {f"grad.{n}": p.grad.clone() for n, p in model.named_parameters()}
    out["trace"] = trace(model, x.double(), labels)
    save_file({n: t.contiguous() for n, t in out.items()}, DATA / f"{name}.golden.safetensors", metadata=facts)
    print(name, sum(p.numel() for p in model.parameters()), "parameters", out["trace"].tolist())
