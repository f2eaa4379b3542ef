"""docs/performance.md, from the cells that performance.py measured. Every figure on the page is computed here."""
import statistics

import cells as table
from cells import COMPILE, JAX, ONNX, OPENVINO, TORCH

LIMIT = {"f32": 1e-3, "bf16": 3e-2}  # largest difference of what both sides compute
BUSY = 0.15  # processors' worth of other work, from which on a cell is marked
MODES = {"train": "training step", "infer": "inference", "encoding": "encoding", "tokens": "tokens", "memory": "memory"}


def ratios(cell, peer):
    """How many times as long the peer takes, round by round: [median, least, most], or None."""
    sides = cell["sides"]
    if peer not in sides or not sides[peer]["ms"]:
        return None
    each = [theirs / mine for theirs, mine in zip(sides[peer]["ms"], sides["tessera"]["ms"])]
    return statistics.median(each), min(each), max(each)


def params_differ(cell, peer):
    sides = cell["sides"]
    return "params" in sides[peer] and sides[peer]["params"] != sides["tessera"].get("params", sides[peer]["params"])


def other_work(cell, peer):
    """Is it told that the peer computes something else?"""
    return params_differ(cell, peer) or cell["sides"][peer].get("difference", 0) > LIMIT[cell["precision"]]


def ratio(cell, peer):
    r = ratios(cell, peer)
    if r is None:
        return "-"
    return f"{r[0]:.2f} ({r[1]:.2f}-{r[2]:.2f})" + (" #" if other_work(cell, peer) else "")


def milliseconds(cell, side="tessera"):
    ms = statistics.median(cell["sides"][side]["ms"])
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def speed(cell):
    return f"{1e3 * cell['batch'] / statistics.median(cell['sides']['tessera']['ms']):.0f}"


def title(cell):
    model = table.MODELS.get(cell["model"])
    return (model.title if model else cell["model"]) + (" *" if cell["others_busy"] > BUSY else "")


def one_line(cell):
    if cell["mode"] == "memory":
        return ", ".join(f"{name} {side['peak_rss_mb']:.0f} MB" for name, side in cell["sides"].items())
    peers = [f"{name} {ratio(cell, name)}" for name in cell["sides"] if name != "tessera"]
    return ", ".join([f"tessera {milliseconds(cell)} ms", *peers, *(f"{name}: {why}" for name, why in cell["failed"].items())])


def rows(header, lines):
    """A Markdown table; its first column is text, the others are right-aligned."""
    bar = "|" + "|".join(["---"] + ["---:"] * (len(header) - 1)) + "|"
    return ["| " + " | ".join(header) + " |", bar, *("| " + " | ".join(line) + " |" for line in lines), ""]


def speed_table(chosen, peers, first="model", what=title, batch=True):
    """Milliseconds of tessera and ratios of those peers that any row has."""
    peers = [p for p in peers if any(p in c["sides"] for c in chosen)]
    header = [first] + ["batch"] * batch + ["ms", "a second"] + peers
    return rows(header, [[what(c)] + [str(c["batch"])] * batch + [milliseconds(c), speed(c)] + [ratio(c, p) for p in peers] for c in chosen])


def named_cell(cell):
    text = f"{MODES[cell['mode']]}, {title(cell)}" + (" tokens" if cell["mode"] == "tokens" else "")
    return f"{text}, {cell['precision']}, batch {cell['batch']}, {threads(cell['threads'])}"


def threads(n):
    return f"{n} thread" + ("s" if n > 1 else "")


def slower(cells):
    lines = []
    for c in cells:
        for peer in c["sides"]:
            r = ratios(c, peer) if peer != "tessera" and c["mode"] not in ("matmul", "memory") else None
            if r and r[1] < 1:
                lines.append((r[0], [named_cell(c), peer, milliseconds(c), milliseconds(c, peer), ratio(c, peer)]))
    text = ["### Where tessera is slower", ""]
    if not lines:
        return text + ["In no round of anything measured here.", ""]
    text += ["All rows of which a peer won at least one round, the worst first. A median above 1: tessera won most of them.", ""]
    return text + rows(["what", "peer", "tessera, ms", "peer, ms", "ratio"], [line for _, line in sorted(lines, key=lambda l: l[0])])


def in_short(cells):
    """Tessera beside the fastest peer of each row that computes the same."""
    lines = []
    for n in counts(cells):
        for mode in ("train", "infer", "encoding", "tokens"):
            for precision in ("f32", "bf16"):
                best = [min(found) for c in pick(cells, mode=mode, precision=precision, threads=n)
                        if (found := [ratios(c, p)[0] for p in c["sides"] if p != "tessera" and not other_work(c, p)])]
                if best:
                    figures = [f"{x:.2f}" for x in (min(best), statistics.median(best), max(best))]
                    lines.append([MODES[mode], precision, str(n), str(len(best)), *figures])
    if not lines:
        return []
    return ["### In short", "", "How many times as long the fastest peer of each row takes:", ""] + rows(
        ["what", "precision", "threads", "rows", "least", "median", "most"], lines)


def pick(cells, **wanted):
    found = [c for c in cells if all(c[k] == v for k, v in wanted.items())]
    order = list(table.MODELS)
    return sorted(found, key=lambda c: (order.index(c["model"]) if c["model"] in order else len(order), c["batch"]))


def counts(cells):
    return sorted({c["threads"] for c in cells}, reverse=True)


def training(cells):
    text = []
    for n in counts(cells):
        for precision in ("f32", "bf16"):
            chosen = pick(cells, mode="train", precision=precision, threads=n)
            if chosen:
                text += [f"#### Training step, {precision}, {threads(n)}", ""] + speed_table(chosen, (TORCH, COMPILE, JAX))
    if not text:
        return []
    return ["### Training", "", "Forward, backward, clipping of the gradient and AdamW. \"By shard\" is tessera's default, where BatchNorm",
            "takes the statistics of 8 images: other arithmetic than PyTorch's, which the row above it repeats.", ""] + text


def inference(cells):
    text = []
    for n in counts(cells):
        for precision in ("f32", "bf16"):
            for batch in (1, 64):
                chosen = pick(cells, mode="infer", precision=precision, threads=n, batch=batch)
                if chosen:
                    text += [f"#### Batch {batch}, {precision}, {threads(n)}", ""] + speed_table(chosen, (TORCH, COMPILE, ONNX, OPENVINO), batch=False)
            chosen = [c for c in pick(cells, mode="infer", precision=precision, threads=n) if JAX in c["sides"]]
            if chosen:
                text += [f"JAX, {precision}, {threads(n)}:", ""] + speed_table(chosen, (JAX,))
    if not text:
        return []
    return ["### Inference", "", "Forward passes in evaluation mode. torch.compile freezes the weights; ONNX Runtime and OpenVINO run what PyTorch",
            "exports, OpenVINO with its latency hint and in the precision that is named.", ""] + text


def encodings(cells):
    text = []
    for n in counts(cells):
        chosen = pick(cells, mode="encoding", threads=n)
        if chosen:
            text += [f"#### Encodings, f32, {threads(n)}", ""] + speed_table(chosen, (TORCH, COMPILE), "encoding", batch=False)
    if not text:
        return []
    return ["### Position encodings", "", "A training step of the 0.8M ViT, batch 128, beside the same encodings as people write them in PyTorch",
            "([torch_encodings.py](../tests/bench/peers/torch_encodings.py)).", ""] + text


def tokens(cells):
    text = []
    for n in counts(cells):
        chosen = pick(cells, mode="tokens", threads=n)
        if chosen:
            text += [f"#### By the number of tokens, f32, {threads(n)}", ""] + speed_table(chosen, (TORCH, COMPILE), "tokens", batch=False)
    if not text:
        return []
    return ["### Long sequences", "", "Forward, backward and AdamW of one block of width 192 with 3 heads, 8 images; PyTorch's attention is",
            "`scaled_dot_product_attention`.", ""] + text


def memory(cells):
    lines = []
    for c in pick(cells, mode="memory"):
        peers = [f"{c['sides'][p]['peak_rss_mb']:.0f}" if p in c["sides"] else "-" for p in (TORCH, COMPILE)]
        lines.append([title(c), c["precision"], str(c["batch"]), str(c["threads"]), f"{c['sides']['tessera']['peak_rss_mb']:.0f}", *peers])
    if not lines:
        return []
    return ["### Memory", "", "The largest resident memory of a fresh process after some training steps, in MB, the program and its libraries",
            "included.", ""] + rows(["model", "precision", "batch", "threads", "tessera", TORCH, COMPILE], lines)


def peak(cells):
    lines = []
    for c in pick(cells, mode="train", model="vit_tiny_patch4_32"):
        top = statistics.median(c["sides"]["tessera"]["peak_gflops"])

        def share(side):
            gflops = 6e-6 * c["macs"] * c["batch"] / statistics.median(c["sides"][side]["ms"])
            return f"{gflops:.0f} ({100 * gflops / top:.0f} %)"

        best = min((p for p in c["sides"] if p != "tessera"), key=lambda p: statistics.median(c["sides"][p]["ms"]), default=None)
        product = pick(cells, mode="matmul", precision=c["precision"], threads=c["threads"])
        matmul = "-"
        if product and TORCH in product[0]["sides"]:
            n, ms = int(product[0]["model"]), statistics.median(product[0]["sides"][TORCH]["ms"])
            matmul = f"{2e-6 * n**3 / ms:.0f} ({2e-4 * n**3 / ms / statistics.median(product[0]['sides']['tessera']['peak_gflops']):.0f} %)"
        lines.append([c["precision"], str(c["threads"]), f"{top:.0f}", share("tessera"), f"{best}: {share(best)}" if best else "-", matmul])
    if not lines:
        return []
    macs = next(c["macs"] for c in cells if c["mode"] == "train" and c["model"] == "vit_tiny_patch4_32")
    return ["### Share of the peak", "",
            f"ViT-Ti/4's training step in GFLOP/s: 3 times the {macs / 1e6:.1f} M multiply-accumulates of `tessera inspect` an image,",
            "2 operations each, and their share of the peak of multiply-adds in registers that is measured in the same turns;",
            "and PyTorch's own product of two 2048 x 2048 matrices.", ""] + rows(
                ["precision", "threads", "peak", "tessera", "the fastest peer", "PyTorch, matmul"], lines)


def same_work(cells):
    text = ["### Is it the same work?", "",
            "Both sides start from the weights of `tessera init --seed 1`, see the same batch and have as many parameters.",
            "Training: the largest relative difference of the losses of the first three steps. Inference: that of the logits,",
            f"as vectors. `#` marks a row where it is more than {LIMIT['f32']:g} in f32 or {LIMIT['bf16']:g} in bf16.", ""]
    lines, marked = [], []
    for kind, modes in (("losses of training", ("train", "encoding", "tokens")), ("logits of inference", ("infer",))):
        for precision in ("f32", "bf16"):
            found = [(s["difference"], c, p) for c in cells if c["mode"] in modes and c["precision"] == precision
                     for p, s in c["sides"].items() if "difference" in s]
            clean = [f for f in found if not other_work(f[1], f[2])]
            marked += [[named_cell(c), p, f"{d:.1e}"] for d, c, p in found if other_work(c, p)]
            if clean:
                worst = max(clean, key=lambda f: f[0])
                lines.append([f"{kind}, {precision}", str(len(clean)), f"{worst[0]:.1e}", f"{title(worst[1])}, {worst[2]}"])
    text += rows(["", "pairs", "largest difference", "where"], lines) if lines else []
    return text + (["Marked:", ""] + rows(["what", "peer", "difference"], marked) if marked else [])


def missing(cells):
    why = {}
    for c in cells:
        for peer, reason in c["failed"].items():
            why.setdefault((peer, reason.replace("|", "\\|")), []).append(named_cell(c))
    if not why:
        return []
    text = ["### What was not measured", ""]
    for (peer, reason), where in sorted(why.items()):
        text.append(f"- {peer}: {reason}" + (f" ({where[0]})" if len(where) == 1 else f" ({len(where)} rows, the first: {where[0]})"))
    return text + ["- JAX: models other than the two ViTs are not written.", ""]


def one_machine(name, cells):
    versions = sorted({s["version"] for c in cells for s in c["sides"].values() if "version" in s})
    dates, commits = sorted({c["date"] for c in cells}), sorted({c["commit"] for c in cells})
    programs = sorted({c["tessera"] for c in cells})
    rounds = sorted({len(s["ms"]) for c in cells if c["mode"] != "memory" for s in c["sides"].values()})
    text = [f"## {name}", "",
            f"Measured {dates[0]}{' to ' + dates[-1] if len(dates) > 1 else ''}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}; "
            f"{'-'.join(map(str, sorted({rounds[0], rounds[-1]})))} round{'s' * (rounds[-1] > 1)} each.", ""] if rounds else [f"## {name}", ""]
    text += [f"- {p}" for p in programs] + ["- " + ", ".join(versions)] * bool(versions) + [""]
    if any(c["others_busy"] > BUSY for c in cells):
        text += [f"`*`: other programs had more than {BUSY:g} processors while this row was measured; do not rely on it.", ""]
    for part in (slower, in_short, training, inference, encodings, tokens, memory, peak, same_work, missing):
        text += part(cells)
    return text


def render(cells, json_path):
    text = ["# Performance", "",
            "One command measures tessera beside its peers, in turn, in the same minutes, and writes this page: no figure",
            "on it is typed by hand.", "",
            "    python3 tests/bench/performance.py --tessera build/release/tessera --threads 1,2", "",
            f"All numbers, round by round: [{json_path.split('/')[-1]}]({json_path}). `--help` says what to install and how to",
            "measure in parts.", "",
            "- **ms**: milliseconds of a step of tessera, the median of a turn, the median of the rounds. **a second**:",
            "  samples a second.",
            "- **Columns of peers**: how many times as long the peer takes, the median of the rounds, in brackets the least",
            "  and the most of them. 2.00 says that tessera is twice as fast, anything below 1 that it is slower.",
            "- One process a program starts, compiles and warms up; then, round by round, one after the other takes steps for",
            "  some seconds while the others are stopped. All run on the same processors, as many as there are threads.",
            "- PyTorch has its fused AdamW, channels_last for convolutional networks and autocast for bf16; all peers have an",
            "  allocator that keeps its memory. tessera runs as its defaults are, but for BatchNorm over the batch.", ""]
    if not cells:
        return "\n".join(text + ["Nothing is measured yet.", ""])
    for name in sorted({c["machine"] for c in cells}):
        text += one_machine(name, [c for c in cells if c["machine"] == name])
    return "\n".join(text)
