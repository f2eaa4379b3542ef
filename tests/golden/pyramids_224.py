"""PVT-Tiny by its authors' code, Twins-PCPVT-S and Twins-SVT-S by timm, at 224 x 224 against `tessera forward`. Their weights are too large
to commit, so this is run by hand:

    git clone --depth 1 https://github.com/whai362/PVT
    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 safetensors
    venv/bin/python -W ignore tests/golden/pyramids_224.py build/release/tessera PVT/classification
"""
import sys

import timm
import torch

from whole import check

sys.path.insert(0, sys.argv[2])
from pvt import pvt_tiny  # noqa: E402


torch.set_num_threads(2)
check(sys.argv[1], "pvt_tiny", pvt_tiny())
for network in ("twins_pcpvt_small", "twins_svt_small"):
    check(sys.argv[1], network, timm.create_model(network))
