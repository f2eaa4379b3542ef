"""What the benchmarks of position encodings share: one run of tessera, and what a table must say of its machine."""
import json, os, subprocess


def milliseconds(tessera, name, threads, steps, warmup, options=(), batch=128):
    """Median milliseconds of a training step of the 0.8M ViT under an encoding: by the clock, and of processor time."""
    out = subprocess.run([tessera, "bench", "train", "--model", "vit_cifar_small", "--position", name, "--batch-size", str(batch), "--threads", str(threads),
                          "--steps", str(steps), "--warmup", str(warmup), "--json", *options], check=True, capture_output=True, text=True).stdout
    found = json.loads(out)
    return found["ms_per_step"]["median"], found["cpu_ms_per_step"]


def cpu():
    with open("/proc/cpuinfo") as f:
        return next(line.split(":")[1].strip() for line in f if line.startswith("model name"))


def commit():
    here = os.path.dirname(os.path.abspath(__file__))
    return subprocess.run(["git", "-C", here, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
