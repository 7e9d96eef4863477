"""Execution settings: chosen once, then kept."""

from __future__ import annotations

import json
from dataclasses import asdict

import pytest
import torch

from bench.errors import UserError
from bench.settings import apply_settings, choose_device, choose_settings, has_fast_bfloat16, keep_settings
from bench.study import Execution


def test_small_inputs_run_in_float32():
    settings = choose_settings(Execution(), "cpu", image_size=8)
    assert (settings.precision, settings.memory_format, settings.threads) == ("float32", "contiguous", 1)


def test_large_inputs_use_what_the_processor_has():
    settings = choose_settings(Execution(), "cpu", image_size=32)
    assert settings.memory_format == "channels_last"
    assert settings.precision == ("bfloat16" if has_fast_bfloat16("cpu") else "float32")


def test_what_the_study_says_is_taken():
    execution = Execution(precision="bfloat16", memory_format="contiguous", batch=7, threads=1)
    settings = choose_settings(execution, "cpu", image_size=8)
    assert asdict(settings) == {
        "precision": "bfloat16", "memory_format": "contiguous", "batch": 7, "threads": 1, "device": "cpu",
        "device_class": "cpu",
    }  # fmt: skip


def test_stored_settings_are_reused_and_guarded():
    first = choose_settings(Execution(precision="bfloat16"), "cpu", 8)
    stored = json.dumps(asdict(first))
    assert keep_settings(stored, Execution(), "auto", 8) == first
    with pytest.raises(UserError, match="begun with precision 'bfloat16' and now asks for 'float32'"):
        keep_settings(stored, Execution(precision="float32"), "auto", 8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_that_is_absent_is_refused():
    with pytest.raises(UserError, match="no usable GPU"):
        choose_device("cuda")


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match="valid: auto, cpu, cuda"):
        choose_device("tpu")


def test_another_device_class_is_refused():
    stored = asdict(choose_settings(Execution(), "cpu", 8)) | {"device_class": "some GPU"}
    with pytest.raises(UserError, match="begun on 'some GPU', this machine has 'cpu'"):
        keep_settings(json.dumps(stored), Execution(), "auto", 8)


def test_float32_means_float32():
    apply_settings(choose_settings(Execution(threads=1), "cpu", 8))
    assert torch.get_num_threads() == 1
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic
