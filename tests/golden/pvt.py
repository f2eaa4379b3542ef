"""Golden numbers of PVT, by its authors' code, and transformers' PVT beside it. See common.py. To repeat:

    git clone --depth 1 https://github.com/whai362/PVT
    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 transformers safetensors
    venv/bin/python -W ignore tests/golden/pvt.py PVT/classification

transformers' norms all have the one epsilon of its configuration; here those after patches and reductions get the 1e-5 that the authors'
have. Its tables can be resized to the size they have and to no other, so it is asked at the size it is built for.
"""
import sys
from functools import partial

import torch
import torch.nn as nn
from transformers import PvtConfig, PvtForImageClassification

import common

sys.path.insert(0, sys.argv[1])
from pvt import PyramidVisionTransformer  # noqa: E402

FACTS = {"torch": torch.__version__, "pvt": "whai362/PVT, classification/pvt.py"}
SMALL = dict(img_size=32, patch_size=4, in_chans=1, num_classes=5, embed_dims=[4, 8, 8, 12], num_heads=[1, 2, 2, 3],
             mlp_ratios=[2, 2, 2, 2], norm_layer=partial(nn.LayerNorm, eps=1e-6), depths=[1, 1, 2, 1], sr_ratios=[4, 2, 1, 1])

common.decays = lambda name, p: p.ndim > 1 and name != "cls_token"  # the authors decay their tables


def maps(model, x):
    """The map after every stage, without the class token."""
    seen = []

    def keep(block, args, y):
        _, h, w = args
        seen.append(y[:, -h * w:].transpose(1, 2).unflatten(2, (h, w)))

    hooks = [getattr(model, f"block{s}")[-1].register_forward_hook(keep) for s in range(1, 5)]
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


def transformers_names(name):
    """(name in transformers, part of ours along the first dimension) of the authors' name."""
    if name.startswith("head."):
        return [(name.replace("head", "classifier"), slice(None))]
    if name == "cls_token":
        return [("pvt.encoder.patch_embeddings.3.cls_token", slice(None))]
    first, *rest = name.split(".")
    if first == "norm":
        return [(f"pvt.encoder.layer_norm.{rest[0]}", slice(None))]
    stage = int(first[-1]) - 1
    if first.startswith("pos_embed"):
        return [(f"pvt.encoder.patch_embeddings.{stage}.position_embeddings", slice(None))]
    if first.startswith("patch_embed"):
        return [(f"pvt.encoder.patch_embeddings.{stage}.{dict(proj='projection', norm='layer_norm')[rest[0]]}.{rest[1]}", slice(None))]
    block, path, kind = f"pvt.encoder.block.{stage}.{rest[0]}.", ".".join(rest[1:-1]), rest[-1]
    if path == "attn.kv":
        half = SMALL["embed_dims"][stage]
        return [(f"{block}attention.self.key.{kind}", slice(0, half)), (f"{block}attention.self.value.{kind}", slice(half, None))]
    known = {"norm1": "layer_norm_1", "norm2": "layer_norm_2", "attn.q": "attention.self.query", "attn.sr": "attention.self.sequence_reduction",
             "attn.norm": "attention.self.layer_norm", "attn.proj": "attention.output.dense", "mlp.fc1": "mlp.dense1", "mlp.fc2": "mlp.dense2"}
    return [(f"{block}{known[path]}.{kind}", slice(None))]


def beside_transformers(model, x):
    """The largest difference of the logits of transformers' model with the same weights."""
    theirs = PvtForImageClassification(PvtConfig(
        image_size=32, num_channels=1, depths=SMALL["depths"], sequence_reduction_ratios=SMALL["sr_ratios"], hidden_sizes=SMALL["embed_dims"],
        num_attention_heads=SMALL["num_heads"], mlp_ratios=SMALL["mlp_ratios"], num_labels=5, qkv_bias=True)).double().eval()
    for name, module in theirs.named_modules():
        if "patch_embeddings" in name and name.endswith("layer_norm") or name.endswith("self.layer_norm"):
            module.eps = 1e-5
    theirs.load_state_dict({to: p[part] for name, p in model.named_parameters() for to, part in transformers_names(name)})
    return (theirs(x).logits - model(x)).abs().max().item()


model = PyramidVisionTransformer(qkv_bias=True, **SMALL)
common.redraw(model, torch.Generator().manual_seed(3))
print("transformers differs by", beside_transformers(model.double().eval(), torch.randn(2, 1, 32, 32).double()))

common.write("pvt", PyramidVisionTransformer(qkv_bias=True, **SMALL), (2, 1, 32, 32), 5, FACTS, maps)
# trained at 32 x 32: every table is resized; maps of 12 x 10, 6 x 5, 3 x 2, 1 x 1 whose last rows and columns patches and reductions drop
common.write("pvt_odd", PyramidVisionTransformer(**SMALL), (2, 1, 48, 40), 5, FACTS, maps)
