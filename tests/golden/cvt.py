"""Golden numbers of CvT, by transformers, under the official code's names. See common.py. transformers has GELU where the official code
has x sigmoid(1.702 x): in cases named quick that function is put into its MLPs. Its stage s needs more than s blocks: it indexes the
rates of stochastic depth of the blocks by the number of the stage.

    venv/bin/pip install transformers==5.24.0
    venv/bin/python tests/golden/cvt.py
"""
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from common import DATA, redraw, write
from cvt_names import ours

FACTS = {"transformers": transformers.__version__, "torch": torch.__version__}

class Quick(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Cvt(transformers.CvtForImageClassification):
    def __init__(self, quick, **config):
        stages = len(config["depth"])
        lists = {"mlp_ratio": [2.0] * stages, "attention_drop_rate": [0.0] * stages, "drop_rate": [0.0] * stages,
                 "drop_path_rate": [0.0] * stages, "qkv_bias": [True] * stages, "cls_token": [False] * (stages - 1) + [True],
                 "qkv_projection_method": ["dw_bn"] * stages, "kernel_qkv": [3] * stages, "padding_kv": [1] * stages,
                 "stride_kv": [2] * stages, "padding_q": [1] * stages, "stride_q": [1] * stages}
        super().__init__(transformers.CvtConfig(num_labels=5, **(lists | config)))
        if quick:
            for stage in self.cvt.encoder.stages:
                for layer in stage.layers:
                    layer.intermediate.activation = Quick()

    def forward(self, x):
        return super().forward(x, output_hidden_states=True).logits  # asked for: without, it fails where no stage has a class token


def maps(model, x):
    return super(Cvt, model).forward(x, output_hidden_states=True).hidden_states


# maps of 10 x 12, 5 x 6 and 3 x 3, so that keys are rounded up
three = {"patch_sizes": [7, 3, 3], "patch_stride": [2, 2, 2], "patch_padding": [2, 1, 1], "embed_dim": [4, 6, 8], "num_heads": [1, 2, 2],
         "depth": [1, 2, 3]}
write("cvt", Cvt(False, **three), (2, 3, 22, 26), 5, FACTS, ours=ours)
write("cvt_quick_train", Cvt(True, **three), (2, 3, 22, 26), 5, FACTS, train=True, ours=ours)
# no class token: the mean of the last map
two = {"patch_sizes": [3, 3], "patch_stride": [2, 1], "patch_padding": [1, 1], "embed_dim": [6, 8], "num_heads": [2, 4], "depth": [1, 2],
       "cls_token": [False, False]}
write("cvt_mean_train", Cvt(False, **two), (2, 3, 12, 10), 5, FACTS, maps, train=True, ours=ours)


# under transformers' own names, as names.py writes its cases
named = Cvt(False, **(two | {"cls_token": [False, True]}))
generator = torch.Generator().manual_seed(1)
redraw(named, generator)
state = {n: t.detach().clone().contiguous() for n, t in named.state_dict().items()}
x = torch.randn((2, 3, 12, 10), generator=generator)
named = named.double().eval()
for kind, tensors in (("weights", state), ("golden", {"input": x, "logits": named(x.double()).detach()})):
    file = DATA / f"names_cvt_transformers.{kind}.safetensors"
    save_file(tensors, file)
    file.chmod(0o644)
