"""Golden numbers of Twins, by timm, and of CPVT: timm's ViT with the PEG of its Twins after the first block. See common.py.

    venv/bin/python tests/golden/twins.py
"""
import timm
import torch
import torch.nn as nn
from timm.models.twins import PosConv, Twins
from timm.models.vision_transformer import VisionTransformer

import common

FACTS = {"timm": timm.__version__, "torch": torch.__version__}
SMALL = dict(patch_size=4, in_chans=1, num_classes=5, embed_dims=(8, 12), num_heads=(2, 3), mlp_ratios=(2, 2))


def decays(name, p, usual=common.decays):
    return usual(name, p) and "pos_block" not in name


common.decays = decays


def maps(model, x):
    return model.forward_intermediates(x, intermediates_only=True, norm=False)


class CPVT(VisionTransformer):
    """PEG on the patches after block 0; the names of a gap between blocks are ours."""

    def __init__(self, **options):
        super().__init__(pos_embed="none", **options)
        self.pos_block = nn.ModuleDict({"1": PosConv(self.embed_dim, self.embed_dim)})

    def forward_features(self, image, **_):
        size = [side // self.patch_embed.patch_size[0] for side in image.shape[-2:]]
        x = self._pos_embed(self.patch_embed(image))
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i == 0:
                n = self.num_prefix_tokens
                x = torch.cat([x[:, :n], self.pos_block["1"](x[:, n:], size)], 1)
        return self.norm(x)


def main():
    # 8 x 8 tokens in windows of 4, then 4 x 4 in windows of 2; local, global, local, and local, global
    common.write("twins_svt", Twins(img_size=32, depths=(3, 2), sr_ratios=(2, 1), wss=(4, 2), **SMALL), (2, 1, 32, 32), 5, FACTS, maps)
    # 4 x 12, one row of windows, and 2 x 6, which the reduction leaves one row of
    common.write("twins_svt_wide", Twins(img_size=(16, 48), depths=(2, 2), sr_ratios=(4, 2), wss=(4, 2), **SMALL), (2, 1, 16, 48), 5, FACTS, maps)
    # no windows; maps of 9 x 7 and 4 x 3 whose last rows and columns patches and reductions drop
    common.write("twins_pcpvt", Twins(img_size=32, depths=(2, 2), sr_ratios=(2, 2), **SMALL), (2, 1, 36, 28), 5, FACTS, maps)

    vit = dict(patch_size=4, in_chans=1, embed_dim=12, depth=2, num_heads=2, mlp_ratio=2, num_classes=5)
    common.write("cpvt_token", CPVT(img_size=(12, 20), **vit), (2, 1, 12, 20), 5, FACTS)
    common.write("cpvt_avg", CPVT(img_size=16, class_token=False, global_pool="avg", **vit), (2, 1, 16, 16), 5, FACTS)


main()
