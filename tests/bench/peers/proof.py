"""Do two programs compute the same? Both get weights that are not those of a beginning: at the start of training a loss is that of guessing and tables of
positions are 0 or nearly, so that a program without them would not be told from one that has them. All weights are moved by noise, and what is compared is
the logits of a whole batch and, for training, the gradient of sum(logits * cotangent) by every single parameter. tessera's are those of `tessera forward`."""
import math

import numpy as np

import noise

MOVED = 0.05  # deviation of the noise: scores of attention of around 1, far from what would overflow or vanish in an exponential
SMALL = 1e-3  # share of the largest gradient's length: a gradient that is shorter is compared with that (those of keys' biases are 0)


class NotFinite(Exception):
    """One line that says what is NaN or infinite."""


def moved(weights):
    """These weights and statistics moved by N(0, MOVED^2), variances by a positive factor; whole numbers stay."""
    rng = np.random.default_rng(1)
    found = {}
    for name, w in weights.items():
        shift = MOVED * rng.standard_normal(w.shape)
        if np.issubdtype(w.dtype, np.floating):
            w = (w * (1 + abs(shift)) if name.endswith("running_var") else w + shift).astype(np.float32)
        found[name] = np.ascontiguousarray(w)
    return found


def cotangent(count, classes):
    """What the logits' sum is weighted with, float32 (B, classes)."""
    with np.errstate(over="ignore"):
        return noise.normal(7, count * classes).reshape(count, classes).astype(np.float32)


def finite(found):
    """Throws NotFinite if anything in it is not."""
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise NotFinite(f"{name} is not finite")


def length(w):
    return np.linalg.norm(w.astype(np.float64))


def differences(theirs, ours, exact=None):
    """Relative differences of the `logits` and, where ours has gradients, of the whole `gradient` and of that parameter's where it is largest, the
    `worst gradient`, with its name. With `exact`, tessera's in f32, also how far from it the whole gradients are that both round: `rounding`, ours first.
    Throws NotFinite, and ValueError where they are not of the same things."""
    finite(theirs)
    gradients = sorted(name for name in ours if name.startswith("grad.") and name != "grad.input")
    for name in ["logits", *gradients]:
        if name not in theirs or theirs[name].shape != ours[name].shape:
            raise ValueError(f"{name}: {theirs[name].shape if name in theirs else 'nothing'}, but tessera's is {ours[name].shape}")
    gap = {name: length(theirs[name].astype(np.float64) - ours[name]) for name in ["logits", *gradients]}
    own = {name: length(ours[name]) for name in ["logits", *gradients]}

    def share(gap, own):
        return float(gap / own) if own > 0 else float(gap)

    found = {"logits": share(gap["logits"], own["logits"])}
    if gradients:
        found["gradient"] = share(math.hypot(*(gap[name] for name in gradients)), math.hypot(*(own[name] for name in gradients)))
        least = SMALL * max(own[name] for name in gradients)
        each = {name: share(gap[name], max(own[name], least)) for name in gradients}
        worst = max(each, key=each.get)
        found |= {"worst gradient": each[worst], "name": worst.removeprefix("grad.")}
    if gradients and exact:
        size = math.hypot(*(length(exact[name]) for name in gradients))
        found["rounding"] = [share(math.hypot(*(length(side[name].astype(np.float64) - exact[name]) for name in gradients)), size) for side in (ours, theirs)]
    return found
