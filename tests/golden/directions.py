"""Rotary encodings and bases by their authors' code: tests/twin/golden_directions.cpp compares ours. To repeat:

    git clone --depth 1 https://github.com/huajianduzhuo-code/Spiral_RoPE
    git clone --depth 1 https://github.com/lucidrains/vit-pytorch
    git clone --depth 1 --branch DiT https://github.com/autonomousvision/gta
    git clone --depth 1 https://github.com/Studentxll/HARoPE
    python3 -m venv venv && venv/bin/pip install torch==2.14.1 numpy einops timm==1.0.31 safetensors
    venv/bin/python tests/golden/directions.py Spiral_RoPE/RoPE_DeiT vit-pytorch/vit_pytorch gta HARoPE/model

directions.safetensors has, in float64 unless the source computes in float32:
    spiral.R.THETA   cosines and sines (2, N, d/2) of a 5 x 5 grid for R directions, heads of width d = 16 R, max_freq 1.5; THETA is `same` where
                     all directions share their frequencies. The source turns maps of float32 angles
    golden_gate      frequencies (heads, d/2, [y, x]) of 3 heads of width 16, from 0.1 to 1, the first quarter 0
    gta.*            qkv (B, N, 3 D) and o (B, N, D) of its attention on a 3 x 4 grid, 2 heads of width 8
    harope.*         the same with A_u, A_v, sigma
"""
import sys

import torch
from safetensors.torch import save_file

from common import DATA

sys.path[:0] = sys.argv[1:5]
import gta  # noqa: E402
import models_HARoPE  # noqa: E402
import rope  # noqa: E402
import vit_nd_rotary  # noqa: E402

out = {}
for R in (2, 4):
    for same in (False, True):
        d = 16 * R
        table = rope.VisionRotaryEmbedding(d // 2, pt_seq_len=5, rotate=R, max_freq_lang=1.5, same_theta=same)
        unit = torch.tensor([1.0, 0.0], dtype=torch.float64).repeat(d // 2).expand(1, 25, 1, d)
        turned = table(unit)
        out[f"spiral.{R}.{'same' if same else 'own'}"] = turned.reshape(25, d // 2, 2).permute(2, 0, 1)

gate = vit_nd_rotary.GoldenGateRoPENd(2, heads=3, dim_head=16, rope_min_freq=0.1, rope_max_freq=1.0,
                                      rope_p_zero_freqs=0.25)
out["golden_gate"] = gate.freqs

torch.manual_seed(0)
H, W, D, heads = 3, 4, 16, 2
attention = gta.Attention(D, heads, resolutions=[H, W], gta=True).double()
attention.so2rep = attention.so2rep.double()
attention.proj = torch.nn.Identity()
x = torch.randn(2, H * W, D, dtype=torch.float64)
out["gta.qkv"], out["gta.o"] = attention.qkv(x), attention(x)

other = models_HARoPE.Attention(D, heads).double()
other.proj = torch.nn.Identity()
basis = other.learnable_rot
for name in ("A_u", "A_v", "sigma"):
    p = getattr(basis, name)
    p.data += 0.4 * torch.randn(p.shape, dtype=torch.float64)
    out[f"harope.{name}"] = p
places = models_HARoPE.prepare_latent_ids(height=H, width=W)
turns = models_HARoPE.RotaryPosEmbed(theta=10000, axes_dim=(D // heads // 2, D // heads // 2))(places)
out["harope.qkv"], out["harope.o"] = other.qkv(x), other(x, turns)
save_file({k: v.detach().contiguous() for k, v in out.items()}, DATA / "directions.safetensors")
