"""Golden numbers of Swin v2, by timm, on small images whose maps the windows divide; and of Swin with windows that are not square. See
common.py. timm computes the log-spaced coordinates in float32 whatever the model's type: here they are computed again in float64 by its
own formula, so that the double twin can be held to its last digits; that nothing else moved is asserted.
"""
import math

import timm
import torch
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2, WindowAttention
from torch import nn

from common import write

FACTS = {"timm": timm.__version__, "torch": torch.__version__}
HIDDEN = 24  # of the MLP of the bias, 512 in timm: the files stay small


def maps(model, x):
    """The map behind every stage."""
    return model.forward_intermediates(x, intermediates_only=True, norm=False)


def coordinates(attn):
    def axis(window, pretrained):
        d = torch.arange(1 - window, window, dtype=torch.float64) / max((pretrained or window) - 1, 1) * 8
        return d.sign() * torch.log2(d.abs() + 1) / math.log2(8)
    h, w = (axis(*pair) for pair in zip(attn.window_size, attn.pretrained_window_size))
    return torch.stack(torch.meshgrid(h, w, indexing="ij"), -1)[None]


def v2(**kwargs):
    model = SwinTransformerV2(mlp_ratio=2, num_classes=5, **kwargs)
    for attn in (m for m in model.modules() if isinstance(m, WindowAttention)):
        attn.cpb_mlp = nn.Sequential(nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, attn.num_heads, bias=False))
        exact = coordinates(attn)
        assert exact.shape == attn.relative_coords_table.shape and (exact - attn.relative_coords_table).abs().max() < 1e-6
        attn.relative_coords_table = exact
    return model


def saturate(model):
    """One head of each stage reaches a factor of 100. Scores then are so large that float32's rounding of them shows in the first step of
    AdamW, PyTorch's as well as ours: the losses of ten steps are compared without."""
    with torch.no_grad():
        for stage in model.layers:
            stage.blocks[-1].attn.logit_scale[-1] = 5


# 8 x 8 tokens in windows of 4, every second block shifted; then one window of 4 x 4, which is never shifted
write("swin_v2", v2(img_size=32, patch_size=4, window_size=4, embed_dim=8, depths=(2, 1), num_heads=(2, 4)), (2, 3, 32, 32), 5, FACTS,
      maps)
# 4 x 4 tokens in windows of 2, one window of 2 x 2, and one of 1 x 1, whose only offset is 0
write("swin_v2_point", v2(img_size=8, patch_size=2, window_size=2, embed_dim=4, depths=(2, 1, 1), num_heads=(1, 2, 4)), (2, 3, 8, 8), 5,
      FACTS, maps)
# an image that is not square; windows of 8 cover the height of the first map and all of the second; no biases of queries and values;
# coordinates in the unit of a window of 4
write("swin_v2_wide", v2(img_size=(16, 32), patch_size=2, window_size=8, embed_dim=8, depths=(2, 1), num_heads=(2, 4), qkv_bias=False,
                         pretrained_window_sizes=(4, 4)), (2, 3, 16, 32), 5, FACTS, maps, saturate)
# windows of 2 x 4, then of 2 x 4 that cover the width
write("swin_v2_rectangle", v2(img_size=16, patch_size=2, window_size=(2, 4), embed_dim=8, depths=(2, 2), num_heads=(2, 4)),
      (2, 3, 16, 16), 5, FACTS, maps)
write("swin_rectangle", SwinTransformer(img_size=16, patch_size=2, window_size=(2, 4), embed_dim=8, depths=(2, 2), num_heads=(2, 4),
                                        mlp_ratio=2, num_classes=5), (2, 3, 16, 16), 5, FACTS, maps)
