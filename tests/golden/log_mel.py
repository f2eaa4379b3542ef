"""Log-mel frames of two short recordings by torchaudio, in float64: tests/golden/data/log_mel.golden.safetensors.

    venv/bin/pip install torchaudio==2.11.0
    venv/bin/python tests/golden/log_mel.py

RATE.samples are a rising tone, a steady one and noise, F32; RATE.frames (T, n_mels) are log(max(mel, 1e-10)), F64.
"""
import math
import pathlib

import torch
import torchaudio
from safetensors.torch import save_file

CASES = {8000: (40, 997), 16000: (64, 1600)}  # rate: bands, samples

tensors = {}
for rate, (bands, n) in CASES.items():
    t = torch.arange(n, dtype=torch.float64) / rate
    noise = torch.randn(n, generator=torch.Generator().manual_seed(rate), dtype=torch.float64)
    x = (0.4 * torch.sin(2 * math.pi * (300 * t + 8000 * t * t)) + 0.2 * torch.sin(2 * math.pi * 440 * t) + 0.02 * noise).float()
    window, hop = rate * 25 // 1000, rate * 10 // 1000
    mel = torchaudio.transforms.MelSpectrogram(
        sample_rate=rate, n_fft=1 << (window - 1).bit_length(), win_length=window, hop_length=hop, n_mels=bands, pad_mode="constant",
        mel_scale="htk", norm=None, power=2.0).double()(x.double())
    tensors[f"{rate}.samples"] = x
    tensors[f"{rate}.frames"] = mel.T.clamp(min=1e-10).log().contiguous()
path = pathlib.Path(__file__).parent / "data" / "log_mel.golden.safetensors"
save_file(tensors, path)
print({k: tuple(v.shape) for k, v in tensors.items()}, path.stat().st_size)
