"""What is known of a weight."""

from bench.models.weights import Inventory, Weight


def test_prunable_weights_are_those_without_a_reason():
    kept, left = (
        Weight("a", "a.weight", (), "convolution", (1, 1, 1, 1)),
        Weight("b", "b.weight", (), "embedding", (3, 2), reason="embedding: its rows are looked up, not multiplied"),
    )
    assert Inventory((kept, left), 7, 10, 0).prunable == (kept,)


def test_transposed_convolutions_hold_filters_and_matrices_do_not():
    kinds = ("convolution", "transposed convolution", "matrix product")
    assert [Weight("a", "a.weight", (), kind, (1, 1)).is_convolution for kind in kinds] == [True, True, False]
