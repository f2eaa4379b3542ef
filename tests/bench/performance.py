#!/usr/bin/env python3
"""Measures tessera beside PyTorch, JAX, ONNX Runtime and OpenVINO, in turn, and writes docs/performance.md.

    python3 tests/bench/performance.py [--tessera build/release/tessera] [--only REGEX] [--threads 1,2] [--rounds 3] [--seconds 2]
    python3 tests/bench/performance.py --render-only

Every cell (mode/model/precision/batch/threads; --list names them) runs one process a program. They start, compile and warm up; then, for each round,
one after the other takes steps for --seconds while all others are stopped. What is done joins the JSON file at once, so that the measurement can be
interrupted and taken in parts; a cell that is there is not measured again, unless other --rounds, --seconds or peers, or --again, ask for it. Needs a quiet
machine: the page marks what was measured beside other work. --render-only writes the page from the JSON file and needs Python alone. Linux.

Measuring needs numpy and safetensors, and a C++ compiler for torch.compile. The peers, any of which may be missing (the page then says so):
    pip install torch torchvision torchaudio timm safetensors numpy onnx onnxscript onnxruntime openvino jax
"""
import argparse
import importlib.util
import json
import os
import re
import signal
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "peers"))
import cells as table
import page
from measure import NOT_INSTALLED, installed, machine, measure
from program import ROOT, Program
from turns import Failed


def read(path):
    if not os.path.exists(path):
        return []
    try:
        with open(path) as f:
            return json.load(f)["cells"]
    except (ValueError, KeyError, TypeError):
        raise Failed(f"{path} is not what this program writes; move it away") from None


def write(path, text):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.replace(path + ".new", path)


def save(path, done):
    """One cell a line."""
    done.sort(key=lambda c: (c["machine"], table.key(c)))
    write(path, '{"cells": [\n' + ",\n".join(json.dumps(c) for c in done) + "\n]}\n")


def is_done(cell, old, a):
    """Is `old` this cell, measured as it would be now? A peer that was missing and is here now asks for another measurement."""
    if table.key(old) != table.key(cell) or old["machine"] != machine() or (old.get("rounds"), old.get("seconds")) != (a.rounds, a.seconds):
        return False
    if a.again == "all" or (a.again == "busy" and old["others_busy"] > page.BUSY):
        return False
    found = set(old["sides"]) | {name for name, why in old["failed"].items() if why != NOT_INSTALLED or not installed(name)}
    return set(cell["peers"]) <= found


def measure_all(wanted, a):
    """Measures what is not done yet; the file is written after each cell. Returns how many cells failed."""
    done, failures = read(a.json), 0
    to_do = [cell for cell in wanted if not any(is_done(cell, old, a) for old in done)]
    missing = sorted({name for cell in to_do for name in cell["peers"] if not installed(name)})
    print(f"{len(wanted)} cells, {len(wanted) - len(to_do)} of them done" + "".join(f"; {name}: {NOT_INSTALLED}" for name in missing), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        program = Program(a.tessera, a.work or folder)
        os.makedirs(program.work, exist_ok=True)
        for i, cell in enumerate(to_do):
            where = f"{i + 1}/{len(to_do)} {table.key(cell)}"
            try:
                new = measure(cell, program, a.rounds, a.seconds)
                json.dumps(new, allow_nan=False)
            except Exception as e:  # whatever it is: it costs this cell, not the hours of the others
                print(f"{where}: {e if isinstance(e, Failed) else f'{type(e).__name__}: {e}'}", file=sys.stderr, flush=True)
                failures += 1
                continue
            save(a.json, [c for c in read(a.json) if table.key(c) != table.key(new) or c["machine"] != new["machine"]] + [new])
            print(f"{where}: {page.one_line(new)}", flush=True)
    return failures


def stop(*_):
    raise KeyboardInterrupt


def thread_counts(text):
    """1,2 as numbers of threads that this process may use."""
    most = len(os.sched_getaffinity(0))
    if not re.fullmatch(r"\d+(,\d+)*", text) or not all(1 <= int(n) <= most for n in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text}: numbers from 1 to {most}, as many processors as there are here, with commas between")
    return [int(n) for n in text.split(",")]


def pattern(text):
    try:
        return re.compile(text)
    except re.error as e:
        raise argparse.ArgumentTypeError(f"{text}: {e}") from None


def options():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tessera", default=os.path.join(ROOT, "build/release/tessera"))
    p.add_argument("--out", default=os.path.join(ROOT, "docs/performance.md"))
    p.add_argument("--json", default=os.path.join(ROOT, "docs/results/performance.json"))
    p.add_argument("--only", default="", metavar="REGEX", type=pattern,
                   help="cells whose name has it: train/, infer/.*bf16, vit_tiny, encoding/, tokens/, memory/, matmul/")
    p.add_argument("--threads", default="2", metavar="N[,N]", type=thread_counts)
    p.add_argument("--peers", default="", metavar="REGEX", type=pattern, help="these peers only, while trying things out")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=2.0, help="of steps, for each program and round")
    p.add_argument("--work", metavar="DIR", help="keep weights, exported models and messages of the programs here")
    p.add_argument("--again", nargs="?", const="all", choices=("all", "busy"),
                   help="measure cells, too, that the JSON file holds: all, or those that were measured beside other work")
    p.add_argument("--list", action="store_true", help="name the cells and stop")
    p.add_argument("--render-only", action="store_true")
    a = p.parse_args()
    if a.rounds < 1 or not 0 <= a.seconds <= 3600:
        p.error("--rounds is 1 or more, --seconds 0 to 3600")
    return a


def main():
    a = options()
    wanted = [c for c in table.cells(a.threads) if a.only.search(table.key(c))]
    for cell in wanted:
        cell["peers"] = [name for name in cell["peers"] if a.peers.search(name)]
    if a.list:
        print("\n".join(table.key(c) for c in wanted))
        return 0
    code = 0
    if not a.render_only:
        needed = [name for name in ("numpy", "safetensors") if importlib.util.find_spec(name) is None and any(c["mode"] != "matmul" for c in wanted)]
        if needed or not wanted:
            raise Failed(f"measuring needs {' and '.join(needed)} (see --help)" if needed else "no cell has that name (see --list)")
        for name in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(name) != signal.SIG_IGN:  # nohup
                signal.signal(name, stop)
        try:
            code = 1 if measure_all(wanted, a) else 0
        except KeyboardInterrupt:
            print("stopped; the same command goes on", file=sys.stderr)
            code = 130
    write(a.out, page.render(read(a.json), os.path.relpath(a.json, os.path.dirname(os.path.abspath(a.out)))))
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, OSError) as e:
        print(f"performance.py: {e}", file=sys.stderr)
        sys.exit(1)
