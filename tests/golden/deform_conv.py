"""Golden numbers of deformable convolution, by torchvision: tests/twin/deform_conv.cpp compares them. To repeat:

    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 safetensors
    venv/bin/python tests/golden/deform_conv.py

tests/golden/data/deform_conv.safetensors holds for each case CASE.{x,offset,mask,weight,bias,cotangent} F32 (mask and bias where there are
such), and CASE.y and CASE.grad.{...} of sum(y * cotangent), computed from them in float64. Maps are (B,C,H,W).
"""
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.ops import deform_conv2d

from common import DATA

out = {}


def case(name, x, weight, offset_groups=1, reach=1.5, mask=True, bias=True, **geometry):
    """`reach` in cells: offsets are normal with this deviation, so that some samples lie outside of the map."""
    g = torch.Generator().manual_seed(sum(map(ord, name)))
    def draw(*shape):
        return torch.randn(shape, generator=g)
    B, O, (kh, kw) = x[0], weight[0], weight[2:]
    Ho, Wo = torch.nn.functional.conv2d(torch.zeros(1, weight[1], *x[2:]), torch.zeros(1, *weight[1:]), **geometry).shape[2:]
    given = {"x": draw(*x), "weight": draw(*weight), "offset": reach * draw(B, 2 * offset_groups * kh * kw, Ho, Wo)}
    if mask:
        given["mask"] = torch.sigmoid(draw(B, offset_groups * kh * kw, Ho, Wo))
    if bias:
        given["bias"] = draw(O)
    watched = {n: t.double().requires_grad_() for n, t in given.items()}
    y = deform_conv2d(watched["x"], watched["offset"], watched["weight"], watched.get("bias"), mask=watched.get("mask"), **geometry)
    given["cotangent"] = draw(*y.shape)
    (y * given["cotangent"].double()).sum().backward()
    out.update({f"{name}.{n}": t for n, t in given.items()})
    out[f"{name}.y"] = y.detach()
    out.update({f"{name}.grad.{n}": t.grad for n, t in watched.items()})
    print(name, tuple(y.shape))


case("plain", (2, 3, 5, 6), (4, 3, 3, 3), padding=1)
case("v1", (1, 2, 5, 4), (3, 2, 3, 3), mask=False, bias=False, padding=1)
case("strided", (1, 2, 7, 8), (3, 2, 3, 3), stride=(2, 3), padding=(1, 0))
case("dilated", (1, 2, 6, 7), (2, 2, 3, 2), padding=2, dilation=(2, 1))
case("groups", (1, 6, 4, 4), (4, 3, 3, 3), offset_groups=3, padding=1)
case("depthwise", (1, 4, 4, 5), (4, 1, 3, 3), offset_groups=2, padding=1, mask=False)
case("far", (1, 2, 4, 4), (2, 2, 3, 3), reach=6, padding=1)
file = DATA / "deform_conv.safetensors"
save_file({n: t.contiguous() for n, t in out.items()}, file, metadata={"torchvision": torchvision.__version__, "torch": torch.__version__})
file.chmod(0o644)
print(file.stat().st_size, "bytes")
