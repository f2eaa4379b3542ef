"""Golden numbers of the Conformer, by torchaudio's ConformerLayer and Conformer and by lucidrains' ConformerBlock. See common.py for the
files of a case; here they also hold BatchNorm's running statistics.

    venv/bin/pip install --no-deps torchaudio==2.11.0 conformer==0.3.2 einops
    venv/bin/python tests/golden/conformer.py

Of torchaudio only models/conformer.py is read, which is plain Python: its binary part need not fit the installed torch. What torchaudio
leaves to others, a linear map of the frames, subsampling, the mean and a head, is written out here. torchaudio keeps padded frames out of
attention only. So a padded batch is the definition here: each sample alone, without padding.
"""
import importlib.metadata
import importlib.util
import math

import torch
from safetensors.torch import save_file
from torch import nn

from common import DATA, trace

DIM, HEADS, HIDDEN, TAPS, FEATURES, CLASSES = 8, 2, 12, 5, 6, 3


def module_of(package, path):
    """One file of an installed package, without what the package does when it is imported (or that this script has its name)."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_"), importlib.metadata.distribution(package).locate_file(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def torchaudio_conformer(*arguments, **options):
    return module_of("torchaudio", "torchaudio/models/conformer.py").Conformer(*arguments, **options)


class Classifier(nn.Module):
    """Frames -> [subsampling as ESPnet's Conv2dSubsampling] -> linear -> blocks -> mean -> head."""

    def __init__(self, layers, features=FEATURES, subsampling=1, **options):
        super().__init__()
        left = features
        if subsampling == 4:
            self.subsampling = nn.Module()
            self.subsampling.conv = nn.Sequential(nn.Conv2d(1, DIM, 3, 2), nn.ReLU(), nn.Conv2d(DIM, DIM, 3, 2), nn.ReLU())
            left = DIM * (((features - 1) // 2 - 1) // 2)
        self.input_linear = nn.Linear(left, DIM)
        self.blocks = torchaudio_conformer(DIM, HEADS, HIDDEN, layers, TAPS, **options)
        self.head = nn.Linear(DIM, CLASSES)

    def forward(self, x):
        if hasattr(self, "subsampling"):
            x = self.subsampling.conv(x.unsqueeze(1)).transpose(1, 2).flatten(2)  # (B, C, T', F') -> (B, T', C F')
        x = self.input_linear(x)
        frames, _ = self.blocks(x, torch.full((x.shape[0],), x.shape[1]))
        return self.head(frames.mean(1))


class Bare(nn.Module):
    """torchaudio.models.Conformer and nothing else."""

    def __init__(self, layers, **options):
        super().__init__()
        self.blocks = torchaudio_conformer(DIM, HEADS, HIDDEN, layers, TAPS, **options)

    def forward(self, x):
        return self.blocks(x, torch.full((x.shape[0],), x.shape[1]))[0]


class Lucidrains(nn.Module):
    """Blocks twice as wide in their convolution, an even kernel, relative positions to 3 frames away."""

    def __init__(self, layers, taps, reach):
        super().__init__()
        code = module_of("conformer", "conformer/conformer.py")
        self.layers = nn.ModuleList()
        for _ in range(layers):
            block = code.ConformerBlock(dim=DIM, dim_head=3, heads=HEADS, ff_mult=2, conv_kernel_size=taps)
            block.attn = code.PreNorm(DIM, code.Attention(DIM, heads=HEADS, dim_head=3, max_pos_emb=reach))
            self.layers.append(block)

    def forward(self, x):
        for block in self.layers:
            x = block(x)
        return x


# our names of a lucidrains block's tensors; queries are one projection there, keys and values another
PLACES = {"ff1.fn.norm": "ffn1.sequential.0", "ff1.fn.fn.net.0": "ffn1.sequential.1", "ff1.fn.fn.net.3": "ffn1.sequential.4",
          "ff2.fn.norm": "ffn2.sequential.0", "ff2.fn.fn.net.0": "ffn2.sequential.1", "ff2.fn.fn.net.3": "ffn2.sequential.4",
          "attn.norm": "self_attn_layer_norm", "attn.fn.to_out": "self_attn.out_proj", "conv.net.0": "conv_module.layer_norm",
          "conv.net.2": "conv_module.sequential.0", "conv.net.4.conv": "conv_module.sequential.2",
          "conv.net.5": "conv_module.sequential.3", "conv.net.7": "conv_module.sequential.5", "post_norm": "final_layer_norm"}


def renamed(tensors):
    """A state, or the gradients, of any of the three under our names."""
    out = {}
    for name, t in tensors.items():
        if name.endswith("num_batches_tracked") or ".to_kv." in name:
            continue
        if not name.startswith("layers."):
            out[name.removeprefix("blocks.")] = t
            continue
        _, layer, rest = name.split(".", 2)
        prefix = f"conformer_layers.{layer}."
        if ".to_q." in rest:
            out[prefix + "self_attn.in_proj_weight"] = torch.cat([t, tensors[name.replace("to_q", "to_kv")]])
        elif "rel_pos_emb" in rest:
            out[prefix + "self_attn.position.key"] = t
        else:
            place, kind = rest.rsplit(".", 1)
            out[prefix + PLACES[place] + "." + kind] = t
    return out


def redraw(model, generator):
    """Every parameter matters: matrices of unit gain, norms and biases off their neutral values, running statistics of some past. Taps of a
    depthwise convolution are of unit size: with smaller ones BatchNorm would multiply the rounding of float by ten, and the bias before it,
    whose true gradient is 0, would show nothing else (PyTorch's own float is then 5e-4 off by the measure of golden.h)."""
    with torch.no_grad():
        for module in model.modules():
            norm = isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d))
            for name, p in module.named_parameters(recurse=False):
                noise = torch.randn(p.shape, generator=generator)
                gain = 1.0 if getattr(module, "groups", 1) > 1 else 1 / math.sqrt(p[0].numel())
                p.copy_((1.0 if norm and name == "weight" else 0.0) + 0.2 * noise if p.ndim == 1 else gain * noise)
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.copy_(0.3 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))


def write(name, model, shape, lengths=None, train=False, with_trace=False):
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    redraw(model, generator)
    x = torch.randn(shape, generator=generator)
    state = renamed({n: t.detach().clone() for n, t in model.state_dict().items()})
    save_file({n: t.contiguous() for n, t in state.items()}, DATA / f"{name}.weights.safetensors")
    model = model.double().train(train)
    xd = x.double().requires_grad_()
    if lengths:  # each alone
        logits = torch.cat([model(xd[b:b + 1, :n]) for b, n in enumerate(lengths)])
    else:
        logits = model(xd)
    cotangent = torch.randn(logits.shape, generator=generator)
    given = {"input": x, "cotangent": cotangent}
    if lengths:
        given["lengths"] = torch.tensor(lengths, dtype=torch.float32)
    save_file(given, DATA / f"{name}.input.safetensors")
    (logits * cotangent.double()).sum().backward()
    out = {"logits": logits.detach(), "grad.input": xd.grad}
    out |= {f"grad.{n}": g for n, g in renamed({n: p.grad.clone() for n, p in model.named_parameters()}).items()}
    if with_trace:
        out["labels"] = torch.randint(0, CLASSES, (shape[0],), generator=generator)
        out["trace"] = trace(model, x.double(), out["labels"])
    facts = {p: importlib.metadata.version(p) for p in ("torch", "torchaudio", "conformer")}
    save_file({n: t.contiguous() for n, t in out.items()}, DATA / f"{name}.golden.safetensors", metadata=facts)
    for file in DATA.glob(f"{name}.*"):
        file.chmod(0o644)
    print(name, sum(p.numel() for p in model.parameters()), "parameters")


# one block, alone: as it is after training, and with statistics of the batch, the convolution first
write("conformer_layer", Bare(1), (2, 7, DIM))
write("conformer_layer_train", Bare(1, convolution_first=True), (2, 7, DIM), train=True)
# four blocks: sequences of different lengths; a batch without padding in training mode, and ten steps of AdamW from there
write("conformer", Classifier(4), (3, 9, FEATURES), lengths=[9, 5, 7])
write("conformer_train", Classifier(4), (3, 9, FEATURES), train=True, with_trace=True)
# a quarter of the frames and features, group norm
write("conformer_subsampled", Classifier(1, features=11, subsampling=4, use_group_norm=True), (3, 23, 11), lengths=[23, 7, 16])
# the code in circulation: twice the width, six taps, keys-only relative positions, query minus key
write("conformer_lucidrains", Lucidrains(2, taps=6, reach=3), (2, 9, DIM))
