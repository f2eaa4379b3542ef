"""Swin V2-T at 256 x 256 by timm against `tessera forward`, in evaluation and in training mode (all dropout rates 0), with weights redrawn
so that every parameter matters. They are too large to commit, so this is run by hand:

    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    venv/bin/python tests/golden/swin_v2_tiny.py build/release/tessera [MODEL]          another named Swin, of either version
"""
import pathlib
import subprocess
import sys
import tempfile

import timm
import torch
from safetensors.torch import load_file, save_file

from common import redraw


def run(program, name, images=1):
    generator = torch.Generator().manual_seed(2)
    model = timm.create_model(name, drop_path_rate=0)
    redraw(model, generator)
    side = model.default_cfg["input_size"][-1]
    x, cotangent = torch.randn((images, 3, side, side), generator=generator), torch.randn((images, 1000), generator=generator)
    with tempfile.TemporaryDirectory() as folder:
        weights, x_file, y_file = (str(pathlib.Path(folder) / f"{n}.safetensors") for n in ("weights", "input", "output"))
        save_file({n: p.detach().clone() for n, p in model.named_parameters()}, weights)
        save_file({"input": x, "cotangent": cotangent}, x_file)
        model.double()
        for mode in ("eval", "train"):
            subprocess.run([program, "forward", "--model", name, "--weights", weights, "--input", x_file, "--output", y_file,
                            "model.mask_value=-100"] + ["--train-mode"] * (mode == "train"), check=True)
            ours = load_file(y_file)
            model.train(mode == "train").zero_grad()
            xd = x.double().requires_grad_()
            logits = model(xd)
            (logits * cotangent.double()).sum().backward()
            grads = {f"grad.{n}": p.grad for n, p in model.named_parameters()} | {"grad.input": xd.grad}
            assert set(ours) == set(grads) | {"logits"}
            most = max(g.abs().max().item() for g in grads.values())
            errors = {n: ((ours[n] - g).abs().max() / max(g.abs().max().item(), 1e-3 * most)).item() for n, g in grads.items()}
            worst = max(errors, key=errors.get)
            print(f"{name}, {mode}: {sum(p.numel() for p in model.parameters())} parameters; logits up to {logits.abs().max():.3f}, "
                  f"difference {(ours['logits'] - logits).abs().max():.2e}; {len(errors)} gradients, largest difference "
                  f"{errors[worst]:.2e} at {worst}", flush=True)


torch.set_num_threads(1)
run(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "swinv2_tiny_window8_256")
