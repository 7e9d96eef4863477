"""The working model: masked, changed, and made dense again."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench.measure.working_model import WorkingModel
from bench.models.tensors import MaskSet
from bench.models.unit_space import PrunableLayer, UnitSpace

UNITS = UnitSpace("weight", (PrunableLayer("0", (2, 3), (2, 3)),))


@pytest.fixture
def dense() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()


def masks(*kept: bool) -> MaskSet:
    return MaskSet(UNITS, {"0": torch.tensor(kept).reshape(2, 3)})


def weight(model: nn.Module) -> torch.Tensor:
    return model.get_parameter("0.weight")


def test_it_is_the_dense_model_times_the_mask_whatever_came_before(dense):
    working = WorkingModel(dense)
    first, second = masks(True, False, True, True, True, True), masks(False, True, True, True, True, True)
    for one in (first, second, first):
        model = working.mask(one)
        assert torch.equal(weight(model), weight(dense) * one["0"])
    assert torch.equal(weight(working.mask(None)), weight(dense))


def test_what_a_method_changed_is_restored_by_the_next_mask(dense):
    working, all_kept = WorkingModel(dense), masks(*[True] * 6)
    working.mask(all_kept)

    def double() -> str:
        with torch.no_grad():
            weight(working.model).mul_(2)
            working.model.get_buffer("1.running_mean").fill_(5)
        return "done"

    assert working.change(double, ours=True) == "done"
    assert torch.equal(weight(working.model), 2 * weight(dense))
    model = working.mask(all_kept)
    assert torch.equal(weight(model), weight(dense))
    assert torch.equal(model.get_buffer("1.running_mean"), dense.get_buffer("1.running_mean"))
    assert torch.equal(weight(working.mask(all_kept)), weight(dense))


def test_a_method_of_the_catalogue_keeps_the_network_and_a_users_one_costs_a_copy(dense):
    working = WorkingModel(dense)
    model = working.mask(None)
    working.change(lambda: None, ours=True)
    assert working.mask(None) is model
    working.change(lambda: model.train(), ours=False)
    again = working.mask(None)
    assert again is not model
    assert not again.training


def test_a_method_that_fails_half_way_costs_a_copy(dense):
    working = WorkingModel(dense)
    model = working.mask(None)

    def fail() -> None:
        model.get_submodule("0").register_buffer("scratch", torch.ones(1))
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        working.change(fail, ours=True)
    again = working.mask(None)
    assert again is not model
    assert "0.scratch" not in dict(again.named_buffers())


def test_a_model_that_was_handed_out_is_not_used_again(dense):
    working = WorkingModel(dense)
    handed = working.mask(None) and working.hand_out()
    with torch.no_grad():
        weight(handed).zero_()
    assert torch.equal(weight(working.mask(None)), weight(dense))
    assert torch.equal(weight(handed), torch.zeros(2, 3))
