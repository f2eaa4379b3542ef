"""Golden numbers of the compact transformers, by a network written from the paper's text (arXiv 2104.05704, section 3) and, where it is
silent, after what SHI-Labs' code does: no bias in the convolutions and in qkv, layer norms of epsilon 1e-5, and a residual stream that is
replaced by its norm after every attention. See common.py."""
import torch
import torch.nn.functional as F
from torch import nn

from common import write

FACTS = {"torch": torch.__version__}


class SelfAttention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in self.qkv(x).chunk(3, dim=-1))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim, heads, hidden):
        super().__init__()
        self.pre_norm, self.norm1 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.self_attn = SelfAttention(dim, heads)
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x):
        x = self.norm1(x + self.self_attn(self.pre_norm(x)))
        return x + self.linear2(F.gelu(self.linear1(x)))


class Tokenizer(nn.Module):
    def __init__(self, channels, kernel, stride, padding, pool):
        super().__init__()
        after = [nn.ReLU(), nn.MaxPool2d(3, 2, 1)] if pool else []
        self.conv_layers = nn.Sequential(*[nn.Sequential(nn.Conv2d(a, b, kernel, stride, padding, bias=not pool), *after)
                                           for a, b in zip(channels, channels[1:])])

    def forward(self, x):
        return self.conv_layers(x).flatten(2).transpose(1, 2)


class Classifier(nn.Module):
    def __init__(self, tokens, dim, depth, heads, hidden, classes, seq_pool):
        super().__init__()
        if seq_pool:
            self.attention_pool = nn.Linear(dim, 1)
        else:
            self.class_emb = nn.Parameter(torch.zeros(1, 1, dim))
        self.seq_pool = seq_pool
        self.positional_emb = nn.Parameter(torch.zeros(1, tokens + (not seq_pool), dim))
        self.blocks = nn.Sequential(*[Block(dim, heads, hidden) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, classes)

    def forward(self, x):
        if not self.seq_pool:
            x = torch.cat([self.class_emb.expand(len(x), -1, -1), x], dim=1)
        x = self.norm(self.blocks(x + self.positional_emb))
        return self.fc((self.attention_pool(x).softmax(dim=1) * x).sum(dim=1) if self.seq_pool else x[:, 0])


class Compact(nn.Module):
    def __init__(self, tokenizer, classifier):
        super().__init__()
        self.tokenizer, self.classifier = tokenizer, classifier

    def forward(self, x):
        return self.classifier(self.tokenizer(x))


def decays(name, p):
    """As ours by default: the table does not decay, the class token does (SHI-Labs' code lets both)."""
    return p.ndim > 1 and "positional_emb" not in name


write("cct", Compact(Tokenizer((3, 6, 12), 3, 1, 1, True), Classifier(5 * 4, 12, 2, 2, 18, 5, True)), (2, 3, 18, 14), 5, FACTS, decays=decays)
write("vit_lite", Compact(Tokenizer((3, 12), 4, 4, 0, False), Classifier(3 * 4, 12, 2, 3, 24, 5, False)), (2, 3, 12, 16), 5, FACTS,
      decays=decays)
