"""The models of cells.py in PyTorch: timm's, torchvision's and torchaudio's where they have them, with the weights that tessera starts from."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file


class CompactAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, c))


class CompactBlock(nn.Module):
    """The residual stream goes on from its norm, as in the published code."""

    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.pre_norm, self.self_attn, self.norm1 = nn.LayerNorm(dim), CompactAttention(dim, heads), nn.LayerNorm(dim)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        x = self.norm1(x + self.self_attn(self.pre_norm(x)))
        return x + self.linear2(F.gelu(self.linear1(x)))


class CompactClassifier(nn.Module):
    def __init__(self, tokens=64, dim=128, depth=2, heads=2, classes=10):
        super().__init__()
        self.positional_emb = nn.Parameter(torch.zeros(1, tokens, dim))
        self.blocks = nn.Sequential(*[CompactBlock(dim, heads, dim) for _ in range(depth)])
        self.norm, self.attention_pool, self.fc = nn.LayerNorm(dim), nn.Linear(dim, 1), nn.Linear(dim, classes)

    def forward(self, x):
        x = self.norm(self.blocks(x + self.positional_emb))
        return self.fc((self.attention_pool(x).softmax(1) * x).sum(1))


class Compact(nn.Module):
    """CCT-2/3x2: 64 tokens from two convolutions, two blocks of width 128, a pooled sequence."""

    def __init__(self):
        super().__init__()

        def layer(a, b):
            return nn.Sequential(nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.ReLU(), nn.MaxPool2d(3, 2, 1))

        self.tokenizer = nn.ModuleDict({"conv_layers": nn.Sequential(layer(3, 64), layer(64, 128))})
        self.classifier = CompactClassifier()

    def forward(self, x):
        return self.classifier(self.tokenizer["conv_layers"](x).flatten(2).transpose(1, 2))


def conformer(features, dim=144):
    import torchaudio

    class Conformer(torchaudio.models.Conformer):
        """torchaudio's layers between a linear one and the mean over frames. All sequences are full: there is nothing to mask."""

        def __init__(self):
            super().__init__(dim, 4, 4 * dim, 4, 31)
            self.input_linear, self.head = nn.Linear(features, dim), nn.Linear(dim, 10)

        def forward(self, x):
            x = self.input_linear(x).transpose(0, 1)
            for layer in self.conformer_layers:
                x = layer(x, None)
            return self.head(x.mean(0))

    return Conformer()


def resnet18_cifar():
    from torchvision.models.resnet import BasicBlock, ResNet
    net = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=10)
    net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net


def make(spec):
    """The module of a model of cells.py."""
    name, sample = spec["model"], spec["shape"][1:]
    if "+" in name:
        from torch_encodings import EncodedViT
        return EncodedViT(name.split("+")[1])
    if name.startswith("conformer"):
        return conformer(sample[1])
    if name.startswith("resnet18_cifar"):
        return resnet18_cifar()
    if name == "cct_2_3x2_32":
        return Compact()
    import timm
    if name == "swin_tiny_patch4_window7_224":
        return timm.create_model(name, drop_path_rate=0)
    if name == "swin_cifar_small":
        return timm.models.swin_transformer.SwinTransformer(img_size=32, patch_size=2, num_classes=10, embed_dim=48, depths=(2, 4), num_heads=(3, 6),
                                                            window_size=4, mlp_ratio=2, drop_path_rate=0)
    vit = {"vit_tiny_patch4_32": dict(embed_dim=192, depth=12, num_heads=3, mlp_ratio=4),
           "vit_cifar_small": dict(embed_dim=128, depth=6, num_heads=4, mlp_ratio=2)}.get(name)
    if vit is None:  # block_N
        vit = dict(embed_dim=192, depth=1, num_heads=3, mlp_ratio=4, pos_embed="none")
    return timm.models.vision_transformer.VisionTransformer(img_size=sample[1], patch_size=4, num_classes=10, **vit)


def build(spec):
    """The module with tessera's weights. Every parameter must be in the file, and nothing else but statistics."""
    net = make(spec)
    missing, extra = net.load_state_dict(load_file(spec["weights"]), strict=False)
    parameters = {n for n, _ in net.named_parameters()}
    wrong = sorted(parameters & set(missing)) + sorted(extra)
    if wrong:
        raise RuntimeError(f"{spec['model']}: weights do not match: {', '.join(wrong[:4])}")
    return net


def decays(name, p):
    """What weight decay applies to in tessera: matrices, but not tables of positions and class tokens."""
    kept = ("cls_token", "pos_embed", "positional_emb", "bias_table", "pos_bias", "position.", "lookup_table")
    return p.ndim > 1 and not any(part in name for part in kept)
