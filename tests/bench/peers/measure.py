"""Measures a cell of performance.py: starts tessera and its peers, proves that they do the same, and lets them take turns."""
import datetime
import importlib.util
import json
import math
import os
import platform
import sys

import cells as table
from program import commit
from turns import START, Failed, Side

PEERS = os.path.dirname(os.path.abspath(__file__))
PROVED = ("train", "encoding", "tokens", "infer")  # modes of which logits and gradients are compared
NOT_INSTALLED = "not installed"
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


def installed(peer):
    return importlib.util.find_spec(NEEDS[peer]) is not None


def losses_of(about):
    """Those that a side tells. Throws Failed where one is no number."""
    losses = about.get("losses", [])
    if not all(isinstance(x, (int, float)) and math.isfinite(x) for x in losses):
        raise Failed(f"its losses are not finite: {', '.join(map(str, losses))}")
    return losses


class Proof:
    """Whether a peer does the work that tessera does in a cell: see peers/proof.py."""

    def __init__(self, cell, model, program):
        self.cell, self.program, self.ours, self.exact, self.losses, self.unproved = cell, program, None, None, [], ""
        if cell["mode"] in PROVED:
            try:
                self.ours = program.answer(cell, model)
                if cell["precision"] != "f32" and cell["mode"] != "infer":
                    self.exact = program.answer({**cell, "precision": "f32"}, model)
            except Exception as e:  # the row is measured all the same, and marked
                self.unproved = f"tessera forward: {e}"

    def file(self, peer):
        return self.program.file(self.cell, f"{peer}.answer.safetensors")

    def differences(self, peer, about):
        """How far its losses, logits and gradients are from tessera's. Throws Failed where there are none or they are not finite."""
        found = {}
        if theirs := losses_of(about):
            if len(theirs) != len(self.losses):
                raise Failed(f"it tells {len(theirs)} losses, tessera {len(self.losses)}")
            found["losses"] = max(abs(a - b) / max(abs(b), 1e-30) for a, b in zip(theirs, self.losses))
        if self.ours is None:
            return found
        import proof
        from safetensors.numpy import load_file
        try:
            return found | proof.differences(load_file(self.file(peer)), self.ours, self.exact)
        except Exception as e:  # no file, a damaged one, other shapes, NaN
            raise Failed(f"its answer cannot be compared: {e}") from None


def plan(cell, model, program):
    """(name, command, environment) of all sides that can be started, tessera first; and why others cannot."""
    spec, missing = {k: cell[k] for k in table.KEY}, {}
    if model:
        start, moved = program.weights(cell, model)
        spec |= {"shape": [cell["batch"], *model.sample], "classes": model.classes, "channels_last": model.channels_last}
        if cell["mode"] == "infer":
            spec |= {"weights": moved, "onnx": program.onnx(cell, moved)}
        else:
            spec |= {"weights": start} | ({"moved": moved} if cell["mode"] in PROVED else {})
    found = [("tessera", program.bench(cell, model or table.MODELS["vit_cifar_small"]), None)]
    for name in cell["peers"]:
        if not installed(name):
            missing[name] = NOT_INSTALLED
            continue
        spec |= {"compile": name == table.COMPILE, "answer": program.file(cell, f"{name}.answer.safetensors")}
        found.append((name, peer_command(name, spec), peer_environment(cell)))
    return found, missing


def start(cell, model, program, sides):
    """Adds all sides that run, warmed up, to `sides`. Returns what they say of themselves, why others do not run, and why nothing is proved."""
    about = {}
    commands, failed = plan(cell, model, program)
    proof = Proof(cell, model, program)
    for name, command, env in commands:
        if name != "tessera" and os.path.exists(proof.file(name)):
            os.remove(proof.file(name))  # of another cell
        side = Side(name, command, cell["threads"], program.file(cell, f"{name}.log"), env)
        sides.append(side)
        try:
            about[name] = side.turn(0, START)
            if name == "tessera":
                proof.losses = losses_of(about[name])
            else:
                about[name]["difference"] = proof.differences(name, about[name])
        except Failed as e:
            if name == "tessera":
                raise Failed(f"tessera: {e}") from None
            sides.pop().end()
            failed[name] = str(e)
    return about, failed, proof.unproved


def measure(cell, program, rounds, seconds):
    """A cell of the page. Throws Failed where tessera does not run; a peer that does not, or stops, costs its column."""
    model = None if cell["mode"] == "matmul" else table.MODELS[cell["model"]]
    sides = []
    try:
        about, failed, unproved = start(cell, model, program, sides)
        turns = {s.name: [] for s in sides}
        for r in range(0 if cell["mode"] == "memory" else rounds):
            for side in sides[r % len(sides):] + sides[:r % len(sides)]:
                try:
                    turns[side.name].append(side.turn(seconds))
                except Failed as e:
                    if side.name == "tessera":
                        raise Failed(f"tessera, round {r + 1}: {e}") from None
                    failed[side.name] = f"{e} (round {r + 1})"
                    sides.remove(side)
                    side.end()
        found = {k: cell[k] for k in table.KEY}
        found |= {"machine": machine(), "date": datetime.date.today().isoformat(), "commit": about["tessera"].get("commit") or commit(),
                  "tessera": program.version, "rounds": rounds, "seconds": seconds, "failed": failed, "unproved": unproved,
                  "others_busy": round(max((t["busy"] for s in sides for t in turns[s.name]), default=0.0), 2)}
        if model and not model.length:  # inspect has a length of its own
            found["macs"] = program.macs(model)
        return found | {"sides": {s.name: side_of(s.name, about[s.name], turns[s.name]) for s in sides}}
    finally:
        for side in sides:
            side.end()


def side_of(name, about, turns):
    side = {"ms": [round(t["ms_per_step"]["median"], 4) for t in turns], "cpu_ms": [round(t["cpu_ms_per_step"], 4) for t in turns],
            "steps": [t["steps"] for t in turns], "busy": [round(t["busy"], 2) for t in turns],
            "peak_rss_mb": round(max(t["peak_rss_mb"] for t in turns or [about]), 1)}
    side |= {k: about[k] for k in ("version", "params", "losses", "difference") if k in about}
    if name == "tessera" and turns:
        side["peak_gflops"] = [round(t["peak_gflops_measured"], 2) for t in turns]
    return side
