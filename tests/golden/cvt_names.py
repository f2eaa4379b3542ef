"""transformers' names of a CvT's parameters as the official code has them."""
import re

NAMES = [(r"^cvt\.encoder\.stages\.(\d+)\.", r"stage\1."),
         (r"embedding\.convolution_embeddings\.projection", "patch_embed.proj"),
         (r"embedding\.convolution_embeddings\.normalization", "patch_embed.norm"),
         (r"layers\.(\d+)\.", r"blocks.\1."),
         (r"attention\.attention\.convolution_projection_(.)\w+\.convolution_projection\.convolution", r"attn.conv_proj_\1.conv"),
         (r"attention\.attention\.convolution_projection_(.)\w+\.convolution_projection\.normalization", r"attn.conv_proj_\1.bn"),
         (r"attention\.attention\.projection_(.)\w+\.", r"attn.proj_\1."),
         (r"attention\.output\.dense", "attn.proj"),
         (r"intermediate\.dense", "mlp.fc1"),
         (r"output\.dense", "mlp.fc2"),
         (r"layernorm_before", "norm1"),
         (r"layernorm_after", "norm2"),
         (r"^layernorm\.", "norm."),
         (r"^classifier\.", "head.")]


def ours(name):
    for theirs, to in NAMES:
        name = re.sub(theirs, to, name)
    return name
