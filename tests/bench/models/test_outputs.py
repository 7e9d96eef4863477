"""Logits among what networks return."""

import pytest
import torch

from bench.models.outputs import describe_output, main_output

LOGITS = torch.zeros(2, 10)


@pytest.mark.parametrize(
    "output", [LOGITS, (LOGITS, torch.ones(2, 10)), [LOGITS], {"logits": LOGITS}, {"aux": 1, "out": LOGITS}]
)
def test_the_logits_are_found(output):
    assert main_output(output) is LOGITS


@pytest.mark.parametrize("output", [(), {}, {"loss": LOGITS}, 3.0, None, (3.0, LOGITS)])
def test_what_holds_no_logits_has_none(output):
    assert main_output(output) is None


def test_an_output_is_described_for_a_message():
    assert describe_output(LOGITS) == "a tensor of shape (2, 10)"
    assert describe_output([1, 2]) == "a list of 2"
    assert describe_output({"a": 1, "b": 2}) == "a dict with the keys 'a', 'b'"
    assert describe_output(None) == "NoneType, no tensor"
