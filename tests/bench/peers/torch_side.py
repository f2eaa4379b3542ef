"""PyTorch's side of performance.py: eager or torch.compile, a training step or a forward pass. See turns.py.

    python torch_side.py SPEC        SPEC: the JSON object that performance.py makes
    python torch_side.py --export SPEC FILE.onnx"""
import json
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

import noise
import proof
import torch_models
from turns import serve


def autocast(spec):
    return torch.autocast("cpu", torch.bfloat16, enabled=spec["precision"] == "bf16")


def prove(spec, net, run, x):
    """Writes logits and gradients at the moved weights, by the program that is measured; then all is as it was."""
    before = {name: w.clone() for name, w in net.state_dict().items()}
    net.load_state_dict(load_file(spec["moved"]), strict=False)
    with autocast(spec):
        logits = run(x)
    (logits.float() * torch.from_numpy(proof.cotangent(spec["shape"][0], spec["classes"]))).sum().backward()
    found = {"logits": logits.detach().float()}
    for name, p in net.named_parameters():
        found["grad." + name] = torch.zeros_like(p) if p.grad is None else p.grad
    save_file({name: w.clone(memory_format=torch.contiguous_format) for name, w in found.items()}, spec["answer"])
    net.zero_grad(set_to_none=True)
    net.load_state_dict(before)


def training(spec, net, x):
    """AdamW as in `tessera bench train`, its fused form, which is PyTorch's fastest."""
    run = torch.compile(net, dynamic=False) if spec["compile"] else net
    if "moved" in spec:
        prove(spec, net, run, x)
    groups = [{"params": [p for n, p in net.named_parameters() if torch_models.decays(n, p) is d], "weight_decay": 0.05 * d} for d in (True, False)]
    optimiser = torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, fused=True)
    y = torch.from_numpy(noise.labels(spec["shape"][0], spec["classes"]))

    def step():
        with autocast(spec):
            loss = F.cross_entropy(run(x), y, label_smoothing=0.1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        return loss

    return step


def round_weights(net):
    """Weights of products in bfloat16, once: without gradients autocast keeps nothing of what it has rounded, and would do it again in every step."""
    for module in net.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.MultiheadAttention)):
            module.to(torch.bfloat16)


def serve_inference(spec, net, x, about):
    """Forward passes, in one context for all steps."""
    if spec["compile"]:
        import torch._inductor.config as inductor
        inductor.freezing = True  # weights become constants, rounded and laid out once: for inference only
    elif spec["precision"] == "bf16":
        round_weights(net)
    run = torch.compile(net, dynamic=False) if spec["compile"] else net
    # without gradients in its cheapest form; a compiled program has no use for that, and freezes under no_grad
    with torch.no_grad() if spec["compile"] else torch.inference_mode(), autocast(spec):
        logits = run(x).float()
        save_file({"logits": logits.contiguous()}, spec["answer"])
        serve(lambda: run(x), about)


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
        return serve_inference(spec, net.eval(), x, about)
    step = training(spec, net.train(), x)
    about["losses"] = [step().item() for _ in range(3)]
    serve(step, about)


if __name__ == "__main__":
    if sys.argv[1] == "--export":
        export(json.loads(sys.argv[2]), sys.argv[3])
    else:
        main(json.loads(sys.argv[1]))
