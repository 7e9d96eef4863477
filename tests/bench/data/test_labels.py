"""Names and numbers of classes."""

from __future__ import annotations

import pytest
import torch

from bench.core.errors import UserError
from bench.data.labels import listed, number_labels, refuse_other_names


def labels(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_names_are_listed_up_to_twelve():
    assert listed(range(12)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11"
    assert listed(range(13)).endswith("11, ... (13 in all)")


@pytest.mark.parametrize(
    ("names", "others", "message"),
    [
        (("a", "b"), (), "first: has names of the classes, second has none"),
        ((), ("a",), "second: has names of the classes, first has none"),
        (("a", "b"), ("a",), "second: has 1 names of classes, first has 2"),
        (("a", "b"), ("a", "c"), "second: class 1 is 'c', in first it is 'b'"),
    ],
)
def test_names_that_differ_between_files_are_refused(names, others, message):
    refuse_other_names("first", names, "second", names)
    with pytest.raises(UserError, match=message):
        refuse_other_names("first", names, "second", others)


def test_unnamed_labels_start_at_zero_and_are_named_by_their_number():
    train, test, names = number_labels("data", labels(3, 4, 5, 4), labels(5, 3), ())
    assert (train.tolist(), test.tolist(), names) == ([0, 1, 2, 1], [2, 0], ("3", "4", "5"))


def test_named_labels_are_used_as_they_are():
    train, test, names = number_labels("data", labels(1, 2), labels(2), ("a", "b", "c"))
    assert (train.tolist(), test.tolist(), names) == ([1, 2], [2], ("a", "b", "c"))


@pytest.mark.parametrize(
    ("train", "test", "names", "message"),
    [
        ((0, 3), (0,), ("a", "b", "c"), "labels from 0 to 3 for 3 classes; expected 0 to 2"),
        ((0, 1), (2,), (), "test images have labels that no training image has: 2"),
        ((0, 1, 3), (0,), (), "labels from 0 to 3 without names, but no training image of label 2"),
    ],
)
def test_labels_without_a_class_are_refused(train, test, names, message):
    with pytest.raises(UserError, match=message):
        number_labels("data", labels(*train), labels(*test), names)
