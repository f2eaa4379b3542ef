"""Attentions with their position encodings, by timm and by transformers: tests/twin/golden_attention.cpp compares ours. To repeat:

    python3 -m venv venv && venv/bin/pip install torch==2.14.1 torchvision==0.29.1 timm==1.0.31 transformers==4.56.2 safetensors
    venv/bin/python tests/golden/attention.py [NAME ...]

A case is one file tests/golden/data/attention_NAME.safetensors, with the library's own names and shapes:
    x (B,N,C), cotangent (B,N,C)    tokens (class token first where there is one) and dL/dy                   F32
    PARAMETER                       random weights at which every parameter matters                           F32
    y, grad.x, grad.PARAMETER       output and gradients of sum(y * cotangent), computed in float64           F64
Grids are 3 x 4, width 16, 2 heads of 8, unless a case says otherwise. Where a library computes in 32 bits whatever its type
(rotary angles, log coordinates, T5's softmax), so does the golden; the test allows for it.
"""
import math
import sys
from functools import partial

import timm
import torch
import torch.nn as nn
import transformers
from safetensors.torch import save_file
from timm.layers import RotaryEmbeddingCat, RotaryEmbeddingDinoV3, RotaryEmbeddingMixed
from timm.layers.pos_embed_rel import RelPosBias, RelPosMlp
from timm.models.beit import Attention as BeitAttention
from timm.models.convit import GPSA
from timm.models.eva import EvaAttention
from timm.models.levit import Attention as LevitAttention
from timm.models.swin_transformer_v2 import WindowAttention
from timm.models.vision_transformer_relpos import RelPosAttention
from transformers.models.bert.modeling_bert import BertConfig, BertSelfAttention
from transformers.models.roformer.modeling_roformer import RoFormerConfig, RoFormerSelfAttention
from transformers.models.roformer.modeling_roformer import RoFormerSinusoidalPositionalEmbedding
from transformers.models.t5.modeling_t5 import T5Attention, T5Config

from common import DATA

C, H, D, GRID = 16, 2, 8, (3, 4)
FACTS = {"timm": timm.__version__, "torch": torch.__version__, "transformers": transformers.__version__}
CASES = {}


def case(f):
    CASES[f.__name__] = f
    return f


def redraw(model, generator):
    """Matrices of unit gain, biases of 0.2, tables of 0.5: every parameter matters, no softmax is saturated."""
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        table = any(s in name for s in ("table", "attention_bias", "distance_embedding", "gating", "logit_scale", "pos_proj"))
        with torch.no_grad():
            if "freqs" in name:
                p.copy_(0.7 * noise)
            elif table:
                p.copy_(0.5 * noise)
            elif p.ndim == 1:
                p.copy_(0.2 * noise)
            else:
                p.copy_(noise / math.sqrt(p[0].numel()))


def write(name, model, call=None, tokens=12, batch=2, prepare=None):
    generator = torch.Generator().manual_seed(sum(map(ord, name)))
    redraw(model, generator)
    if prepare:
        prepare(model)
    out = {n: p.detach().clone() for n, p in model.named_parameters()}
    x, cotangent = (torch.randn((batch, tokens, C), generator=generator) for _ in range(2))
    out |= {"x": x, "cotangent": cotangent}
    model = model.double()
    model.eval()
    xd = x.double().requires_grad_()
    y = (call or model)(xd)
    y = y[0] if isinstance(y, tuple) else y
    (y * cotangent.double()).sum().backward()
    out |= {"y": y.detach(), "grad.x": xd.grad}
    for n, p in model.named_parameters():
        assert p.grad is not None, n
        out[f"grad.{n}"] = p.grad.clone()
    file = DATA / f"attention_{name}.safetensors"
    save_file({n: t.contiguous() for n, t in out.items()}, file, metadata=FACTS)
    file.chmod(0o644)
    print(f"{file.name}: {file.stat().st_size} bytes, output up to {y.abs().max():.2f}")


# ---- biases ---------------------------------------------------------------------------------------------------------------


@case
def relpos_class():
    """vision_transformer_relpos with Swin's table and class rows."""
    write("relpos_class", RelPosAttention(C, H, qkv_bias=True, rel_pos_cls=partial(RelPosBias, window_size=GRID, prefix_tokens=1)),
          tokens=13)


@case
def relpos():
    write("relpos", RelPosAttention(C, H, qkv_bias=True, rel_pos_cls=partial(RelPosBias, window_size=GRID)))


@case
def relpos_mlp():
    """vision_transformer_relpos with Swin v2's log-spaced MLP in place of the table."""
    write("relpos_mlp", RelPosAttention(C, H, qkv_bias=True, rel_pos_cls=partial(RelPosMlp, window_size=GRID, hidden_dim=32, mode="swin")))


@case
def beit():
    write("beit", BeitAttention(C, H, window_size=GRID), tokens=13)


@case
def levit():
    """Its projections are normalised by fixed statistics; here mean 0 and variance 1, so that they are a scale of 1 and a bias."""
    model = LevitAttention(C, D, H, attn_ratio=1, resolution=GRID, act_layer=nn.Identity)
    for norm in (model.qkv.bn, model.proj.ln.bn):
        norm.eps, norm.weight = 0.0, None
    write("levit", model)


def t5(name, tokens, batch, buckets, distance):
    config = T5Config(d_model=C, d_kv=D, num_heads=H, dropout_rate=0, relative_attention_num_buckets=buckets,
                      relative_attention_max_distance=distance)
    model = T5Attention(config, has_relative_attention_bias=True, layer_idx=0)
    write(name, model, lambda x: model(x, cache_position=torch.arange(tokens)), tokens=tokens, batch=batch)


@case
def t5_default():
    """32 buckets up to 128, on 144 tokens: both ends of the buckets are met."""
    t5("t5_default", 144, 1, 32, 128)


@case
def t5_small():
    t5("t5_small", 30, 2, 12, 20)


# ---- content ----------------------------------------------------------------------------------------------------------------


def bert(kind):
    config = BertConfig(hidden_size=C, num_attention_heads=H, max_position_embeddings=12, position_embedding_type=kind,
                        attention_probs_dropout_prob=0)
    config._attn_implementation = "eager"
    write(f"bert_{kind}", BertSelfAttention(config))


@case
def bert_relative_key():
    bert("relative_key")


@case
def bert_relative_key_query():
    bert("relative_key_query")


@case
def gpsa():
    """ConViT's; its grids are square."""
    write("gpsa", GPSA(C, H, qkv_bias=True), tokens=16)


@case
def swin_v2():
    """Cosine attention in a window of 4 x 4. One head's temperature is beyond the clamp at ln 100, where its gradient is 0."""
    def hot(model):
        model.logit_scale.data += 1.5
        model.logit_scale.data[1] = 5.0

    model = WindowAttention(C, (4, 4), H, qkv_bias=False)
    model.cpb_mlp[0], model.cpb_mlp[2] = nn.Linear(2, 32), nn.Linear(32, H, bias=False)
    write("swin_v2", model, tokens=16, prepare=hot)


@case
def swin_v2_finetuned():
    """The same in a window of 4 x 4 with the coordinates of a model trained at 3 x 3."""
    def hot(model):
        model.logit_scale.data += 1.5

    model = WindowAttention(C, (4, 4), H, qkv_bias=False, pretrained_window_size=(3, 3))
    model.cpb_mlp[0], model.cpb_mlp[2] = nn.Linear(2, 32), nn.Linear(32, H, bias=False)
    write("swin_v2_finetuned", model, tokens=16, prepare=hot)


# ---- rotary -----------------------------------------------------------------------------------------------------------------


def eva(name, embed, half=False, heads=H):
    model = EvaAttention(C, heads, qkv_bias=False, num_prefix_tokens=1, scale_norm=False, rotate_half=half)
    model.rope = embed if any(True for _ in embed.parameters()) else None

    def call(x):
        rope = embed.get_embed()
        return model(x, rope=(rope[0] if rope.ndim == 4 else rope).to(x.dtype))

    write(name, model, call, tokens=13)


@case
def eva_language():
    eva("eva_language", RotaryEmbeddingCat(D, in_pixels=False, feat_shape=list(GRID)))


@case
def eva_resized():
    """EVA's rule for another resolution: a model trained at 2 x 2."""
    eva("eva_resized", RotaryEmbeddingCat(D, in_pixels=False, feat_shape=list(GRID), ref_feat_shape=[2, 2]))


@case
def eva_pixel():
    """Linear bands; frequencies up to 8 pi only, since the angles are rounded to 32 bits. One head, of 4 bands."""
    eva("eva_pixel", RotaryEmbeddingCat(C, in_pixels=True, linear_bands=True, max_res=16, feat_shape=list(GRID)), heads=1)


@case
def eva_pixel_log():
    eva("eva_pixel_log", RotaryEmbeddingCat(C, in_pixels=True, linear_bands=False, max_res=16, feat_shape=list(GRID)), heads=1)


@case
def rope_vit_axial():
    """naver's rope-vit as timm has it: columns first, theta 100."""
    eva("rope_vit_axial", RotaryEmbeddingCat(D, in_pixels=False, temperature=100, feat_shape=list(GRID), grid_indexing="xy"))


@case
def rope_vit_mixed():
    eva("rope_vit_mixed", RotaryEmbeddingMixed(C, 1, H, feat_shape=list(GRID), grid_indexing="xy"))


@case
def dinov3():
    eva("dinov3", RotaryEmbeddingDinoV3(D, feat_shape=list(GRID)), half=True)


@case
def roformer():
    """One dimension, interleaved pairs."""
    config = RoFormerConfig(hidden_size=C, num_attention_heads=H, attention_probs_dropout_prob=0, rotary_value=False)
    table = RoFormerSinusoidalPositionalEmbedding(12, D)
    table._init_weight()
    model = RoFormerSelfAttention(config)
    write("roformer", model, lambda x: model(x, sinusoidal_pos=table.weight.double()[None, None, :12]))


for name in sys.argv[1:] or CASES:
    CASES[name]()
