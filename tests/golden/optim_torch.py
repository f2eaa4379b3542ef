"""Three steps of PyTorch's optimisers in double: the numbers of tests/unit/train_optim.cpp (PyTorch 2.13)."""
import torch

torch.set_default_dtype(torch.float64)


def run(title, make, clip=0.0):
    w = torch.tensor([1.0, -2.0, 0.5, 3.0], requires_grad=True)
    b = torch.tensor([0.25, -0.75], requires_grad=True)
    opt = make([{"params": [w], "weight_decay": 0.1}, {"params": [b], "weight_decay": 0.0}])
    for t in range(3):
        w.grad = torch.tensor([0.1, -0.2, 0.3, 1.5]) * (t + 1) + 0.1 * w.detach()
        b.grad = torch.tensor([0.5, -0.05]) - 0.2 * b.detach() * t
        if clip:
            torch.nn.utils.clip_grad_norm_([w, b], clip)
        opt.step()
    print(title, w.tolist(), b.tolist())


run("adamw", lambda p: torch.optim.AdamW(p, lr=0.05))
run("adamw clipped", lambda p: torch.optim.AdamW(p, lr=0.05, betas=(0.8, 0.95), eps=1e-4), clip=0.5)
run("sgd momentum", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9))
run("sgd nesterov clipped", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True), clip=1.0)
run("sgd", lambda p: torch.optim.SGD(p, lr=0.05))
