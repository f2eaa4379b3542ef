"""Swin-T at 224 x 224 by timm against `tessera forward`. Its weights are too large to commit, so this is run by hand:

    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    venv/bin/python tests/golden/swin_tiny.py build/release/tessera            weights redrawn so that every parameter matters
    venv/bin/python tests/golden/swin_tiny.py build/release/tessera --write    weights of `tessera init --seed 1`

--write also writes tests/golden/data/swin_tiny.golden.safetensors, which a test compares with the same weights made anew:
    logits (B,K) F64, and for every parameter of sum(logits * cotangent) the length of its gradient and its product with `pattern`.
"""
import pathlib
import subprocess
import sys
import tempfile

import timm
import torch
from safetensors.torch import load_file, save_file

from common import DATA, redraw

MODEL = "swin_tiny_patch4_window7_224"


def pattern(*shape, step=7919):
    """Multiples of 1/500 in [-1, 1), the same in every program."""
    n = torch.Size(shape).numel()
    return ((torch.arange(n) * step % 1000).double() / 500 - 1).reshape(shape)


def main(program, write):
    torch.set_num_threads(2)
    model = timm.create_model(MODEL, drop_path_rate=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        weights, x_file, y_file = (str(pathlib.Path(folder) / f"{n}.safetensors") for n in ("weights", "input", "output"))
        if write:
            subprocess.run([program, "init", "--model", MODEL, "--seed", "1", "--output", weights], check=True)
            missing, extra = model.load_state_dict(load_file(weights), strict=False)
            assert not extra and not set(missing) & {n for n, _ in model.named_parameters()}, (missing, extra)
        else:
            redraw(model, torch.Generator().manual_seed(1))
            save_file({n: p.detach().clone() for n, p in model.named_parameters()}, weights)
        images = 1 if write else 2
        x, cotangent = pattern(images, 3, 224, 224), pattern(images, 1000, step=6007)
        save_file({"input": x.float(), "cotangent": cotangent.float()}, x_file)
        subprocess.run([program, "forward", "--model", MODEL, "--weights", weights, "--input", x_file, "--output", y_file], check=True)
        ours = load_file(y_file)

    model.double()
    x = x.float().double().requires_grad_()
    logits = model(x)
    (logits * cotangent.float().double()).sum().backward()
    grads = {f"grad.{n}": p.grad for n, p in model.named_parameters()} | {"grad.input": x.grad}
    assert set(ours) == set(grads) | {"logits"}
    most = max(g.abs().max().item() for g in grads.values())
    errors = {n: ((ours[n] - g).abs().max() / max(g.abs().max().item(), 1e-3 * most)).item() for n, g in grads.items()}
    worst = max(errors, key=errors.get)
    print(f"logits up to {logits.abs().max():.3f}, difference {(ours['logits'] - logits).abs().max():.2e}; "
          f"{len(errors)} gradients, largest difference {errors[worst]:.2e} at {worst}")
    if write:
        out = {"logits": logits.detach()}
        out |= {n: torch.stack([g.norm(), (g * pattern(*g.shape)).sum()]) for n, g in grads.items() if n != "grad.input"}
        file = DATA / "swin_tiny.golden.safetensors"
        save_file(out, file, metadata={"timm": timm.__version__, "torch": torch.__version__})
        file.chmod(0o644)


main(sys.argv[1], "--write" in sys.argv[2:])
