#!/usr/bin/env python3
"""What each position encoding costs in a training step: milliseconds relative to `none`, in turn with it.

    python3 tests/bench/position_cost.py [--tessera build/release/tessera] [--rounds 3] [--steps 8] [--precision bf16] [--csv FILE] [NAME ...]

Runs `tessera bench train --model vit_cifar_small --position NAME --batch-size 128 --json` (0.8M parameters, 65 tokens, 4 heads of 32, fp32 unless said)
and the same with `none` alternately; a ratio is that of the medians of two neighbouring runs, and the table shows the median, least and
largest ratio of the rounds, and the median ratio of processor time, which holds on a busy machine, too. The limit is 1 + 0.15 per bias or one-row term + 0.3 per query term + 0.4 per key or value term; encodings
that add no such term have none stated. With --csv rows are appended, so that the table can be taken in parts. --by-cpu judges by
processor time.
"""
import argparse, csv, json, os, statistics, subprocess, sys

# terms of the defaults in that model: b bias or one row, q query, k key, v value. "" = another mechanism
TERMS = {"shaw": "q", "shaw_kv": "qv", "shaw_axial": "qq", "shaw_axial_kv": "qqvv", "axial_sum": "qq", "conformer_shaw": "q",
         "transformer_xl": "qbb", "transformer_xl_axial": "qbqbb", "transformer_xl_learned": "qbb", "music_transformer": "q",
         "music_transformer_2d": "qq", "huang4": "qk", "sasa": "qq", "irpe": "q", "relative_position_bias": "b", "log_cpb": "b",
         "alibi": "b", "alibi_2d": "b", "t5": "b", "t5_axial": "bb", "kerple_log": "b", "kerple_power": "b", "fire": "b", "levit": "b",
         "lookhere": "b", "pape_ri": "q", "content_alibi": "q", "forget": "qk", "forget_profiles": "qk"}  # of pape most is its projection
COST = {"b": 0.15, "q": 0.3, "k": 0.4, "v": 0.4}
# where the default model cannot carry an encoding: the options that it and its `none` run with
OPTIONS = {"sasa": ["model.class_token=false", "model.global_pool=avg"]}


def milliseconds(tessera, name, threads, steps, warmup, options, batch, precision):
    """Median milliseconds of a training step of the 0.8M ViT under an encoding: by the clock, and of processor time."""
    command = [tessera, "bench", "train", "--model", "vit_cifar_small", "--position", name, "--batch-size", str(batch), "--threads", str(threads),
               "--steps", str(steps), "--warmup", str(warmup), "--precision", precision, "--json", *options]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(out)
    return found["ms_per_step"]["median"], found["cpu_ms_per_step"]


def cpu():
    with open("/proc/cpuinfo") as f:
        return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))


def commit():
    here = os.path.dirname(os.path.abspath(__file__))
    return subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()


def limit(name):
    return 1 + sum(COST[t] for t in TERMS[name]) if name in TERMS else None


def append(path, row):
    """Each row as soon as it is measured: what is done stays, whatever comes."""
    with open(path, "a", newline="") as f:
        w = csv.writer(f, lineterminator="\n")
        if f.tell() == 0:
            w.writerow(["encoding", "ms_per_step", "ms_none", "ratio", "ratio_least", "ratio_most", "cpu_ratio", "limit", "cpu", "commit", "load"])
        w.writerow(row)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("names", nargs="*", help="encodings, also a+b; all of `tessera positions` if none is named")
    p.add_argument("--tessera", default="build/release/tessera")
    for name, value in (("rounds", 3), ("steps", 8), ("warmup", 2), ("threads", 2), ("batch", 128)):
        p.add_argument("--" + name, type=int, default=value)
    p.add_argument("--by-cpu", action="store_true", help="judge by processor time")
    p.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    p.add_argument("--csv")
    a = p.parse_args()
    if not a.names:
        listed = json.loads(subprocess.run([a.tessera, "positions", "--json"], check=True, capture_output=True, text=True).stdout)
        a.names = [row["name"] for row in listed]
    print(f"{'encoding':26} {'ms':>8} {'none':>8} {'ratio':>7} {'least':>7} {'most':>7} {'cpu':>7} {'limit':>7}", flush=True)
    over = []
    for name in a.names:
        options = OPTIONS.get(name, [])
        none, own = [], []
        for r in range(a.rounds):
            pair = [("none", none), (name, own)]
            for what, times in pair if r % 2 == 0 else pair[::-1]:
                times.append(milliseconds(a.tessera, what, a.threads, a.steps, a.warmup, options, a.batch, a.precision))
        clock, cpu_time = ([x[i] / y[i] for x, y in zip(own, none)] for i in (0, 1))
        ratio, cpu_ratio, most = statistics.median(clock), statistics.median(cpu_time), limit(name)
        if most is not None and (cpu_ratio if a.by_cpu else ratio) > most:
            over.append(name)
        ms = [statistics.median(x[0] for x in times) for times in (own, none)]
        row = [name, f"{ms[0]:.2f}", f"{ms[1]:.2f}", f"{ratio:.3f}", f"{min(clock):.3f}", f"{max(clock):.3f}", f"{cpu_ratio:.3f}",
               "" if most is None else f"{most:.2f}"]
        print(f"{row[0]:26} {row[1]:>8} {row[2]:>8} {row[3]:>7} {row[4]:>7} {row[5]:>7} {row[6]:>7} {row[7] or '-':>7}{'  over' if name in over else ''}",
              flush=True)
        if a.csv:
            append(a.csv, [*row, cpu(), commit(), f"{os.getloadavg()[0]:.1f}"])
    print(f"{len(over)} over the limit" + (": " + ", ".join(over) if over else ""))


if __name__ == "__main__":
    main()
