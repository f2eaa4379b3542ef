"""CvT-13 by transformers at 224 x 224 against `tessera forward`, in evaluation and in training, with the GELU that transformers has. See whole.py.

    venv/bin/pip install torch==2.14.1 transformers==5.24.0 safetensors
    venv/bin/python -W ignore tests/golden/cvt_224.py build/release/tessera
"""
import sys

import torch
import transformers

from cvt_names import ours
from whole import check


class Cvt(transformers.CvtForImageClassification):
    def forward(self, x):
        return super().forward(x).logits


torch.set_num_threads(2)
for train in (False, True):
    check(sys.argv[1], "cvt_13", Cvt(transformers.CvtConfig(num_labels=1000, drop_rate=[0.0] * 3, drop_path_rate=[0.0] * 3)), ours, train, ["act_layer=gelu"])
