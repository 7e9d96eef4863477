"""Which labels a name stands for."""

from __future__ import annotations

import pytest

from analysis.evidence.labels import matching_labels

PRESENT = ["vgg11", "asr", "asr(order=sequential)", "dbo(evaluations=60)", "vgg16", 128]


@pytest.mark.parametrize(
    ("requested", "found"),
    [
        (("asr",), ["asr"]),  # the label itself, not the one with options
        (("dbo",), ["dbo(evaluations=60)"]),
        (("vgg*", "asr"), ["vgg11", "vgg16", "asr"]),
        (("asr*",), ["asr", "asr(order=sequential)"]),
        (("asr", "asr"), ["asr"]),
        ((128,), [128]),
        (("absent",), []),
        ((0.5,), []),
        ((), []),
    ],
)
def test_a_name_stands_for_itself_its_options_or_a_pattern(requested, found):
    assert matching_labels(PRESENT, requested) == found
