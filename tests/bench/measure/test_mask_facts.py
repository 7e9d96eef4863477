"""The columns of a mask set, counted on the real network by hand."""

from __future__ import annotations

import pytest
import torch

from bench.measure.mask_facts import MaskFacts
from bench.measure.working_model import WorkingModel
from bench.models.cifar import cifar_resnet20
from bench.models.digits import digits_vit
from bench.models.tensors import MaskSet


@pytest.fixture
def facts(shared) -> MaskFacts:
    return MaskFacts(shared, WorkingModel(shared.dense.model))


def masks_of(units, keep):
    return MaskSet(units, {layer.name: keep(layer) for layer in units.layers})


def test_a_dense_row_has_no_zeros_but_those_of_training(facts, shared):
    parameters = list(shared.dense.model.parameters())
    zeros = sum(int((p == 0).sum()) for p in parameters) / sum(p.numel() for p in parameters)
    found = facts.dense()
    assert (found["sparsity_achieved"], found["magnitude_overlap"], found["speedup"]) == (0, 1, 1)
    assert found["sparsity_parameters"] == pytest.approx(zeros)


def test_every_second_weight_pruned(facts, shared):
    units = shared.units("weight")
    masks = masks_of(units, lambda layer: (torch.arange(layer.size) % 2 == 0).reshape(layer.unit_shape))
    found = facts.of(masks)
    pruned = sum(layer.size // 2 for layer in units.layers)
    total = sum(p.numel() for p in shared.dense.model.parameters())
    assert found["mask"] == masks.digest()
    assert found["sparsity_achieved"] == pytest.approx(pruned / units.total)
    assert found["sparsity_parameters"] == pytest.approx(
        pruned / total + facts.dense()["sparsity_parameters"], abs=1e-3
    )
    assert 1.9 < found["speedup"] < 2.1
    assert found["emptied_layers"] == 0
    assert facts.of(masks) is found


def test_an_emptied_layer_is_named_by_its_count_and_leaves_nothing_to_compute_behind_it(facts, shared):
    units = shared.units("weight")
    first = units.layers[0].name
    masks = masks_of(units, lambda layer: torch.full(layer.unit_shape, layer.name != first))
    assert facts.of(masks)["emptied_layers"] == 1
    assert facts.of(masks)["speedup"] > 1


def test_heads_are_counted_as_units_and_their_rows_and_columns_as_parameters(coupled):
    shared = coupled(digits_vit())
    units = shared.units("head")
    kept = torch.tensor([False] * 4 + [True, False, True, True] + [True] * 4)
    found = MaskFacts(shared, WorkingModel(shared.dense.model)).of(MaskSet.from_flat(units.ranked, kept).members(units))
    assert found["sparsity_achieved"] == pytest.approx(5 / 12)
    assert (found["emptied_layers"], found["exact_removal"]) == (1, True)
    parameters = list(shared.dense.model.parameters())
    zeros = sum(int((p == 0).sum()) for p in parameters) + 5 * 4 * 16 * 64  # rows of q, k and v, columns of proj
    total = sum(p.numel() for p in parameters)
    assert found["sparsity_parameters"] == pytest.approx(zeros / total)
    macs = shared.macs().total
    assert found["speedup"] == pytest.approx(macs / (macs - 5 * 4 * 16 * 64 * 16))  # 16 tokens


def test_removed_groups_save_what_reads_them(coupled):
    shared = coupled(cifar_resnet20(in_chans=1))
    units = shared.units("group")
    kept = torch.arange(units.ranked.total) % 2 == 0
    found = MaskFacts(shared, WorkingModel(shared.dense.model)).of(MaskSet.from_flat(units.ranked, kept).members(units))
    assert found["sparsity_achieved"] == 0.5
    assert 3.9 < found["speedup"] < 4.1
