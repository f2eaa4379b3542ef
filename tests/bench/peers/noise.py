"""The batch of `tessera bench`, made again: noise that is a function of sample and place alone (core/rng.h), and labels in turn."""
import numpy as np

GOLDEN = 0x9E3779B97F4A7C15


def mix(x):
    """SplitMix64's output function of an array of uint64."""
    x = x + np.uint64(GOLDEN)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def normal(seed, count):
    """The first numbers of a stream, by Box and Muller."""
    counter = np.arange(2 * count, dtype=np.uint64)
    bits = mix(np.uint64(seed) + np.uint64(GOLDEN) * counter)
    uniform = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.sqrt(-2 * np.log(1 - uniform[::2])) * np.cos(2 * np.pi * uniform[1::2])


def batch(count, sample):
    """Samples in PyTorch's layout, (B, C, H, W) or (B, T, F), float32."""
    with np.errstate(over="ignore"):
        seeds = mix(np.arange(count, dtype=np.uint64))
        if len(sample) == 2:
            return np.stack([normal(s, sample[0] * sample[1]).reshape(sample) for s in seeds]).astype(np.float32)
        c, h, w = sample
        rows = np.stack([normal(s, c * h * w).reshape(h, w, c) for s in seeds])  # channels last, as tessera fills it
    return np.ascontiguousarray(rows.transpose(0, 3, 1, 2).astype(np.float32))


def labels(count, classes):
    return np.arange(count) % classes
