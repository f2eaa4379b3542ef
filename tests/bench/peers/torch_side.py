"""PyTorch's side of performance.py: eager or torch.compile, a training step or a forward pass. See turns.py.

    python torch_side.py SPEC        SPEC: the JSON object that performance.py makes
    python torch_side.py --export SPEC FILE.onnx"""
import json
import sys

import numpy as np
import torch
import torch.nn.functional as F

import noise
import torch_models
from turns import serve


def training(spec, net, x):
    """AdamW as in `tessera bench train`, its fused form, which is PyTorch's fastest."""
    run = torch.compile(net, dynamic=False) if spec["compile"] else net
    groups = [{"params": [p for n, p in net.named_parameters() if torch_models.decays(n, p) is d], "weight_decay": 0.05 * d} for d in (True, False)]
    optimiser = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, fused=True)
    y = torch.from_numpy(noise.labels(spec["shape"][0], spec["classes"]))

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=spec["precision"] == "bf16"):
            loss = F.cross_entropy(run(x), y, label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        return loss

    return step


def inference(spec, net, x):
    if spec["compile"]:
        import torch._inductor.config as inductor
        inductor.freezing = True  # weights become constants, laid out once: for inference only
    run = torch.compile(net, dynamic=False) if spec["compile"] else net

    def step():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=spec["precision"] == "bf16"):
            return run(x)

    return step


def matmul(spec):
    n = int(spec["model"])
    dtype = torch.bfloat16 if spec["precision"] == "bf16" else torch.float32
    a, b = (torch.randn(n, n).to(dtype) for _ in range(2))
    return lambda: a @ b


def export(spec, path):
    net = torch_models.build(spec).eval()
    torch.onnx.export(net, (torch.from_numpy(noise.batch(spec["shape"][0], spec["shape"][1:])),), path, dynamo=True, external_data=False,
                      input_names=["input"], output_names=["logits"], verbose=False)


def main(spec):
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(1)
    about = {"version": f"PyTorch {torch.__version__}"}
    if spec["mode"] == "matmul":
        return serve(matmul(spec), about)
    net, x = torch_models.build(spec), torch.from_numpy(noise.batch(spec["shape"][0], spec["shape"][1:]))
    about["params"] = sum(p.numel() for p in net.parameters())
    if spec["channels_last"]:
        net, x = net.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
    if spec["mode"] == "infer":
        step = inference(spec, net.eval(), x)
        np.save(spec["logits"], step().float().numpy())
    else:
        step = training(spec, net.train(), x)
        about["losses"] = [step().item() for _ in range(3)]
    serve(step, about)


if __name__ == "__main__":
    if sys.argv[1] == "--export":
        export(json.loads(sys.argv[2]), sys.argv[3])
    else:
        main(json.loads(sys.argv[1]))
