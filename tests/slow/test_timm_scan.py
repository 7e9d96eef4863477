"""Networks of timm: no traceback, no share without a reason, and every count equal to one that is not the project's."""

import functools
import gc
import sys
import warnings
from math import isclose
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.slow.timm_scan import NETWORKS, PAGE, Outcome, page, scan

pytestmark = pytest.mark.slow

#: Networks some of whose operations `FlopCounterMode` does not count, and why.
NOT_COUNTED = {}


@functools.cache
def outcome(family: str, name: str) -> Outcome:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # timm's own
            return scan(family, name)
    finally:
        torch.set_num_threads(threads)
        gc.collect()


def test_the_scan_is_broad():
    assert sum(map(len, NETWORKS.values())) >= 300
    assert len(NETWORKS) >= 60


@pytest.mark.parametrize("family", NETWORKS)
def test_family(family):
    for name in NETWORKS[family]:
        one = outcome(family, name)
        if one.failure is not None:
            assert "\n" not in one.failure, name
            assert name in one.failure, name
            continue
        explained = [sum(shares) for shares in zip(*(reason[2:] for reason in one.dense), strict=True)]
        assert isclose(one.prunable[0] + explained[0], 1, abs_tol=1e-9), name
        assert isclose(one.prunable[1] + explained[1], 1, abs_tol=1e-6), name
        found = one.measured
        assert (found is not None) == (one.prunable[0] > 0), name
        if found is None:
            continue
        assert found.zeros == found.pruned, name
        assert found.counted == found.macs, name
        assert found.counted_remaining == found.remaining, name
        assert isclose(found.counted_by_mask, found.remaining, rel_tol=1e-6), name
        assert (found.flop_counter == found.macs) == (name not in NOT_COUNTED), name


def test_the_page_is_that_of_the_scan():
    outcomes = [outcome(family, name) for family, names in NETWORKS.items() for name in names]
    assert PAGE.read_text(encoding="utf-8") == page(outcomes)
