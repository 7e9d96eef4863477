"""The memory that `plan` forecasts against what a run takes; ``python tests/slow/test_memory.py`` prints the table.

Measured is the growth of the peak resident memory over what the process holds once a tiny study has run in it: by then
the libraries have loaded what they load at first use (some 50 MiB after their imports).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
#: Below it the libraries' own buffers decide, in MiB.
FLOOR = 64
#: It solves a system per filter, which takes hours on a wide net.
TOO_LONG = ("ResNet-18", "reconstruct")
WITHIN = 0.3
MIB = 2**20

STUDY = """\
name: memory
data: [{data}]
models: [{model}]
train_seeds: 1
scorers: [{scorers}]
searches: [equal]
allocations: [uniform, global]
sparsities: [0.5, 0.9]
corrections: [{corrections}]
calibration: {{images: 128, batch: 64}}
"""
WARM_UP = STUDY.format(
    data="digits", model="{name: digits_cnn, recipe: {epochs: 1}}, {name: digits_vit, recipe: {epochs: 1}}",
    scorers="magnitude, taylor, obs, v1",
    corrections="none, asr, reconstruct",
)  # fmt: skip
CIFAR = '{{name: "parquet:{folder}", label: cifar10}}'
RESNET20 = (
    '{name: cifar_resnet20, checkpoint: "${PRUNEBENCH_DATA}/weights/resnet20-cifar10-akamaster.safetensors", '
    "normalisation: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}"
)
MODELS = {
    "digits, CNN": ("digits", "{name: digits_cnn, recipe: {epochs: 1}}"),
    "digits, ViT": ("digits", "{name: digits_vit, recipe: {epochs: 1}}"),
    "digits, ResNet-18": ("digits", "{name: resnet18, recipe: {epochs: 1}}"),
    "CIFAR-10, ResNet-20": (CIFAR, RESNET20),
    "CIFAR-10, ViT, batch 1000": (CIFAR, "{name: digits_vit, args: {img_size: 32}, recipe: {epochs: 1}}"),
    "CIFAR-10, ResNet-18": (CIFAR, "{name: resnet18, recipe: {epochs: 1}}"),
}
METHODS = {
    "magnitude": ("magnitude", "none"),
    "taylor, snip": ("magnitude, taylor, snip", "none"),
    "obs": ("magnitude, obs", "none"),
    "reconstruct": ("magnitude", "none, reconstruct"),
    "v1": ("magnitude, v1", "none"),
}
CASES = [(m, k) for m in MODELS for k in METHODS if not (TOO_LONG[0] in m and TOO_LONG[1] in k)]
CHILD = """\
import ctypes, re, sys
from pathlib import Path
from prunebench.cli import main

def resident(kind):
    return int(re.search(kind + r":\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1)) * 1024

def run(folder):
    sys.argv = ["prunebench", "run", folder]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, stop.code

warm, measured = sys.argv[1:]
run(warm)
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before = resident("VmRSS")
run(measured)
print("peak", resident("VmHWM") - before)
"""


def forecast_and_measured(scratch: Path, model: str, method: str) -> tuple[float, float]:
    """Plan a study, run it in a process of its own; both memories in MiB."""
    data, network = MODELS[model]
    scorers, corrections = METHODS[method]
    if data == CIFAR:
        data = CIFAR.format(folder=_some_images(scratch))
    folder, warm = scratch / "study", scratch / "warm"
    text = STUDY.format(data=data, model=network, scorers=scorers, corrections=corrections)
    if model.endswith("batch 1000"):
        text += "execution: {batch: 1000}\n"
    for place, content in ((folder, text), (warm, WARM_UP)):
        place.mkdir()
        (place / "study.yaml").write_text(content)
    measured = _output("-c", CHILD, str(warm), str(folder)).split()[-1]
    plan = _output("-m", "prunebench", "plan", str(folder), "--json")  # by the settings that the run has chosen
    return json.loads(plan)["memory"] / MIB, int(measured) / MIB


def _output(*words: str) -> str:
    return subprocess.run([sys.executable, *words], stdout=subprocess.PIPE, text=True, check=True, cwd=ROOT).stdout


def _some_images(scratch: Path) -> Path:
    source, images = Path(os.environ["PRUNEBENCH_DATA"]) / "cifar10", scratch / "images"
    images.mkdir()
    for part, rows in (("train", 10_000), ("test", 1_000)):
        first = min(source.glob(f"{part}-*.parquet"))
        pq.write_table(pq.read_table(first).slice(0, rows), images / f"{part}-00000-of-00001.parquet")
    return images


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(("model", "method"), CASES)
def test_the_forecast_is_within_30_percent_of_the_peak(model: str, method: str, tmp_path: Path) -> None:
    if model.startswith("CIFAR") and "PRUNEBENCH_DATA" not in os.environ:
        pytest.skip("PRUNEBENCH_DATA is not set")
    forecast, measured = forecast_and_measured(tmp_path, model, method)
    print(f"{model}; {method}: forecast {forecast:.0f} MiB, measured {measured:.0f} MiB")
    assert max(forecast, measured) < FLOOR or abs(forecast - measured) <= WITHIN * measured


def main() -> None:
    """Print the table of docs/SCALING.md."""
    print("| study | methods | forecast, MiB | measured, MiB | ratio |\n|---|---|---|---|---|")
    for model, method in CASES:
        with tempfile.TemporaryDirectory() as scratch:
            forecast, measured = forecast_and_measured(Path(scratch), model, method)
        print(f"| {model} | {method} | {forecast:.0f} | {measured:.0f} | {forecast / measured:.2f} |", flush=True)


if __name__ == "__main__":
    main()
