"""A whole model of another library against `tessera forward` through the same weights: logits, and the gradient of every parameter and of
the input, against double precision there. For models whose weights are too large to commit; the scripts that use it are run by hand."""
import pathlib
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file

import common


def check(program, name, model, ours=lambda parameter: parameter, train=False, options=()):
    """`ours`: from the model's names of parameters to tessera's. `train`: BatchNorm over the batch, no dropout. `options`: key=value for tessera."""
    generator = torch.Generator().manual_seed(1)
    common.redraw(model, generator)
    x, cotangent = torch.randn(2, 3, 224, 224, generator=generator), torch.randn(2, 1000, generator=generator)
    with tempfile.TemporaryDirectory() as folder:
        weights, x_file, y_file = (str(pathlib.Path(folder) / f"{n}.safetensors") for n in ("weights", "input", "output"))
        save_file({n: t.detach().clone().contiguous() for n, t in model.state_dict().items()}, weights)
        save_file({"input": x, "cotangent": cotangent}, x_file)
        subprocess.run([program, "forward", "--model", name, "--weights", weights, "--input", x_file, "--output", y_file] +
                       ["--train-mode"] * train + list(options), check=True)
        got = load_file(y_file)
    model.double().train(train)
    x = x.double().requires_grad_()
    logits = model(x)
    (logits * cotangent.double()).sum().backward()
    grads = {f"grad.{ours(n)}": p.grad for n, p in model.named_parameters()} | {"grad.input": x.grad}
    assert set(got) == set(grads) | {"logits"}, set(got) ^ set(grads)
    most = max(g.abs().max().item() for g in grads.values())
    errors = {n: ((got[n] - g).abs().max() / max(g.abs().max().item(), 1e-3 * most)).item() for n, g in grads.items()}
    worst = max(errors, key=errors.get)
    print(f"{name}{', in training' * train}: {sum(p.numel() for p in model.parameters())} parameters; logits up to {logits.abs().max():.3f}, "
          f"difference {(got['logits'] - logits).abs().max():.2e}; {len(errors)} gradients, largest difference {errors[worst]:.2e} at {worst}", flush=True)
