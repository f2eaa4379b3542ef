"""tessera as performance.py runs it, and the files that its peers read."""
import hashlib
import json
import os
import re
import subprocess

from turns import START, Failed

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.."))


def said(command):
    """What a program prints. Throws Failed where it cannot be run or does not end well."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=START).stdout.strip()
    except OSError as e:
        raise Failed(f"{command[0]}: {e.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"no answer in {START:.0f} s: {' '.join(command[:2])}") from None
    except subprocess.CalledProcessError as e:
        lines = [line.strip() for line in e.stderr.splitlines() if line.strip()]
        raise Failed(lines[-1] if lines else f"it ended with {e.returncode}: {' '.join(command[:2])}") from None


def commit():
    """Of the sources, for a tessera that does not say its own."""
    try:
        changed = said(["git", "-C", ROOT, "status", "--porcelain", "--", "core", "nn", "models", "train"])
        return said(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"]) + ("+" if changed else "")
    except Failed:
        return "unknown"


class Program:
    """tessera, and the files that peers read: weights, the batch. Throws Failed where it does not run."""

    def __init__(self, path, work):
        self.path, self.work, self.made = os.path.abspath(path), work, set()
        self.version = said([self.path, "--version"])

    def words(self, model):
        position = ["--position", model.position] if model.position else []
        return ["--model", model.name, *position, *model.options]

    def file(self, cell, what):
        return os.path.join(self.work, re.sub(r"[^\w.+-]", "_", what.format(**cell)))

    def weights(self, cell, model):
        """Files of the weights that training starts from, and of moved ones (peers/proof.py); made once a run, for this may be another tessera."""
        start, moved = self.file(cell, "{model}.safetensors"), self.file(cell, "{model}.moved.safetensors")
        if start not in self.made:
            import proof
            from safetensors.numpy import load_file, save_file
            said([self.path, "init", *self.words(model), "--seed", "1", "--output", start])
            save_file(proof.moved(load_file(start)), moved)
            self.made.add(start)
        return start, moved

    def onnx(self, cell, weights):
        """The file of a model's export, which holds its weights."""
        with open(weights, "rb") as f:
            return self.file(cell, "{model}.{batch}." + hashlib.sha256(f.read()).hexdigest()[:12] + ".onnx")

    def bench(self, cell, model):
        kind = "infer" if cell["mode"] == "infer" else "train"
        length = ["--length", str(model.length)] if model.length else []
        options = model.train_options if kind == "train" else ()
        return [self.path, "bench", kind, *self.words(model), *options, *length, "--batch-size", str(cell["batch"]), "--precision", cell["precision"],
                "--threads", str(cell["threads"]), "--turns", "--warmup", "3"]

    def macs(self, model):
        return json.loads(said([self.path, "inspect", *self.words(model), "--json"]))["macs"]

    def answer(self, cell, model):
        """Logits of the batch at the moved weights and, of a training step, all gradients."""
        import noise
        import proof
        from safetensors.numpy import load_file, save_file
        x, y = self.file(cell, "input.safetensors"), self.file(cell, "output.safetensors")
        batch, mode = {"input": noise.batch(cell["batch"], model.sample)}, []
        if cell["mode"] != "infer":
            batch["cotangent"], mode = proof.cotangent(cell["batch"], model.classes), ["--train-mode"]
        save_file(batch, x)
        said([self.path, "forward", *self.words(model), *mode, "--weights", self.weights(cell, model)[1], "--input", x, "--output", y, "--precision",
              cell["precision"], "--threads", str(cell["threads"])])
        found = load_file(y)
        proof.finite(found)
        return found
