"""docs/performance.md, from the cells that performance.py measured. Every figure on the page is computed here."""
import math
import statistics

import cells as table
from cells import COMPILE, JAX, ONNX, OPENVINO, TORCH

# Largest differences of what both sides compute, by what is compared. A table that is not read, or read elsewhere, makes its gradient differ by about 1, a
# wrong factor by half. What differs without that: where inputs of ReLU, or what max-pooling chooses from, differ by a share p, some change sides, and gradients
# differ by about its root. In bf16 PyTorch rounds the sums that are the gradients of LayerNorm's tables: half of one was lost (Swin, Conformer) where
# tessera's was 0.01 or less from f32's, so that of single parameters only those in f32 tell anything. Where rounding itself is that loud (a ResNet, whose
# ReLUs change sides), both gradients are about as far from f32's, in directions that have nothing to do with each other: see too_far.
STEP = ("losses", "logits", "gradient", "worst gradient")
LIMIT = {"losses": {"f32": 1e-3, "bf16": 3e-2}, "logits": {"f32": 1e-4, "bf16": 3e-2}, "gradient": {"f32": 1e-2, "bf16": 0.25},
         "worst gradient": {"f32": 2e-2, "bf16": math.inf}}
COMPARED = {"train": STEP, "encoding": STEP, "tokens": STEP, "infer": ("logits",), "memory": ("losses",), "matmul": ()}
NOISE = 1.25  # how much further than by their own rounding two gradients may be apart, and a peer's from f32's than tessera's
BUSY = 0.15  # processors' worth of other work, from which on a cell is marked
MODES = {"train": "training step", "infer": "inference", "encoding": "encoding", "tokens": "tokens", "memory": "memory", "matmul": "product"}


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


def too_far(what, precision, differences):
    """Not a number is as far as can be."""
    if differences[what] <= LIMIT[what][precision]:
        return False
    mine, theirs = differences.get("rounding", (0, 0)) if what == "gradient" and precision != "f32" else (0, 0)
    return not (differences[what] <= NOISE * math.hypot(mine, theirs) and theirs <= NOISE * mine)


def mark(cell, peer):
    """"#": it is known that the peer computes something else; "?": it is not proved that it computes the same; "": it is."""
    model, differences = table.MODELS.get(cell["model"]), cell["sides"][peer].get("difference", {})
    compared = [what for what in COMPARED[cell["mode"]] if differences.get(what) is not None]
    if (model and model.other_work) or params_differ(cell, peer) or any(too_far(w, cell["precision"], differences) for w in compared):
        return "#"
    return "" if len(compared) == len(COMPARED[cell["mode"]]) else "?"


def marked(text, cell, peer):
    return f"{text} {mark(cell, peer)}".rstrip()


def ratio(cell, peer):
    r = ratios(cell, peer)
    return "-" if r is None else marked(f"{r[0]:.2f} ({r[1]:.2f}-{r[2]:.2f})", cell, peer)


def milliseconds(cell, side="tessera"):
    ms = statistics.median(cell["sides"][side]["ms"])
    return f"{ms:.0f}" if ms >= 100 else f"{ms:.1f}" if ms >= 10 else f"{ms:.2f}"


def speed(cell):
    a_second = 1e3 * cell["batch"] / statistics.median(cell["sides"]["tessera"]["ms"])
    return f"{a_second:.0f}" if a_second >= 100 else f"{a_second:.1f}"


def title(cell):
    model = table.MODELS.get(cell["model"])
    return (model.title if model else cell["model"]) + (" *" if cell["others_busy"] > BUSY else "")


def peak_of(cell):
    """GFLOP/s of multiply-adds in registers, of all threads, as measured in the same turns."""
    return statistics.median(cell["sides"]["tessera"]["peak_gflops"])


def share(cell, side="tessera"):
    """Percent of the peak that a side's multiply-accumulates make up, or None. A training step has three times those of a forward pass."""
    if "macs" not in cell or not cell["sides"][side]["ms"]:
        return None
    operations = 2 * (1 if cell["mode"] == "infer" else 3) * cell["macs"] * cell["batch"]
    return 100 * 1e-6 * operations / statistics.median(cell["sides"][side]["ms"]) / peak_of(cell)


def percent(x):
    return "-" if x is None else f"{x:.0f}"


def fastest(cell):
    """The fastest peer, round by round, of those that are proved to compute the same, or None."""
    return min((p for p in cell["sides"] if p != "tessera" and ratios(cell, p) and not mark(cell, p)), key=lambda p: ratios(cell, p)[0], default=None)


def one_line(cell):
    if cell["mode"] == "memory":
        return ", ".join(f"{name} {side['peak_rss_mb']:.0f} MB" for name, side in cell["sides"].items())
    if cell["mode"] == "matmul":  # tessera's side is there for the peak only
        return ", ".join([f"peak {peak_of(cell):.0f} GFLOP/s", *(f"{p} {milliseconds(cell, p)} ms" for p in cell["sides"] if p != "tessera"),
                          *(f"{name}: {why}" for name, why in cell["failed"].items())])
    peers = [f"{name} {ratio(cell, name)}" for name in cell["sides"] if name != "tessera"]
    return ", ".join([f"tessera {milliseconds(cell)} ms", *peers, *(f"{name}: {why}" for name, why in cell["failed"].items())])


def rows(header, lines):
    """A Markdown table; its first column is text, the others are right-aligned."""
    bar = "|" + "|".join(["---"] + ["---:"] * (len(header) - 1)) + "|"
    return ["| " + " | ".join(header) + " |", bar, *("| " + " | ".join(line) + " |" for line in lines), ""]


def speed_table(chosen, peers, first="model", what=title, batch=True):
    """Milliseconds of tessera and ratios of those peers that any row has."""
    peers = [p for p in peers if any(p in c["sides"] for c in chosen)]
    header = [first] + ["batch"] * batch + ["ms", "a second"] + peers + ["% of peak", "best peer's"]
    return rows(header, [[what(c)] + [str(c["batch"])] * batch + [milliseconds(c), speed(c)] + [ratio(c, p) for p in peers] +
                         [percent(share(c)), percent(best_share(c))] for c in chosen])


def best_share(cell):
    peer = fastest(cell)
    return share(cell, peer) if peer else None


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
    """Tessera beside the fastest peer of each row, of those that are proved to compute the same."""
    lines = []
    for n in counts(cells):
        for mode in ("train", "infer", "encoding", "tokens"):
            for precision in ("f32", "bf16"):
                best = [min(found) for c in pick(cells, mode=mode, precision=precision, threads=n)
                        if (found := [ratios(c, p)[0] for p in c["sides"] if p != "tessera" and not mark(c, p)])]
                if best:
                    figures = [f"{x:.2f}" for x in (min(best), statistics.median(best), max(best))]
                    lines.append([MODES[mode], precision, str(n), str(len(best)), *figures])
    if not lines:
        return []
    return ["### In short", "", "How many times as long the fastest peer of each row takes, of those without a mark:", ""] + rows(
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
        peers = [marked(f"{c['sides'][p]['peak_rss_mb']:.0f}", c, p) if p in c["sides"] else "-" for p in (TORCH, COMPILE)]
        lines.append([title(c), c["precision"], str(c["batch"]), str(c["threads"]), f"{c['sides']['tessera']['peak_rss_mb']:.0f}", *peers])
    if not lines:
        return []
    return ["### Memory", "", "The largest resident memory of a fresh process after some training steps, in MB, the program and its libraries",
            "included.", ""] + rows(["model", "precision", "batch", "threads", "tessera", TORCH, COMPILE], lines)


def peak(cells):
    lines = []
    for c in pick(cells, mode="train", model="vit_tiny_patch4_32"):
        top, best = peak_of(c), fastest(c)

        def gflops(side):
            return f"{share(c, side) * top / 100:.0f} ({share(c, side):.0f} %)"

        product = pick(cells, mode="matmul", precision=c["precision"], threads=c["threads"])
        matmul = "-"
        if product and TORCH in product[0]["sides"]:
            n, ms = int(product[0]["model"]), statistics.median(product[0]["sides"][TORCH]["ms"])
            matmul = f"{2e-6 * n**3 / ms:.0f} ({2e-4 * n**3 / ms / peak_of(product[0]):.0f} %)"
        lines.append([c["precision"], str(c["threads"]), f"{top:.0f}", gflops("tessera"), f"{best}: {gflops(best)}" if best else "-", matmul])
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
            "Both sides have as many parameters and see the same batch. Training starts from the weights of `tessera init --seed 1`",
            "on both, and the losses of its first three steps are compared. The start hides much, since tables of positions are 0",
            "or nearly: so the logits of weights that are moved by noise are compared, too, as vectors, and in training the",
            "gradient of their weighted sum: as a whole, and by each parameter, relative to its length or a thousandth of the",
            "longest. All of it is computed in the precision of the row, by the programs that are measured (in JAX the gradients",
            "by the same network, compiled without its optimiser). Single gradients have no limit in bf16, where PyTorch rounds",
            "the sums that are the gradients of LayerNorm's tables; and a whole gradient in bf16 may be further off than the limit where",
            f"rounding alone is as loud: where the two are at most {NOISE:g} times as far apart as their distances to tessera's in f32 explain, and",
            "the peer's is not the further one by more than that. `#` marks peers that compute something else, or too different a",
            "number; `?` those of which it is not proved that they compute the same.", ""]
    lines, others = [], []
    for what in STEP:
        for precision in ("f32", "bf16"):
            found = [(s["difference"][what], c, p) for c in cells if what in COMPARED[c["mode"]] and c["precision"] == precision
                     for p, s in c["sides"].items() if s.get("difference", {}).get(what) is not None]
            clean = [f for f in found if not mark(f[1], f[2])]
            others += [[named_cell(c), p, place(what, c, p), f"{d:.1e}"] for d, c, p in found if too_far(what, precision, c["sides"][p]["difference"])]
            if clean:
                worst = max(clean, key=lambda f: f[0])
                where = f"{named_cell(worst[1])}, {worst[2]}"
                limit = f"{LIMIT[what][precision]:g}" if LIMIT[what][precision] < math.inf else "-"
                lines.append([place(what, *worst[1:]), precision, str(len(clean)), limit, f"{worst[0]:.1e}", where])
    text += rows(["of", "precision", "pairs", "limit", "largest difference", "where"], lines) if lines else []
    others += [[named_cell(c), p, "parameters", f"{s['params']}, tessera {c['sides']['tessera']['params']}"]
               for c in cells for p, s in c["sides"].items() if params_differ(c, p)]
    loud = [(s["difference"]["gradient"], [named_cell(c), p, f"{s['difference']['gradient']:.2f}", *(f"{x:.2f}" for x in s["difference"]["rounding"])])
            for c in cells for p, s in c["sides"].items() if "rounding" in s.get("difference", {}) and not mark(c, p)
            and s["difference"]["gradient"] > LIMIT["gradient"]["bf16"]]
    if loud:
        text += ["Beyond the limit by rounding: how far the two gradients are apart, and each from f32's.", ""] + rows(
            ["what", "peer", "apart", "tessera", "peer"], [line for _, line in sorted(loud, key=lambda l: -l[0])])
    text += (["Marked `#`:", ""] + rows(["what", "peer", "of", "difference"], others) if others else [])
    unproved = {}
    for c in cells:
        for p in c["sides"]:
            if p != "tessera" and mark(c, p) == "?":
                unproved.setdefault(c.get("unproved") or "nothing was compared", []).append(f"{named_cell(c)}, {p}")
    return text + [f"- `?` {one_or_many(why, where)}" for why, where in sorted(unproved.items())] + [""] * bool(unproved)


def place(what, cell, peer):
    """What differs, and of single gradients whose."""
    return f"{what}, {cell['sides'][peer]['difference']['name']}" if what == "worst gradient" else what


def one_or_many(why, where):
    text = why.replace("|", "\\|")
    return f"{text} ({where[0]})" if len(where) == 1 else f"{text} ({len(where)} rows, the first: {where[0]})"


def missing(cells):
    why = {}
    for c in cells:
        for peer, reason in c["failed"].items():
            why.setdefault((peer, reason), []).append(named_cell(c))
    if not why:
        return []
    text = ["### What was not measured", ""]
    for (peer, reason), where in sorted(why.items()):
        text.append(f"- {peer}: {one_or_many(reason, where)}")
    return text + ["- JAX: models other than the two ViTs are not written.", ""]


def one_machine(name, cells):
    versions = sorted({s["version"] for c in cells for s in c["sides"].values() if "version" in s})
    dates, commits = sorted({c["date"] for c in cells}), sorted({c["commit"] for c in cells})
    programs = sorted({c["tessera"] for c in cells})
    turns = sorted({(c["rounds"], c["seconds"]) for c in cells})
    said = " and ".join(f"{n} round{'s' * (n > 1)} of {seconds:g} s" for n, seconds in turns)
    text = [f"## {name}", "",
            f"Measured {dates[0]}{' to ' + dates[-1] if len(dates) > 1 else ''}, commit{'s' * (len(commits) > 1)} {', '.join(commits)}; {said}.", ""]
    text += [f"- {p}" for p in programs] + ["- " + ", ".join(versions)] * bool(versions) + [""]
    if any(c["others_busy"] > BUSY for c in cells):
        text += [f"`*`: other programs had more than {BUSY:g} processors in a turn of this row; do not rely on it.", ""]
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
            "- **% of peak**: multiply-accumulates (of `tessera inspect`, three times in a training step) in percent of the peak of",
            "  multiply-adds in registers, measured in the same turns; **best peer's**: the same of the fastest peer without a mark.",
            "  More than 100 is Winograd's doing, whose tiles multiply less than the definition. Without them nobody has more:",
            "  where the best peer has 60, a ratio of 1.67 is the most that can be.",
            "- One process a program starts, compiles and warms up; then, round by round, one after the other takes steps for",
            "  some seconds, three steps at least, while the others are stopped. All run on the same processors, as many as",
            "  there are threads. What else the machine does during a turn is measured, too.",
            "- PyTorch has its fused AdamW, channels_last for convolutional networks and autocast for bf16. For inference in bf16",
            "  all programs round weights once, not in every step. All peers have an allocator that keeps its memory. tessera",
            "  runs as its defaults are, but for BatchNorm over the batch.",
            "- Times do not depend on what the weights are: in inference those of the peers are moved by noise (below),",
            "  tessera's are those of `tessera init`.", ""]
    if not cells:
        return "\n".join(text + ["Nothing is measured yet.", ""])
    for name in sorted({c["machine"] for c in cells}):
        text += one_machine(name, [c for c in cells if c["machine"] == name])
    return "\n".join(text)
