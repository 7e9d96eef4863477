"""All that is measured on a GPU, in under 8 minutes: ``python tests/gpu/measure.py``.

The steps come in the order of their importance, each in a process of its own with its own time limit, so that one that
fails or hangs does not stop the others. ``--device cpu --smoke`` runs tiny versions of them to prove this script.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Seconds for all steps together.
TOTAL = 470
#: On a CPU, which others may use, the limits are so many times as long.
PATIENCE = 5
#: Seconds after an interrupt at its limit in which a step may print its summary, before it is killed.
GRACE = 10
#: A step for which fewer seconds are left is not started.
LEAST = 5


@dataclass(frozen=True)
class Step:
    """One measurement: its arguments of Python, run in the root of the repository, and its time limit in seconds."""

    name: str
    arguments: tuple[str, ...]
    limit: float


@dataclass(frozen=True)
class Result:
    """The outcome of a step: ``passed``, ``failed (exit code N)``, ``stopped at its limit of N s``, ``not started``."""

    name: str
    outcome: str
    seconds: float


def steps_on(device: str, study: Path, *, smoke: bool) -> list[Step]:
    """Return the steps, the most important first; the last one makes the folder `study` and runs a slice of it."""
    pytest = ("-m", "pytest", "tests/gpu", "-q", "-W", "default", "-p", "no:cacheprovider", "--tb=short")
    if find_spec("xdist") is not None:
        workers = max(1, min(8, (os.cpu_count() or 1) // 2))
        pytest += ("-n", str(workers), "--dist", "loadgroup")
    timing = ("-m", "tests.gpu.steps", "--device", device)
    run = ("-m", "prunebench", "run", str(study), "--profile", "quick", "--device", device)
    few: tuple[str, ...] = ()
    training: tuple[str, ...] = ("--models", "resnet20", "resnet18", "vit_small4", "--images", "25600")
    if smoke:
        pytest += ("-k", "test_agreement or (test_methods and digits_cnn and taylor)")
        few = ("--images", "64", "--candidates", "4", "--smoke")
        training = ("--models", "resnet20", "--images", "256")
    patience = PATIENCE if smoke else 1
    return [
        Step("tests", pytest, 220 * patience),
        Step("speed, ResNet-20", (*timing, "speed", "--models", "resnet20", *few), 110 * patience),
        Step("speed, ResNet-18", (*timing, "speed", "--models", "resnet18", *few), 110 * patience),
        Step("training", (*timing, "training", *training), 75 * patience),
        Step("study: new", ("-m", "prunebench", "new", str(study), "--from", "digits"), 20 * patience),
        Step("study: run", (*run, "--only", "model=digits_cnn", "--limit", "12" if smoke else "400"), 60 * patience),
    ]


def run_steps(
    steps: Iterable[Step], total: float, environment: Mapping[str, str] | None = None, grace: float = GRACE
) -> Iterator[Result]:
    """Run steps one after the other and yield the outcome of each.

    Parameters
    ----------
    steps : iterable of Step
        None of them is stopped by the failure of another.
    total : float
        Seconds for all of them: the limit of a step is lowered to what is left.
    environment : mapping, optional
        Variables that are added to those of this process.
    grace : float
        Seconds between the interrupt of a step at its limit and its end.
    """
    end = time.monotonic() + total
    for step in steps:
        limit = min(step.limit, end - time.monotonic())
        if limit < LEAST:
            yield Result(step.name, "not started", 0.0)
            continue
        print(f"\n=== {step.name} (at most {limit:.0f} s): python {' '.join(step.arguments)}", flush=True)
        start = time.monotonic()
        outcome = _outcome(step.arguments, limit, environment or {}, grace)
        seconds = time.monotonic() - start
        print(f"=== {step.name}: {outcome}, {seconds:.1f} s", flush=True)
        yield Result(step.name, outcome, seconds)


def _outcome(arguments: Sequence[str], limit: float, environment: Mapping[str, str], grace: float) -> str:
    """Run Python in a process group of its own, which ends as a whole, so that no worker keeps the device."""
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=variables, start_new_session=True)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
        return f"stopped at its limit of {limit:.0f} s"
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return "passed" if code == 0 else f"failed (exit code {code})"


def print_summary(results: Sequence[Result]) -> None:
    """Print a table of the outcomes."""
    width = max(len(result.name) for result in results)
    print("\n=== summary")
    for result in results:
        print(f"{result.name:{width}}  {result.seconds:7.1f} s  {result.outcome}")


def main() -> int:
    """Run the steps of the command line; return 0 if all of them passed, else 1."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny versions of all steps, to prove the script")
    parser.add_argument(
        "--seconds", type=float, help=f"for everything (default: {TOTAL}; {PATIENCE} times that for --smoke)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="steps whose name contains one of these")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="prunebench-gpu-") as folder:
        steps = steps_on(given.device, Path(folder) / "study", smoke=given.smoke)
        chosen = [step for step in steps if not given.only or any(text in step.name for text in given.only)]
        if not chosen:
            parser.error(f"no step has such a name; the steps are: {', '.join(step.name for step in steps)}")
        total = given.seconds or TOTAL * (PATIENCE if given.smoke else 1)
        results = list(run_steps(chosen, total, {"PRUNEBENCH_TEST_DEVICE": given.device}))
    print_summary(results)
    return int(any(result.outcome != "passed" for result in results))


if __name__ == "__main__":
    sys.exit(main())
