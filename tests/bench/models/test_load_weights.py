"""States loaded into networks: names, kinds, values, ties."""

import copy
import warnings
from pathlib import Path

import pytest
import safetensors.torch
import torch
from checkpoint_files import assert_equal, check_message, legacy, torch_bytes
from torch import nn

from bench.core.errors import UserError
from bench.models.checkpoints import load_checkpoint, state_digest
from bench.models.digits import digits_cnn
from bench.models.load_weights import load_into


@pytest.fixture
def model():
    return digits_cnn()


def test_load_into_reports_each_kind_of_misfit(model):
    state = dict(model.state_dict())
    state["extra"] = state.pop("linear.bias")
    state["linear.weight"] = torch.zeros(3, 64)
    with pytest.raises(UserError) as caught:
        load_into(model, state, Path("x.safetensors"))
    message = str(caught.value)
    assert "x.safetensors: does not fit DigitsCNN" in message
    assert "1 missing (linear.bias)" in message
    assert "1 unexpected (extra)" in message
    assert "linear.weight (3, 64) instead of (10, 64)" in message


def test_misfit_changes_nothing(model):
    before = state_digest(model.state_dict())
    with pytest.raises(UserError):
        load_into(model, {"linear.bias": torch.ones(10)}, Path("x"))
    assert state_digest(model.state_dict()) == before


def test_batch_counter_may_be_missing(model):
    other = digits_cnn()
    state = {k: v for k, v in other.state_dict().items() if not k.endswith("num_batches_tracked")}
    load_into(model, state, Path("x"))
    assert state_digest(model.state_dict()) == state_digest(other.state_dict())


def prefixed(state, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net.", "backbone.", "a.b.c.", "model.module."],
)
def test_prefixes_are_removed_where_the_names_fit_then(model, prefix):
    other = digits_cnn()
    fitted = load_into(model, prefixed(other.state_dict(), prefix), "x")
    assert_equal(fitted, other.state_dict())
    assert_equal(model.state_dict(), other.state_dict())


def test_a_compiled_part_of_a_network(model):
    compiled = copy.deepcopy(model)
    compiled.features = torch.compile(compiled.features)
    assert any("._orig_mod." in name for name in compiled.state_dict())
    load_into(model, compiled.state_dict(), "x")
    assert_equal(model.state_dict(), {n.replace("_orig_mod.", ""): t for n, t in compiled.state_dict().items()})


def test_names_that_fit_are_kept(model):
    """A network whose own names begin like a prefix."""
    wrapped, other = (nn.ModuleDict({"module": digits_cnn()}) for _ in range(2))
    load_into(wrapped, other.state_dict(), "x")
    assert_equal(wrapped.state_dict(), other.state_dict())


@pytest.mark.parametrize("extra", ["criterion.weight", "ema.linear.bias"])
def test_a_prefix_that_not_all_names_share_is_not_removed(model, extra):
    before = state_digest(model.state_dict())
    state = prefixed(digits_cnn().state_dict(), "model.") | {extra: torch.zeros(2)}
    with pytest.raises(UserError, match=r"22 missing \(features.0.weight, .* and 18 more\); 27 unexpected \(model\."):
        load_into(model, state, "x")
    assert state_digest(model.state_dict()) == before


def test_two_names_never_become_one(model):
    state = dict(model.state_dict())
    doubled = state | {"module.linear.bias": torch.ones(10)}
    with pytest.raises(UserError, match=r"1 unexpected \(module.linear.bias\)"):
        load_into(model, doubled, "x")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_integer_weights_are_refused(model, dtype):
    before = state_digest(model.state_dict())
    state = {**digits_cnn().state_dict(), "features.3.weight": torch.ones(32, 16, 3, 3).to(dtype)}
    kind = str(dtype).removeprefix("torch.")
    with pytest.raises(
        UserError, match=f"x: features.3.weight has {kind} values instead of .* dequantise it: multiply"
    ):
        load_into(model, state, "x")
    assert state_digest(model.state_dict()) == before


def test_quantised_complex_sparse_and_empty_tensors_are_refused(model):
    weight = model.linear.weight.detach()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch will drop these tensors; old checkpoints have them
        quantised = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    for tensor, message in (
        (quantised, "has qint8 values instead of floating-point"),
        (weight.to(torch.complex64), "has complex64 values instead of floating-point weights; save its real part"),
        (weight.to_sparse(), "is sparse; save dense tensors"),
        (weight.to("meta"), "is on the meta device, without values"),
    ):
        with pytest.raises(UserError, match=f"x: linear.weight {message}"):
            load_into(model, {**model.state_dict(), "linear.weight": tensor}, "x")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_weights_are_converted(tmp_path, model, dtype):
    state = {n: t.to(dtype) if t.is_floating_point() else t for n, t in digits_cnn().state_dict().items()}
    for write in (torch_bytes, legacy, safetensors.torch.save):
        (tmp_path / "net").write_bytes(write(state))
        fitted = load_into(model, load_checkpoint(tmp_path / "net"), "x")
        assert fitted["linear.weight"].dtype == dtype
        for name, tensor in model.state_dict().items():
            assert tensor.dtype == (torch.float32 if state[name].is_floating_point() else torch.int64)
            assert torch.equal(tensor, state[name].to(tensor.dtype))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_counted(model, value):
    before = state_digest(model.state_dict())
    state = {name: tensor.clone() for name, tensor in digits_cnn().state_dict().items()}
    state["features.1.running_var"][:3] = value
    state["linear.bias"][0] = value
    message = (
        r"x: 2 tensors hold NaN or infinite values in float32 \(features.1.running_var: 3 of 16, linear.bias: 1 of 10"
    )
    with pytest.raises(UserError, match=message):
        load_into(model, state, "x")
    assert state_digest(model.state_dict()) == before
    huge = {name: tensor.double() for name, tensor in digits_cnn().state_dict().items()}
    huge["linear.bias"][0] = 1e300
    with pytest.raises(
        UserError, match=r"x: 1 tensor holds NaN or infinite values in float32 \(linear.bias: 1 of 10\)"
    ):
        load_into(model, huge, "x")


def test_infinities_of_the_network_itself_are_no_fault():
    def masked():
        net = nn.Sequential(nn.Linear(2, 2))
        net.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        return net

    net, other = masked(), masked()
    load_into(net, other.state_dict(), "x")
    assert_equal(net.state_dict(), other.state_dict())


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight


def test_tied_parameters_need_one_of_their_names(tmp_path):
    source, net = Tied(), Tied()
    safetensors.torch.save_model(source, str(tmp_path / "net"))
    state = load_checkpoint(tmp_path / "net")
    assert len(state) == 3  # one of the two weights was dropped
    load_into(net, state, "x")
    assert_equal(net.state_dict(), source.state_dict())
    assert net.first.weight is net.second.weight
    with pytest.raises(UserError, match=r"2 missing \(first.weight, second.weight\)"):
        load_into(net, {n: t for n, t in state.items() if not n.endswith(".weight")}, "x")
    with pytest.raises(UserError, match=r"x: first\.weight and second\.weight differ, but the model ties them"):
        load_into(net, {**source.state_dict(), "second.weight": torch.zeros(3, 3)}, "x")
    untied = Tied()
    untied.second.weight = nn.Parameter(torch.zeros(3, 3))
    with pytest.raises(UserError, match="1 missing"):
        load_into(untied, state, "x")


def test_hostile_tensor_names_are_shown_without_control_characters(model):
    state = {
        **model.state_dict(),
        "\x1b]0;title\x07\n": torch.zeros(1),
        "n" * 10_000: torch.zeros(1),
        "\u202e": torch.ones(1),
    }
    with pytest.raises(UserError) as caught:
        load_into(model, state, "x")
    check_message(str(caught.value), "3 unexpected (", "\\x1b]0;title\\x07\\n", "nnn...nnn", "\\u202e")
