"""Weights under the names of other programs, with what those programs make of an image: tests/twin/golden_names.cpp loads them as they
are. To repeat:

    git clone --depth 1 https://github.com/microsoft/Swin-Transformer
    python3 -m venv venv && venv/bin/pip install torch==2.14.1 timm==1.0.31 transformers==5.24.0 safetensors
    venv/bin/python tests/golden/names.py Swin-Transformer/models            or only those of a name: names.py Swin-Transformer/models swin_v2

A case is two files under tests/golden/data:
    names_NAME.weights.safetensors     the state dict, buffers too, under the program's own names
    names_NAME.golden.safetensors      input (B,C,H,W) F32 and logits F64, computed in float64
"""
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

from common import DATA, redraw

sys.path.insert(0, sys.argv[1])
from swin_transformer import SwinTransformer  # noqa: E402
from swin_transformer_v2 import SwinTransformerV2  # noqa: E402


def write(name, model, side, saved=None, logits=lambda y: y):
    if not name.startswith(tuple(sys.argv[2:]) or ""):
        return
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    redraw(model, generator)
    state = {n: p.detach().clone().contiguous() for n, p in model.state_dict().items()}
    if saved:
        with tempfile.TemporaryDirectory() as folder:
            model.save_pretrained(folder)
            state = load_file(pathlib.Path(folder) / "model.safetensors")
    x = torch.randn((2, 3, side, side), generator=generator)
    y = logits(model.double().eval()(x.double())).detach()
    for kind, tensors in (("weights", state), ("golden", {"input": x, "logits": y})):
        file = DATA / f"names_{name}.{kind}.safetensors"
        save_file(tensors, file)
        file.chmod(0o644)
        print(f"{file.name}: {file.stat().st_size} bytes, {len(tensors)} tensors")


def of_output(output):
    return output.logits


# the official Swin: three stages, so that `downsample` of stage 1 in the file is that of stage 2 in timm's names
write("swin_official", SwinTransformer(img_size=32, patch_size=2, window_size=4, embed_dim=4, depths=[2, 1, 1], num_heads=[1, 2, 2],
                                       mlp_ratio=2, num_classes=3), 32)
write("swin_official_ape", SwinTransformer(img_size=16, patch_size=2, window_size=4, embed_dim=4, depths=[2, 1], num_heads=[1, 2],
                                           mlp_ratio=2, num_classes=3, ape=True), 16)
vit = transformers.ViTConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=8,
                             patch_size=4, num_labels=3, layer_norm_eps=1e-6)
write("vit_transformers", transformers.ViTForImageClassification(vit), 8, logits=of_output)
swin = transformers.SwinConfig(image_size=32, patch_size=2, embed_dim=4, depths=[2, 1, 1], num_heads=[1, 2, 2], window_size=4, mlp_ratio=2.0,
                               num_labels=3)
write("swin_transformers", transformers.SwinForImageClassification(swin), 32, logits=of_output)
write("swin_transformers_saved", transformers.SwinForImageClassification(swin), 32, saved=True, logits=of_output)
# Swin v2; the official code and transformers compute its coordinates in float32
write("swin_v2_official", SwinTransformerV2(img_size=16, patch_size=2, window_size=4, embed_dim=4, depths=[2, 1], num_heads=[1, 2],
                                            mlp_ratio=2, num_classes=3), 16)
swin_v2 = transformers.Swinv2Config(image_size=16, patch_size=2, embed_dim=4, depths=[2, 1], num_heads=[1, 2], window_size=4,
                                    mlp_ratio=2.0, num_labels=3)
write("swin_v2_transformers", transformers.Swinv2ForImageClassification(swin_v2), 16, saved=True, logits=of_output)
