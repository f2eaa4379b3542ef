"""Golden numbers of the Transformer, by torch.nn.Transformer with masks, on padded sequences. See common.py, of whose files these differ in
NAME.input.safetensors: input (B,T) and target (B,S) hold token numbers, lengths (B) and target_lengths (B) how many of them are no padding,
and in NAME.golden.safetensors: labels (B,S), -1 where there is padding. Parameters have torch's names without the leading "transformer.".
"""
import math

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from common import DATA, decays, redraw

FACTS = {"torch": torch.__version__}


def sinusoids(T, C):
    angle = torch.arange(T, dtype=torch.float64)[:, None] * 10000.0 ** (-torch.arange(0, C, 2, dtype=torch.float64) / C)
    return torch.stack((angle.sin(), angle.cos()), -1).reshape(T, C)


def padding(lengths, T):
    return torch.arange(T) >= lengths[:, None]


class Model(torch.nn.Module):
    def __init__(self, source, target, C, tied, **options):
        super().__init__()
        self.transformer = torch.nn.Transformer(C, batch_first=True, dropout=0.0, **options)
        if tied:
            self.embed = torch.nn.Embedding(source, C)
        else:
            self.src_embed, self.tgt_embed = torch.nn.Embedding(source, C), torch.nn.Embedding(target, C)
            self.generator = torch.nn.Linear(C, target)
        self.tied, self.C = tied, C

    def forward(self, case):
        source, target = (self.embed, self.embed) if self.tied else (self.src_embed, self.tgt_embed)
        T, S = case["input"].shape[1], case["target"].shape[1]
        x = source(case["input"]) * math.sqrt(self.C) + sinusoids(T, self.C)
        y = target(case["target"]) * math.sqrt(self.C) + sinusoids(S, self.C)
        hidden = padding(case["lengths"], T)
        z = self.transformer(x, y, tgt_mask=torch.ones(S, S).triu(1).bool(), src_key_padding_mask=hidden,
                             tgt_key_padding_mask=padding(case["target_lengths"], S), memory_key_padding_mask=hidden)
        return z @ self.embed.weight.T if self.tied else self.generator(z)


def write(name, source, target, C, tied, **options):
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    model = Model(source, target, C, tied, **options)
    redraw(model, generator)
    named = lambda: ((n.removeprefix("transformer."), p) for n, p in model.named_parameters())
    save_file({n: p.detach().clone() for n, p in named()}, DATA / f"{name}.weights.safetensors")
    B, T, S = 3, 6, 5
    case = {"input": torch.randint(0, source, (B, T), generator=generator), "target": torch.randint(0, target, (B, S), generator=generator),
            "lengths": torch.tensor([6, 3, 4]), "target_lengths": torch.tensor([4, 5, 2])}
    labels = torch.randint(0, target, (B, S), generator=generator).masked_fill(padding(case["target_lengths"], S), -1)
    model = model.double().train()
    logits = model(case)
    cotangent = torch.randn(logits.shape, generator=generator)
    save_file({n: t.float() for n, t in case.items()} | {"cotangent": cotangent}, DATA / f"{name}.input.safetensors")
    (logits * cotangent.double()).sum().backward()
    out = {"labels": labels, "logits": logits.detach()} | {f"grad.{n}": p.grad.clone() for n, p in named()}
    groups = [{"params": [p for n, p in named() if decays(n, p) == d], "weight_decay": 0.05 * d} for d in (True, False)]
    optimiser, losses = torch.optim.AdamW(groups, lr=1e-2), []
    for _ in range(10):
        optimiser.zero_grad()
        loss = F.cross_entropy(model(case).flatten(0, 1), labels.flatten(), ignore_index=-1, label_smoothing=0.1)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
    out["trace"] = torch.tensor(losses, dtype=torch.float64)
    save_file({n: t.contiguous() for n, t in out.items()}, DATA / f"{name}.golden.safetensors", metadata=FACTS)
    for file in DATA.glob(f"{name}.*"):
        file.chmod(0o644)
    print(name, sum(p.numel() for p in model.parameters()), "parameters", losses)


# the paper's order, one embedding for source, target and output
write("transformer_post", 7, 7, 8, True, nhead=2, num_encoder_layers=2, num_decoder_layers=2, dim_feedforward=12)
# norms in front, GELU, more source than target tokens, no matrix shared
write("transformer_pre", 9, 6, 8, False, nhead=2, num_encoder_layers=2, num_decoder_layers=1, dim_feedforward=12, norm_first=True,
      activation="gelu")
