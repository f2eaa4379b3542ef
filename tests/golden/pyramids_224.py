"""PVT-Tiny by its authors' code, Twins-PCPVT-S and Twins-SVT-S by timm, at 224 x 224 against `tessera forward`. Their weights are too large
to commit, so this is run by hand:

    git clone --depth 1 https://github.com/whai362/PVT
    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    venv/bin/python -W ignore tests/golden/pyramids_224.py build/release/tessera PVT/classification
"""
import pathlib
import subprocess
import sys
import tempfile

import timm
import torch
from safetensors.torch import load_file, save_file

import common

sys.path.insert(0, sys.argv[2])
from pvt import pvt_tiny  # noqa: E402


def check(program, name, model):
    generator = torch.Generator().manual_seed(1)
    common.redraw(model, generator)
    x, cotangent = torch.randn(2, 3, 224, 224, generator=generator), torch.randn(2, 1000, generator=generator)
    with tempfile.TemporaryDirectory() as folder:
        weights, x_file, y_file = (str(pathlib.Path(folder) / f"{n}.safetensors") for n in ("weights", "input", "output"))
        save_file({n: p.detach().clone() for n, p in model.named_parameters()}, weights)
        save_file({"input": x, "cotangent": cotangent}, x_file)
        subprocess.run([program, "forward", "--model", name, "--weights", weights, "--input", x_file, "--output", y_file], check=True)
        ours = load_file(y_file)
    model.double().eval()
    x = x.double().requires_grad_()
    logits = model(x)
    (logits * cotangent.double()).sum().backward()
    grads = {f"grad.{n}": p.grad for n, p in model.named_parameters()} | {"grad.input": x.grad}
    assert set(ours) == set(grads) | {"logits"}, set(ours) ^ set(grads)
    most = max(g.abs().max().item() for g in grads.values())
    errors = {n: ((ours[n] - g).abs().max() / max(g.abs().max().item(), 1e-3 * most)).item() for n, g in grads.items()}
    worst = max(errors, key=errors.get)
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters; logits up to {logits.abs().max():.3f}, difference "
          f"{(ours['logits'] - logits).abs().max():.2e}; {len(errors)} gradients, largest difference {errors[worst]:.2e} at {worst}", flush=True)


torch.set_num_threads(2)
check(sys.argv[1], "pvt_tiny", pvt_tiny())
for network in ("twins_pcpvt_small", "twins_svt_small"):
    check(sys.argv[1], network, timm.create_model(network))
