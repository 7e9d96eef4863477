"""Tests of `bench.run.settings`."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
import torch
from torch import Tensor, nn

from bench.core.errors import UserError
from bench.core.types import Settings
from bench.run.settings import (
    apply_settings,
    bfloat16_gain,
    choose_device,
    choose_settings,
    clearly_fastest,
    keep_settings,
    passes_speeds,
)
from bench.study.spec import Execution

FIXED = Settings("float32", "contiguous", 512, "cpu", 1)
AUTO = Execution(precision="auto")


class Timed(nn.Module):
    """Moves its own clock by so many milliseconds an image, by precision, memory format and size of the batch."""

    def __init__(self, milliseconds) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.milliseconds = milliseconds
        self.elapsed = [0.0]

    def __deepcopy__(self, memo) -> Timed:
        copied = type(self)(self.milliseconds)
        copied.elapsed = self.elapsed
        return copied

    def clock(self) -> float:
        return self.elapsed[0]

    def forward(self, x: Tensor) -> Tensor:
        precision = str(x.dtype).removeprefix("torch.")
        last = x.is_contiguous(memory_format=torch.channels_last)
        each = self.milliseconds(precision, "channels_last" if last else "contiguous", len(x))
        self.elapsed[0] += len(x) * each / 1e3
        return x


def choose(execution=None, milliseconds=lambda *_: 1.0, *, fast_bfloat16=False):
    model = Timed(milliseconds)
    return choose_settings(
        execution or Execution(), "cpu", 32, lambda: (model, 3), fast_bfloat16=fast_bfloat16, clock=model.clock
    )


def gain_of(settings, milliseconds, shape=(3, 32, 32), *, fast_bfloat16=True):
    model = Timed(milliseconds)
    return bfloat16_gain(settings, model, shape, fast_bfloat16=fast_bfloat16, clock=model.clock)


def never():
    raise AssertionError("nothing is to be timed")


def test_small_inputs_run_in_float32_without_a_measurement():
    settings = choose_settings(Execution(), "cpu", 8, never)
    assert settings == replace(FIXED, measured={})


def test_what_the_study_says_is_taken():
    execution = Execution(precision="bfloat16", memory_format="contiguous", batch=7, threads=1)
    settings = choose_settings(execution, "cpu", 32, never)
    assert asdict(settings) == {
        "precision": "bfloat16", "memory_format": "contiguous", "batch": 7, "threads": 1, "device": "cpu",
        "device_class": "cpu", "passes": "single", "measured": {},
    }  # fmt: skip


@pytest.mark.parametrize(("gain", "precision"), [(1.1, "float32"), (2.0, "bfloat16")])
def test_bfloat16_is_chosen_where_it_is_clearly_faster(gain, precision):
    settings = choose(AUTO, lambda p, *_: 4.0 / (gain if p == "bfloat16" else 1), fast_bfloat16=True)
    assert (settings.precision, settings.memory_format, settings.batch) == (precision, "channels_last", 128)
    speeds = {name.partition(",")[0]: speed for name, speed in settings.measured.items()}
    assert speeds["bfloat16"] / speeds["float32"] == pytest.approx(gain, rel=0.01)


@pytest.mark.parametrize(("execution", "fast_bfloat16"), [(Execution(), True), (AUTO, False)])
def test_bfloat16_is_tried_only_if_the_study_allows_it_and_the_hardware_has_it(execution, fast_bfloat16):
    settings = choose(execution, lambda p, *_: 1.0 if p == "bfloat16" else 4.0, fast_bfloat16=fast_bfloat16)
    assert settings.precision == "float32"
    assert not any("bfloat16" in name for name in settings.measured)


@pytest.mark.parametrize("gain", [0.5, 2.9])
def test_the_gain_of_bfloat16_is_measured(gain):
    found = gain_of(FIXED, lambda p, *_: 4.0 / (gain if p == "bfloat16" else 1))
    assert found == pytest.approx(gain, rel=0.01)


def test_there_is_no_gain_where_bfloat16_is_no_alternative():
    assert gain_of(FIXED, lambda *_: 1.0, (3, 8, 8)) is None
    assert gain_of(replace(FIXED, precision="bfloat16"), lambda *_: 1.0) is None
    assert gain_of(FIXED, lambda *_: 1.0, fast_bfloat16=False) is None


def test_there_is_no_gain_where_memory_does_not_suffice():
    def milliseconds(precision, _format, _images):
        if precision == "bfloat16":
            raise torch.OutOfMemoryError("2.00 GiB")
        return 1.0

    assert gain_of(FIXED, milliseconds) is None


def test_the_memory_format_is_judged_in_the_chosen_precision():
    times = {("float32", "contiguous"): 8.0, ("float32", "channels_last"): 3.0,
             ("bfloat16", "contiguous"): 1.0, ("bfloat16", "channels_last"): 1.4}  # fmt: skip
    settings = choose(AUTO, lambda p, f, _: times[p, f], fast_bfloat16=True)
    assert (settings.precision, settings.memory_format) == ("bfloat16", "contiguous")
    times["bfloat16", "contiguous"] = 1.2
    assert choose(AUTO, lambda p, f, _: times[p, f], fast_bfloat16=True).memory_format == "channels_last"


def test_the_batch_is_tried_where_the_usual_one_is_quick():
    execution = Execution(precision="float32", memory_format="contiguous")
    settings = choose(execution, lambda _p, _f, n: 0.1 if n < 512 else 0.05)
    assert settings.batch == 512
    assert list(settings.measured)[1:] == [f"float32, contiguous, batch {n}" for n in (32, 512)]
    assert choose(execution, lambda *_: 0.1).batch == 128


def test_what_does_not_fit_in_memory_is_not_taken():
    def milliseconds(_precision, _format, images):
        if images == 512:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")
        return 0.1

    settings = choose(Execution(precision="float32", memory_format="contiguous"), milliseconds)
    assert settings.batch == 128
    assert settings.measured["float32, contiguous, batch 512"] == 0


def test_stored_settings_are_reused_and_guarded():
    first = choose_settings(Execution(precision="bfloat16"), "cpu", 8, never)
    stored = json.dumps(asdict(replace(first, measured={"bfloat16": 7.5})))
    for precision in ("auto", "bfloat16"):
        kept = keep_settings(stored, Execution(precision=precision), "auto", 32, never)
        assert kept == replace(first, measured={"bfloat16": 7.5})
    with pytest.raises(
        UserError, match=r"precision 'bfloat16' and now requests 'float32'.*`precision: bfloat16` in my\.yaml"
    ):
        keep_settings(stored, Execution(precision="float32"), "auto", 8, never, "my.yaml")


@pytest.mark.parametrize(
    ("written", "line"),
    [({}, "execution: {precision: auto}"), ({"batch": 512}, "execution: {precision: auto, batch: 512}")],
)
def test_a_study_begun_in_bfloat16_when_that_was_the_default_gets_the_line_to_write(written, line):
    stored = json.dumps(asdict(replace(FIXED, precision="bfloat16")))
    with pytest.raises(UserError) as caught:
        keep_settings(stored, Execution(**written), "auto", 32, never, "s/study.yaml")
    message = str(caught.value)
    assert message.startswith("s/study.yaml: this study was begun in bfloat16")
    assert f"Write `{line}` to continue it" in message
    assert keep_settings(stored, Execution(precision="auto", **written), "auto", 32, never).precision == "bfloat16"


def test_a_study_begun_in_float32_goes_on_in_it():
    for execution in (Execution(), AUTO):
        assert keep_settings(json.dumps(asdict(FIXED)), execution, "auto", 32, never) == FIXED


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_another_device_than_that_of_the_first_run_is_refused():
    stored = json.dumps(asdict(replace(FIXED, device="cuda")))
    with pytest.raises(UserError, match=r"begun with device 'cuda' and now requests 'cpu'.*use --device cuda"):
        keep_settings(stored, Execution(), "cpu", 8, never)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_that_is_absent_is_refused():
    with pytest.raises(UserError, match="no usable GPU"):
        choose_device("cuda")


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match="valid: auto, cpu, cuda"):
        choose_device("tpu")


def test_another_device_class_is_refused():
    stored = asdict(FIXED) | {"device_class": "some GPU"}
    with pytest.raises(UserError, match="begun on 'some GPU', this machine has 'cpu'"):
        keep_settings(json.dumps(stored), Execution(), "auto", 8, never)


def test_float32_means_float32():
    apply_settings(replace(FIXED, threads=1))
    assert torch.get_num_threads() == 1
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("2.00 GiB"), RuntimeError("can't allocate memory")])
@pytest.mark.parametrize("fitting", [0, 4])
def test_memory_that_runs_short_while_settings_are_timed_ends_nothing(error, fitting):
    def milliseconds(_precision, _format, images):
        if images > fitting:
            raise error
        return 0.1

    settings = choose(Execution(precision="float32"), milliseconds)
    assert (settings.memory_format, settings.batch) == ("channels_last", 128)
    assert {speed > 0 for speed in settings.measured.values()} == {fitting > 0}


def test_ways_to_call_the_network_are_timed_and_the_clearly_fastest_is_found():
    class Classifies(Timed):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).flatten(1)

    model = Classifies(lambda *_: 1.0)
    speeds = passes_speeds(replace(FIXED, batch=8), model, (3, 4, 4), model.clock, ("single", "graph", "stacked"))
    assert speeds["single"] == pytest.approx(1000)
    assert speeds["graph"] == pytest.approx(1000)  # without CUDA graphs it makes single passes
    assert clearly_fastest({name: speeds[name] for name in ("single", "graph")}) == "single"
    assert clearly_fastest({"single": 1000.0, "stacked": 1500.0, "graph": 0.0}) == "stacked"


def test_a_cpu_calls_the_network_once_per_model_unless_the_study_says_otherwise():
    assert choose().passes == "single"
    assert choose(Execution(passes="stacked")).passes == "stacked"
    with pytest.raises(UserError, match="graph needs a GPU"):
        choose(Execution(passes="graph"))
