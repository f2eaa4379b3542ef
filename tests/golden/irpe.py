"""Attention with image relative position encoding by its authors' code: tests/twin/golden_irpe.cpp compares ours. To repeat:

    git clone --depth 1 https://github.com/microsoft/Cream
    python3 -m venv venv && venv/bin/pip install torch==2.14.1 numpy easydict safetensors
    venv/bin/python tests/golden/irpe.py Cream/iRPE/DeiT-with-iRPE [NAME ...]

RPEAttention runs as it is in rpe_vision_transformer.py; of timm, which that file imports for the rest of the network, it needs nothing.
The files are those of attention.py, named attention_irpe_NAME.safetensors. Grids are 5 x 5, on which every piece of the piecewise index
is met, with a class token where `skip` is 1; width 8, 2 heads of 4. attention_irpe_buckets.safetensors has METHOD_HxW_RATIO: the bucket
ids I(i, j) of some queries i, every floor(h w / 21)th, and all keys j.
"""
import sys
import types
from unittest import mock

import torch
from safetensors.torch import save_file

from common import DATA

sys.path.insert(0, sys.argv[1])
for name in ("timm", "timm.data", "timm.models", "timm.models.helpers", "timm.models.layers", "timm.models.resnet",
             "timm.models.registry", "timm.models.vision_transformer"):
    module = types.ModuleType(name)
    module.__getattr__ = lambda attribute: mock.MagicMock()
    sys.modules[name] = module
import irpe  # noqa: E402
from rpe_vision_transformer import RPEAttention  # noqa: E402

SIDE, C, H = 5, 8, 2
FACTS = {"torch": torch.__version__, "irpe": "microsoft/Cream, iRPE/DeiT-with-iRPE"}
CASES = {  # name: method, mode, on, shared_head, skip
    "product_qkv": ("product", "ctx", "qkv", True, 1),
    "product_heads": ("product", "ctx", "qkv", False, 0),
    "cross_qkv": ("cross", "ctx", "qkv", True, 1),
    "euclidean_qkv": ("euc", "ctx", "qkv", False, 1),
    "quant_qkv": ("quant", "ctx", "qkv", True, 0),
    "bias_product_q": ("product", "bias", "q", True, 1),
    "bias_product_qk": ("product", "bias", "qk", False, 0),
    "bias_cross_qk": ("cross", "bias", "qk", True, 1),
    "bias_euclidean_qk": ("euc", "bias", "qk", False, 0),
    "bias_quant_qk": ("quant", "bias", "qk", True, 1),
}


def attention(name):
    method, mode, on, shared, skip = CASES[name]
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    irpe.BUCKET_IDS_BUF.clear()
    config = irpe.get_rpe_config(ratio=1.9, method=method, mode=mode, shared_head=shared, skip=skip, rpe_on=on)
    model = RPEAttention(C, num_heads=H, qkv_bias=True, rpe_config=config)
    for n, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        with torch.no_grad():
            p.copy_(0.5 * noise if "rpe" in n else 0.2 * noise if p.ndim == 1 else noise / p[0].numel() ** 0.5)
    out = {n: p.detach().clone() for n, p in model.named_parameters()}
    x, cotangent = (torch.randn((2, skip + SIDE * SIDE, C), generator=generator) for _ in range(2))
    out |= {"x": x, "cotangent": cotangent}
    model = model.double().eval()
    xd = x.double().requires_grad_()
    y = model(xd)
    (y * cotangent.double()).sum().backward()
    out |= {"y": y.detach(), "grad.x": xd.grad} | {f"grad.{n}": p.grad.clone() for n, p in model.named_parameters()}
    write(f"attention_irpe_{name}", out)


def buckets():
    """3 x 7 and 4 x 16 cells, at ratios on both sides of whole numbers."""
    out = {}
    for method, number in (("product", irpe.METHOD.PRODUCT), ("euclidean", irpe.METHOD.EUCLIDEAN), ("quant", irpe.METHOD.QUANT),
                           ("rows", irpe.METHOD.CROSS_ROWS), ("columns", irpe.METHOD.CROSS_COLS)):
        for h, w in ((3, 7), (4, 16)):
            for ratio in (1.0, 1.5, 1.9, 2.0, 2.5, 3.0, 4.0):
                irpe.BUCKET_IDS_BUF.clear()
                ids, _, _ = irpe.get_bucket_ids_2d_without_skip(number, h, w, ratio, 2 * ratio, 8 * ratio)
                out[f"{method}_{h}x{w}_{ratio}"] = ids[:: max(1, h * w // 21)].to(torch.uint8)  # some queries, all keys
    write("attention_irpe_buckets", out)


def write(name, out):
    file = DATA / f"{name}.safetensors"
    save_file({n: t.contiguous() for n, t in out.items()}, file, metadata=FACTS)
    file.chmod(0o644)
    print(f"{file.name}: {file.stat().st_size} bytes")


for case in sys.argv[2:] or CASES:
    attention(case)
if not sys.argv[2:]:
    buckets()
