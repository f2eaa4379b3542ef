"""ONNX Runtime's and OpenVINO's sides of performance.py: forward passes of what PyTorch exports. See turns.py.

    python onnx_sides.py onnxruntime | openvino SPEC"""
import json
import os
import subprocess
import sys

import numpy as np
from safetensors.numpy import save_file

import noise
from turns import last_error, serve


def exported(spec):
    """The model as an ONNX file, made once for each batch by a process of its own."""
    path = spec["onnx"]
    if not os.path.exists(path):
        side = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch_side.py")
        run = subprocess.run([sys.executable, side, "--export", json.dumps(spec), path + ".new"], capture_output=True, text=True)
        if run.returncode:
            raise RuntimeError(f"PyTorch's export: {last_error([line for line in run.stderr.splitlines() if line.strip()])}")
        os.replace(path + ".new", path)
    return path


def onnxruntime(spec, x):
    import onnxruntime as ort
    if spec["precision"] == "bf16":
        raise RuntimeError("its CPU provider multiplies no bfloat16")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = spec["threads"], 1
    session = ort.InferenceSession(exported(spec), options, providers=["CPUExecutionProvider"])
    return f"ONNX Runtime {ort.__version__}", lambda: session.run(None, {"input": x})[0]


def openvino(spec, x):
    import openvino as ov
    core = ov.Core()
    model = core.compile_model(core.read_model(exported(spec)), "CPU", {
        "INFERENCE_NUM_THREADS": spec["threads"], "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": spec["precision"]})
    request = model.create_infer_request()
    return f"OpenVINO {ov.__version__.split('-')[0]}", lambda: request.infer({0: x}, share_inputs=True, share_outputs=True)[0]


def main(which, spec):
    x = noise.batch(spec["shape"][0], spec["shape"][1:])
    version, step = {"onnxruntime": onnxruntime, "openvino": openvino}[which](spec, x)
    save_file({"logits": np.array(step(), np.float32)}, spec["answer"])
    serve(step, {"version": version})


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
