"""What is stored of a network: shares that can be pruned, and why the rest is left dense."""

from __future__ import annotations

from bench.store.network import Network

CONV = {"layer": "conv", "parameters": 60, "macs": 70, "units": {"weight": 60}, "dense": {"weight": None}}
HEAD = {"layer": "head", "parameters": 30, "macs": 20, "units": {}, "dense": {"weight": "head: excluded by the study"}}
LAYERS = tuple({**layer, "dense": {**layer["dense"], "channel": "no channels: 1 x 1"}} for layer in (CONV, HEAD))
NETWORK = Network(LAYERS, 100, 10, 100, 10, 4, ("a note",))


def test_json_is_read_as_it_was_written():
    assert Network.from_json(NETWORK.to_json()) == NETWORK


def test_shares_of_a_granularity_add_up_to_the_whole():
    parameters, macs = NETWORK.prunable("weight")
    rest = NETWORK.left_dense("weight")
    assert (parameters, macs) == (0.6, 0.7)
    assert round(parameters + sum(one.parameters for one in rest), 9) == 1
    assert round(macs + sum(one.macs for one in rest), 9) == 1
    assert rest[0].reason == "head"


def test_much_that_is_left_dense_is_a_warning():
    first, note = NETWORK.warnings(["weight"])
    assert first.startswith("30 % of the MACs are left dense at granularity weight: head (20 %)")
    assert note == "a note"
    nothing, _ = NETWORK.warnings(["channel"])
    assert nothing == "nothing to prune at granularity channel: its cells are skipped"


def test_the_description_has_a_summary_per_granularity():
    found = NETWORK.describe("digits", "net", ["weight", "channel"])
    assert list(found["summary"]) == ["weight", "channel"]
    assert found["explanations"] == ["head: excluded by the study", "no channels: 1 x 1"]
