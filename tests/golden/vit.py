"""Golden numbers of ViT, by timm, and of SimpleViT, in plain PyTorch after big_vision's equations. See common.py."""
import math

import timm
import torch
import torch.nn as nn
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer

from common import write

FACTS = {"timm": timm.__version__, "torch": torch.__version__}
SMALL = dict(patch_size=4, embed_dim=24, depth=2, num_heads=3, mlp_ratio=2, num_classes=5)


class SimpleViT(nn.Module):
    """Pre-norm blocks on patches plus fixed sinusoids of both coordinates; norm, mean, head; GELU by tanh."""

    class Block(nn.Module):
        class Attn(nn.Module):
            def __init__(self, dim, heads):
                super().__init__()
                self.qkv, self.proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads

            def forward(self, x):
                q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
                p = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).softmax(-1)
                return self.proj((p @ v).transpose(1, 2).flatten(2))

        class Mlp(nn.Module):
            def __init__(self, dim, hidden):
                super().__init__()
                self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

            def forward(self, x):
                return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))

        def __init__(self, dim, heads, hidden):
            super().__init__()
            self.norm1, self.attn = nn.LayerNorm(dim, 1e-6), self.Attn(dim, heads)
            self.norm2, self.mlp = nn.LayerNorm(dim, 1e-6), self.Mlp(dim, hidden)

        def forward(self, x):
            x = x + self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    def __init__(self, patch_size, embed_dim, depth, num_heads, mlp_ratio, num_classes):
        super().__init__()
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, embed_dim, patch_size, patch_size)})
        self.blocks = nn.Sequential(*[self.Block(embed_dim, num_heads, embed_dim * mlp_ratio) for _ in range(depth)])
        self.norm, self.head = nn.LayerNorm(embed_dim, 1e-6), nn.Linear(embed_dim, num_classes)

    def forward(self, image):
        x = self.patch_embed["proj"](image)
        (h, w), quarter = x.shape[-2:], x.shape[1] // 4
        omega = 10000.0 ** (-torch.arange(quarter, dtype=torch.float64) / (quarter - 1))
        col = (torch.arange(w, dtype=torch.float64)[:, None] * omega).repeat(h, 1)
        row = (torch.arange(h, dtype=torch.float64)[:, None] * omega).repeat_interleave(w, 0)
        x = x.flatten(2).transpose(1, 2) + torch.cat([col.sin(), col.cos(), row.sin(), row.cos()], 1).to(x.dtype)
        return self.head(self.norm(self.blocks(x)).mean(1))


def last_map(model, x):
    """The patches behind the last block, before the norm."""
    return model.forward_intermediates(x, indices=1, intermediates_only=True, norm=False)


write("vit_token", VisionTransformer(img_size=16, **SMALL), (3, 3, 16, 16), 5, FACTS, last_map)
write("vit_avg", VisionTransformer(img_size=16, class_token=False, global_pool="avg", qkv_bias=False, **SMALL),
      (3, 3, 16, 16), 5, FACTS)
# LayerScale, positions without a row for the class token, mean of the patches behind one, an image that is not square
write("vit_layerscale", VisionTransformer(img_size=(12, 20), init_values=0.1, no_embed_class=True, global_pool="avg", **SMALL),
      (2, 3, 12, 20), 5, FACTS, last_map)
# built for 16 x 16, called with 24 x 20: the table of positions is resized inside the call
write("vit_resized", VisionTransformer(img_size=16, dynamic_img_size=True, **SMALL), (2, 3, 24, 20), 5, FACTS)
write("simple_vit", SimpleViT(**SMALL), (2, 3, 16, 12), 5, {"torch": torch.__version__})
