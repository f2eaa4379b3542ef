"""JAX's side of performance.py, for the ViTs: plain jax.numpy under jit, training step or forward pass. See turns.py.

    python jax_side.py SPEC

In bf16 the operands of matrix products are rounded and what they give stays bfloat16, as under torch.autocast; norms, softmax, loss, weights and
optimiser are float32. For inference weights are rounded once."""
import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

import noise
import proof
from turns import serve

HEADS = {"vit_tiny_patch4_32": 3, "vit_cifar_small": 4}


def model(heads, dtype):
    def dense(p, name, x):
        return x.astype(dtype) @ p[name + ".weight"].T.astype(dtype) + p[name + ".bias"].astype(dtype)

    def norm(p, name, x):
        x = x.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        return x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * p[name + ".weight"] + p[name + ".bias"]

    def attention(p, name, x):
        b, n, c = x.shape
        q, k, v = jnp.moveaxis(dense(p, name + ".qkv", x).reshape(b, n, 3, heads, c // heads), 2, 0)
        s = jnp.einsum("bihd,bjhd->bhij", q, k).astype(jnp.float32) * (c // heads) ** -0.5
        o = jnp.einsum("bhij,bjhd->bihd", jax.nn.softmax(s).astype(dtype), v)
        return dense(p, name + ".proj", o.reshape(b, n, c))

    def forward(p, x):
        w = p["patch_embed.proj.weight"]  # (C, 3, P, P); patches do not overlap: a reshape and a product
        b, c, h, _ = x.shape
        P, g = w.shape[-1], h // w.shape[-1]
        x = x.reshape(b, c, g, P, g, P).transpose(0, 2, 4, 1, 3, 5).reshape(b, g * g, c * P * P)
        x = (x.astype(dtype) @ w.reshape(w.shape[0], -1).T.astype(dtype)).astype(jnp.float32) + p["patch_embed.proj.bias"]
        x = jnp.concatenate([jnp.broadcast_to(p["cls_token"], (b, 1, x.shape[-1])), x], 1) + p["pos_embed"]
        for i in range(sum(name.endswith("norm1.weight") for name in p)):
            name = f"blocks.{i}."
            x = x + attention(p, name + "attn", norm(p, name + "norm1", x)).astype(jnp.float32)
            hidden = jax.nn.gelu(dense(p, name + "mlp.fc1", norm(p, name + "norm2", x)), approximate=False)
            x = x + dense(p, name + "mlp.fc2", hidden).astype(jnp.float32)
        return dense(p, "head", norm(p, "norm", x[:, 0])).astype(jnp.float32)

    return forward


def training(forward, weights, x, y, smoothing=0.1, lr=1e-4, decay=0.05, clip=1.0):
    """Cross-entropy with label smoothing, clipping of the whole gradient, AdamW."""
    def loss(p):
        logs = jax.nn.log_softmax(forward(p, x))
        target = jax.nn.one_hot(y, logs.shape[-1]) * (1 - smoothing) + smoothing / logs.shape[-1]
        return -(target * logs).sum(-1).mean()

    rates = {n: decay * (w.ndim > 1 and n not in ("cls_token", "pos_embed")) for n, w in weights.items()}

    def update(p, m, v, t):
        value, g = jax.value_and_grad(loss)(p)
        length = jnp.sqrt(sum((d * d).sum() for d in g.values()))
        g = {n: d * jnp.minimum(1, clip / (length + 1e-6)) for n, d in g.items()}
        m = {n: 0.9 * m[n] + 0.1 * g[n] for n in p}
        v = {n: 0.999 * v[n] + 0.001 * g[n] * g[n] for n in p}
        a, b = 1 - 0.9**t, 1 - 0.999**t
        p = {n: p[n] * (1 - lr * rates[n]) - lr * (m[n] / a) / (jnp.sqrt(v[n] / b) + 1e-8) for n in p}
        return p, m, v, t + 1, value

    compiled = jax.jit(update, donate_argnums=(0, 1, 2))
    zeros = {n: jnp.zeros_like(w) for n, w in weights.items()}
    state = [weights, zeros, {n: jnp.zeros_like(w) for n, w in weights.items()}, jnp.float32(1)]

    def step():
        *state[:], value = compiled(*state)
        return value.block_until_ready()

    return step


def rounded(weights, dtype):
    """Weights as their products read them; those of norms, the positions and the class token are added to or scale float32."""
    kept = ("norm", "cls_token", "pos_embed", "patch_embed.proj.bias")
    return {n: w if any(part in n for part in kept) else w.astype(dtype) for n, w in weights.items()}


def read(path):
    return {n: jnp.asarray(w) for n, w in load_file(path).items()}


def prove(spec, forward, x):
    """Writes logits and gradients at the moved weights."""
    c = proof.cotangent(spec["shape"][0], spec["classes"])

    def weighted(p):
        logits = forward(p, x)
        return (logits * c).sum(), logits

    grads, logits = jax.jit(jax.grad(weighted, has_aux=True))(read(spec["moved"]))
    save_file({"logits": np.asarray(logits), **{"grad." + n: np.asarray(g) for n, g in grads.items()}}, spec["answer"])


def main(spec):
    weights = read(spec["weights"])
    x = jnp.asarray(noise.batch(spec["shape"][0], spec["shape"][1:]))
    dtype = jnp.bfloat16 if spec["precision"] == "bf16" else jnp.float32
    forward = model(HEADS[spec["model"]], dtype)
    about = {"version": f"JAX {jax.__version__}", "params": sum(w.size for w in weights.values())}
    if spec["mode"] == "infer":
        constants = rounded(weights, dtype)
        compiled = jax.jit(lambda images: forward(constants, images))

        def step():
            return compiled(x).block_until_ready()

        save_file({"logits": np.asarray(step())}, spec["answer"])
    else:
        if "moved" in spec:
            prove(spec, forward, x)
        step = training(forward, weights, x, jnp.asarray(noise.labels(spec["shape"][0], spec["classes"])))
        about["losses"] = [float(step()) for _ in range(3)]
    serve(step, about)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
