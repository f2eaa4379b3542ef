#!/usr/bin/env python3
"""Measures tessera beside PyTorch, JAX, ONNX Runtime and OpenVINO, in turn, and writes docs/performance.md.

    python3 tests/bench/performance.py [--tessera build/release/tessera] [--only REGEX] [--threads 1,2] [--rounds 3] [--seconds 2]
    python3 tests/bench/performance.py --render-only

Every cell (mode/model/precision/batch/threads; --list names them) runs one process a program. They start, compile and warm up; then, for each round,
one after the other takes steps for --seconds while all others are stopped. What is done joins the JSON file at once, so that the measurement can be
interrupted and taken in parts; a cell that is there is not measured again, unless --again says so. Needs a quiet machine: the page marks
what was measured beside other work. --render-only writes the page from the JSON file and needs Python alone. Linux.

The peers, any of which may be missing (the page then says so):
    pip install torch torchvision torchaudio timm safetensors numpy onnx onnxscript onnxruntime openvino jax
"""
import argparse
import datetime
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PEERS = os.path.join(HERE, "peers")
sys.path.insert(0, PEERS)
import cells as table
import page
from turns import Failed, Side, others_busy

NEEDS = {table.TORCH: "torch", table.COMPILE: "torch", table.ONNX: "onnxruntime", table.OPENVINO: "openvino", table.JAX: "jax"}
# Memory that PyTorch gives back costs it page faults in the next step; glibc is told to keep it, for all peers
KEEP = {"MALLOC_TOP_PAD_": str(64 << 20), "MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(4 << 30)}


def machine():
    facts = {}
    with open("/proc/cpuinfo") as f:
        for line in f:
            name, _, value = line.partition(":")
            facts.setdefault(name.strip(), value.strip())
    return f"{facts.get('model name', platform.machine())}, family {facts.get('cpu family', '?')}, model {facts.get('model', '?')}, {os.cpu_count()} CPUs"


def said(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit():
    try:
        changed = said(["git", "-C", ROOT, "status", "--porcelain", "--", "core", "nn", "models", "train"])
        return said(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]) + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class Program:
    """tessera, and the files that peers read: weights, the batch, its logits."""

    def __init__(self, path, work):
        self.path, self.work = os.path.abspath(path), work
        self.version = said([self.path, "--version"])

    def words(self, model):
        position = ["--position", model.position] if model.position else []
        return ["--model", model.name, *position, *model.options]

    def file(self, cell, what):
        return os.path.join(self.work, re.sub(r"[^\w.+-]", "_", what.format(**cell)))

    def weights(self, cell, model):
        path = self.file(cell, "{model}.safetensors")
        if not os.path.exists(path):
            said([self.path, "init", *self.words(model), "--seed", "1", "--output", path])
        return path

    def bench(self, cell, model):
        kind = "infer" if cell["mode"] == "infer" else "train"
        length = ["--length", str(model.length)] if model.length else []
        options = model.train_options if kind == "train" else ()
        return [self.path, "bench", kind, *self.words(model), *options, *length, "--batch-size", str(cell["batch"]), "--precision", cell["precision"],
                "--threads", str(cell["threads"]), "--turns", "--warmup", "3"]

    def macs(self, model):
        return json.loads(said([self.path, "inspect", *self.words(model), "--json"]))["macs"]

    def logits(self, cell, model):
        import noise
        from safetensors.numpy import load_file, save_file
        x, y = self.file(cell, "input.safetensors"), self.file(cell, "output.safetensors")
        save_file({"input": noise.batch(cell["batch"], model.sample)}, x)
        said([self.path, "forward", *self.words(model), "--weights", self.weights(cell, model), "--input", x, "--output", y, "--precision",
              cell["precision"], "--threads", str(cell["threads"])])
        return load_file(y)["logits"]


def peer_command(name, spec):
    if name == table.JAX:
        return [sys.executable, os.path.join(PEERS, "jax_side.py"), json.dumps(spec)]
    if name in (table.ONNX, table.OPENVINO):
        return [sys.executable, os.path.join(PEERS, "onnx_sides.py"), NEEDS[name], json.dumps(spec)]
    return [sys.executable, os.path.join(PEERS, "torch_side.py"), json.dumps(spec)]


def peer_environment(cell):
    threads = str(cell["threads"])
    env = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "JAX_PLATFORMS": "cpu", "OPENVINO_TELEMETRY": "0"}
    return env if cell["mode"] == "memory" else {**env, **KEEP}


def start(cell, model, program, sides):
    """Adds all sides that run, warmed up, to `sides`. Returns their first answers; and why others do not run."""
    first, failed = {}, {}
    spec = {k: cell[k] for k in table.KEY}
    if model:
        spec |= {"shape": [cell["batch"], *model.sample], "classes": model.classes, "channels_last": model.channels_last,
                 "weights": program.weights(cell, model), "onnx": program.file(cell, "{model}.{batch}.onnx")}
    plan = [("tessera", program.bench(cell, model or table.MODELS["vit_cifar_small"]), None)]
    for name in cell["peers"]:
        if importlib.util.find_spec(NEEDS[name]) is None:
            failed[name] = "not installed"
            continue
        spec |= {"compile": name == table.COMPILE, "logits": program.file(cell, f"{name}.npy")}
        plan.append((name, peer_command(name, spec), peer_environment(cell)))
    for name, command, env in plan:
        side = Side(name, command, cell["threads"], program.file(cell, f"{name}.log"), env)
        sides.append(side)
        try:
            first[name] = side.turn(0)
        except Failed as e:
            sides.pop().end()
            failed[name] = str(e)
    return first, failed


def measure(cell, program, rounds, seconds):
    model = None if cell["mode"] == "matmul" else table.MODELS[cell["model"]]
    sides = []
    try:
        first, failed = start(cell, model, program, sides)
        if "tessera" in failed:
            raise Failed(f"tessera: {failed['tessera']}")
        answers, busy = {s.name: [] for s in sides}, []
        for r in range(0 if cell["mode"] == "memory" else rounds):
            busy.append(others_busy())
            for side in sides[r % len(sides):] + sides[:r % len(sides)]:
                answers[side.name].append(side.turn(seconds))
        return result(cell, model, program, answers, first, failed, busy)
    finally:
        for side in sides:
            side.end()


def result(cell, model, program, answers, first, failed, busy):
    found = {k: cell[k] for k in table.KEY}
    found |= {"machine": machine(), "date": datetime.date.today().isoformat(), "commit": commit(), "tessera": program.version, "failed": failed,
              "others_busy": round(max(busy, default=0.0), 2), "sides": {}}
    ours = None
    if model:
        found |= {} if model.length else {"macs": program.macs(model)}  # inspect has a length of its own
        ours = program.logits(cell, model) if cell["mode"] == "infer" else None
    for name, turns in answers.items():
        about = first[name]
        side = {"ms": [round(t["ms_per_step"]["median"], 4) for t in turns], "cpu_ms": [round(t["cpu_ms_per_step"], 4) for t in turns],
                "steps": [t["steps"] for t in turns], "peak_rss_mb": round(max(t["peak_rss_mb"] for t in turns or [about]), 1)}
        side |= {k: about[k] for k in ("version", "params", "losses") if k in about}
        if name == "tessera" and turns:
            side["peak_gflops"] = [round(t["peak_gflops_measured"], 2) for t in turns]
        if name != "tessera" and ours is not None:
            import numpy as np
            theirs = np.load(program.file(cell, f"{name}.npy"))
            side["difference"] = float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))
        found["sides"][name] = side
    for name, side in found["sides"].items():
        mine = found["sides"]["tessera"]
        if name != "tessera" and "losses" in side and "losses" in mine:
            side["difference"] = max(abs(a - b) / abs(b) for a, b in zip(side["losses"], mine["losses"]))
    return found


def read(path):
    if not os.path.exists(path):
        return []
    with open(path) as f:
        return json.load(f)["cells"]


def write(path, text):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".new", "w") as f:
        f.write(text)
    os.replace(path + ".new", path)


def save(path, done):
    """One cell a line."""
    done.sort(key=lambda c: (c["machine"], table.key(c)))
    write(path, '{"cells": [\n' + ",\n".join(json.dumps(c) for c in done) + "\n]}\n")


def measure_all(wanted, done, a):
    """Measures what is not done yet; the file is written after each cell. Returns all that is done, and how many cells failed."""
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        program = Program(a.tessera, a.work or folder)
        os.makedirs(program.work, exist_ok=True)
        for i, cell in enumerate(wanted):
            same = [c for c in done if table.key(c) == table.key(cell) and c["machine"] == machine()]
            if same and not a.again:
                continue
            try:
                new = measure(cell, program, a.rounds, a.seconds)
            except (Failed, subprocess.CalledProcessError) as e:
                why = (getattr(e, "stderr", "") or str(e)).strip()
                print(f"{i + 1}/{len(wanted)} {table.key(cell)}: {why}", file=sys.stderr, flush=True)
                failures += 1
                continue
            done = [c for c in done if c not in same] + [new]
            save(a.json, done)
            print(f"{i + 1}/{len(wanted)} {table.key(cell)}: {page.one_line(new)}", flush=True)
    return done, failures


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tessera", default=os.path.join(ROOT, "build/release/tessera"))
    p.add_argument("--out", default=os.path.join(ROOT, "docs/performance.md"))
    p.add_argument("--json", default=os.path.join(ROOT, "docs/results/performance.json"))
    p.add_argument("--only", default="", metavar="REGEX", help="cells whose name has it: train/, infer/.*bf16, vit_tiny, encoding/, tokens/, memory/, matmul/")
    p.add_argument("--threads", default="2", metavar="N[,N]")
    p.add_argument("--peers", default="", metavar="REGEX", help="these peers only, while trying things out: such a cell counts as measured")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=2.0, help="of steps, for each program and round")
    p.add_argument("--work", metavar="DIR", help="keep weights, exported models and messages of the programs here")
    p.add_argument("--again", action="store_true", help="measure cells, too, that the JSON file holds")
    p.add_argument("--list", action="store_true", help="name the cells and stop")
    p.add_argument("--render-only", action="store_true")
    a = p.parse_args()
    wanted = [c for c in table.cells([int(n) for n in a.threads.split(",")]) if re.search(a.only, table.key(c))]
    for cell in wanted:
        cell["peers"] = [name for name in cell["peers"] if re.search(a.peers, name)]
    if a.list:
        print("\n".join(table.key(c) for c in wanted))
        return 0
    done, failures = read(a.json), 0
    if not a.render_only:
        done, failures = measure_all(wanted, done, a)
    write(a.out, page.render(done, os.path.relpath(a.json, os.path.dirname(os.path.abspath(a.out)))))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
