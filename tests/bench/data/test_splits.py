"""Stratified splits: a division of the set, of exact sizes, with every class in its share."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.data.splits import stratified_split


@st.composite
def labelled_sets(draw):
    counts = draw(st.lists(st.integers(1, 60), min_size=1, max_size=8))
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.from_numpy(np.random.default_rng(draw(st.integers(0, 99))).permutation(len(labels)))]
    first = draw(st.integers(0, len(labels)))
    second = draw(st.integers(0, len(labels) - first))
    return labels, (first, second)


@given(labelled_sets(), st.integers(0, 2**63 - 1))
def test_parts_divide_the_set_and_are_stratified(case, seed):
    labels, sizes = case
    parts = stratified_split(labels, sizes, seed)
    assert [len(p) for p in parts] == [*sizes, len(labels) - sum(sizes)]
    assert torch.cat(parts).sort().values.tolist() == list(range(len(labels)))
    classes = int(labels.max()) + 1
    counts = torch.bincount(labels, minlength=classes)
    share = counts / len(labels)
    for part in parts:
        found = torch.bincount(labels[part], minlength=classes)
        # each end of a run of images is off by at most 1/2 for the class and its share of the others' 1/2
        bound = 1 + share * classes
        assert bool(((found - len(part) * share).abs() <= bound + 1e-9).all())


def test_balanced_classes_are_divided_evenly():
    labels = torch.arange(10).repeat(50)
    for part in stratified_split(labels, (100, 50), seed=3):
        assert torch.bincount(labels[part]).unique().numel() == 1


def test_seed_decides():
    labels = torch.arange(4).repeat(25)
    first, again, other = (stratified_split(labels, (40,), seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_every_image_is_equally_likely():
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    hits = sum(torch.bincount(stratified_split(labels, (2,), seed)[0], minlength=6) for seed in range(600))
    # one of three in each class: binomial(600, 1/3), five standard deviations
    assert bool(((hits - 200).abs() < 5 * (600 * 2 / 9) ** 0.5).all())


def test_more_than_there_is():
    with pytest.raises(ValueError, match="from 2 images"):
        stratified_split(torch.tensor([0, 1]), (2, 1), seed=0)
