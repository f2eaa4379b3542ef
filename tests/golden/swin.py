"""Golden numbers of Swin, by timm, on small images whose maps the windows divide. See common.py."""
import timm
import torch
from timm.models.swin_transformer import SwinTransformer

from common import write

FACTS = {"timm": timm.__version__, "torch": torch.__version__}


def maps(model, x):
    """The map behind every stage."""
    return model.forward_intermediates(x, intermediates_only=True, norm=False)


# 8 x 8 tokens in windows of 4, every second block shifted; then one window of 4 x 4, which is never shifted
write("swin", SwinTransformer(img_size=32, patch_size=4, window_size=4, embed_dim=12, depths=(2, 1), num_heads=(2, 3), mlp_ratio=2,
                              num_classes=5), (2, 3, 32, 32), 5, FACTS, maps)
# three stages: 16 x 16, 8 x 8, 4 x 4
write("swin_deep", SwinTransformer(img_size=32, patch_size=2, window_size=4, embed_dim=4, depths=(2, 2, 1), num_heads=(1, 2, 2),
                                   mlp_ratio=2, num_classes=5), (2, 3, 32, 32), 5, FACTS, maps)
# an image that is not square; windows of 8 cover the height of the first map and all of the second; no bias for queries, keys, values
write("swin_wide", SwinTransformer(img_size=(16, 32), patch_size=2, window_size=8, embed_dim=8, depths=(2, 2), num_heads=(2, 4), mlp_ratio=2,
                                   qkv_bias=False, num_classes=5), (2, 3, 16, 32), 5, FACTS, maps)
