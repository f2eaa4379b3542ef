"""What tests/bench/performance.py measures: models, and the cells of the page, one for each model, mode, precision, batch and number of threads."""

IMAGE = (3, 32, 32)
ENCODINGS = ("none", "relative_position_bias", "shaw", "shaw_kv", "transformer_xl", "irpe", "rope_axial")
TOKENS = {65: 32, 257: 64, 1025: 128, 2305: 192, 4097: 256}  # of a ViT with patches of 4, by the side of its image
# Stochastic depth and dropout are switched off on both sides; BatchNorm takes the batch, as in PyTorch, in all rows but the one that says otherwise.
NO_DROPPING = ("model.drop_path_rate=0",)


class Model:
    """`name`, `options`, `position`, `length`: what tessera is told. `sample`: a sample in PyTorch's layout. `batches`: of training steps.
    `other_work`: the peers compute something else, which is known."""

    def __init__(self, title, name, batches, options=(), train_options=(), sample=IMAGE, classes=10, position="", length=0, jax=False, channels_last=False,
                 other_work=False):
        self.title, self.name, self.batches, self.options, self.train_options = title, name, batches, options, train_options
        self.sample, self.classes, self.position, self.length, self.jax, self.channels_last = sample, classes, position, length, jax, channels_last
        self.other_work = other_work


CONFORMER = ("model.input_dim=80", "model.embed_dim=144", "model.num_layers=4")
BY_BATCH = ("train.batchnorm=batch",)
MODELS = {
    "vit_tiny_patch4_32": Model("ViT-Ti/4", "vit_tiny_patch4_32", (64,), jax=True),
    "vit_cifar_small": Model("ViT 0.8M", "vit_cifar_small", (128,), jax=True),
    "swin_cifar_small": Model("Swin, CIFAR", "swin_cifar_small", (128,), NO_DROPPING),
    "swin_tiny_patch4_window7_224": Model("Swin-T, 224", "swin_tiny_patch4_window7_224", (8, 32), NO_DROPPING, sample=(3, 224, 224), classes=1000),
    "cct_2_3x2_32": Model("CCT-2/3x2", "cct_2_3x2_32", (128,), NO_DROPPING + ("model.attn_drop_rate=0",), channels_last=True),
    "resnet18_cifar": Model("ResNet-18, CIFAR", "resnet18_cifar", (64,), (), BY_BATCH, channels_last=True),
    "resnet18_cifar_by_shard": Model("ResNet-18, by shard", "resnet18_cifar", (64,), channels_last=True, other_work=True),
    "conformer": Model("Conformer, T = 200", "conformer", (32,), CONFORMER, BY_BATCH, sample=(200, 80), position="none", length=200),
}
for name in ENCODINGS:
    MODELS["vit_cifar_small+" + name] = Model(name, "vit_cifar_small", (128,), position=name)
for tokens, side in TOKENS.items():
    options = ("model.depth=1", "model.embed_dim=192", "model.num_heads=3", "model.mlp_ratio=4", f"model.img_size={side}")
    MODELS[f"block_{tokens}"] = Model(str(tokens), "vit", (8,), options, sample=(3, side, side), position="none")

TORCH, COMPILE, ONNX, OPENVINO, JAX = "PyTorch eager", "torch.compile", "ONNX Runtime", "OpenVINO", "JAX"
KEY = ("mode", "model", "precision", "batch", "threads")


def cells(threads):
    """All cells for these numbers of threads, as dictionaries of KEY and `peers`."""
    found = []

    def add(mode, model, precision, batch, count, *peers):
        found.append({"mode": mode, "model": model, "precision": precision, "batch": batch, "threads": count, "peers": peers})

    for count in threads:
        for precision in ("f32", "bf16"):
            for name, m in MODELS.items():
                special = "+" in name or name.startswith("block_")
                jax = (JAX,) if m.jax else ()
                if special and precision == "bf16":
                    continue
                for batch in m.batches:
                    mode = "encoding" if "+" in name else "tokens" if special else "train"
                    add(mode, name, precision, batch, count, TORCH, COMPILE, *jax)
                for batch in (1, 64):
                    if not special and not name.endswith("_by_shard"):
                        add("infer", name, precision, batch, count, TORCH, COMPILE, ONNX, OPENVINO, *jax)
            add("memory", "vit_tiny_patch4_32", precision, 128, count, TORCH, COMPILE)
            add("matmul", "2048", precision, 1, count, TORCH)
    return found


def key(cell):
    return "/".join(str(cell[k]) for k in KEY)
