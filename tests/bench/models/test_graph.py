"""The graph of a few operations by hand: c = relu(view(a)), e = c + d."""

from __future__ import annotations

import torch

from bench.models.graph import Graph
from bench.models.products import aten

A, D = torch.ones(2, 2), torch.ones(4)
B = A.view(4)
C = B.relu()
E = C + D


def graph() -> Graph:
    made = Graph()
    made.add(aten.view, [A], [B])
    made.add(aten.relu, [B], [C])
    made.add(aten.add, [C, D], [E])
    return made


def test_readers_and_makers():
    made = graph()
    assert made.readers[id(B)] == [1]
    assert made.made_by[id(E)] == 2
    assert made.arguments(2) == [C, D] or all(map(torch.equal, made.arguments(2), [C, D]))
    assert id(A) not in made.made_by


def test_views_that_alone_read_a_tensor_are_the_same_tensor():
    made = graph()
    assert made.whole(id(A)) == id(B)
    made.add(aten.relu, [A], [A.relu()])
    assert made.whole(id(A)) == id(A)


def test_what_a_tensor_reaches_through_some_operations():
    made = graph()
    assert made.reaches(id(A), frozenset({aten.view, aten.relu}), frozenset({aten.add}))
    assert not made.reaches(id(A), frozenset({aten.view}), frozenset({aten.add}))


def test_sources_are_the_operations_behind_a_tensor_nearest_first():
    assert list(graph().sources(id(E))) == [2, 1, 0]
