"""Scores against those of the authors' own code on the same weights and images; README.md names the code."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor, nn

from bench.masks.allocation import global_, per_output
from bench.masks.build import build_masks
from bench.masks.n_m import n_m
from bench.masks.order import keep_order
from bench.models.inputs import input_moments
from bench.models.tensors import MaskSet, ScoreMap
from bench.models.units import find_units
from bench.models.view import Calibration, ModelView
from bench.scorers.fisher import fisher
from bench.scorers.gradient import snip, taylor
from bench.scorers.grasp import grasp
from bench.scorers.lamp import lamp
from bench.scorers.obs import inverse_diagonal, obs
from bench.scorers.synflow import synflow, synflow_oneshot
from bench.scorers.wanda import wanda
from tests.reference.authors.inputs import draw, network, plain_network, stored, uniform, view_of

VALUES = stored("scorers")
#: The values are stored with 12 significant digits.
PRECISION = 1e-9

Scorer = Callable[..., ScoreMap]


def _assert_equal(
    ours: Mapping[str, Tensor], theirs: Mapping[str, list[float]], *, factor: float = 1.0, precision: float = PRECISION
) -> None:
    assert list(theirs) == list(ours)
    for name, values in theirs.items():
        expected = factor * torch.tensor(values, dtype=torch.float64)
        torch.testing.assert_close(ours[name].flatten(), expected, rtol=precision, atol=1e-15)


def _assert_kept(masks: Mapping[str, Tensor], kept: Mapping[str, str]) -> None:
    for name, flags in kept.items():
        assert "".join("01"[int(keep)] for keep in masks[name].flatten()) == flags, name


def _global_masks(view: ModelView, scores: ScoreMap, keep: int) -> MaskSet:
    order = keep_order(view.units, scores, view.magnitudes())
    return build_masks(view.units, order, global_(view.units, scores, 1 - keep / view.units.total, view))


@pytest.mark.parametrize(("scorer", "name"), [(snip, "snip"), (synflow_oneshot, "synflow"), (lamp, "lamp")])
def test_scores_are_the_authors(scorer: Scorer, name: str) -> None:
    _assert_equal(scorer(view_of(network()), draw(), None), VALUES[name]["scores"])


def test_fisher_is_woodfishers_diagonal_pruner() -> None:
    """Stored is its statistic less the 1e-4 that it adds to every weight; the difference costs digits."""
    scores = fisher(view_of(network()), draw(), None)
    for name, values in VALUES["fisher"]["scores"].items():
        theirs = torch.tensor(values, dtype=torch.float64)
        torch.testing.assert_close(scores[name].flatten(), theirs, rtol=PRECISION, atol=1e-14)


@pytest.mark.parametrize("temperature", [1, 200])
def test_grasp_is_wangs_up_to_sign_and_scale(temperature: int) -> None:
    """Their gradients are sums over two halves of the draw, 2 g and then 2 (H (2 g)), with the sign reversed."""
    view, values = view_of(network()), VALUES[f"grasp_{temperature}"]
    scores = grasp(view, draw(), None, temperature=temperature)
    _assert_equal(scores, values["scores"], factor=-1 / 4)
    _assert_kept(_global_masks(view, scores, 103), values["kept"])  # 102 to remove; the last of them is kept


@pytest.mark.parametrize("temperature", [1, 200])
def test_grasp_is_tanakas_up_to_their_normalisation(temperature: int) -> None:
    scores = grasp(view_of(network()), draw(), None, temperature=temperature)
    total = torch.stack([score.sum() for score in scores.values()]).sum().abs() + 1e-10
    normalised = {name: score / total for name, score in scores.items()}
    _assert_equal(normalised, VALUES[f"grasp_synflow_{temperature}"]["scores"])


def test_synflow_keeps_the_weights_of_prune_loop() -> None:
    """100 rounds to a density of 0.25."""
    view = view_of(network())
    scores = synflow(view, draw(), None, 0.75)
    _assert_kept(_global_masks(view, scores, 51), VALUES["synflow"]["kept"])


@pytest.mark.parametrize("method", ["gate", "batchnorm"])
def test_taylor_of_channels_is_nvidias_gate_behind_the_batchnorm(method: str) -> None:
    """Methods 22 and 31 are the same function: the gradient of a gate is gamma g_gamma + beta g_beta."""
    scores = taylor(view_of(network(), "channel"), draw(), None)
    values = VALUES["taylor"][method]
    _assert_equal({name: scores[name] for name in values}, values)


def test_taylor_without_batchnorm_is_nvidias_gate_behind_the_convolution() -> None:
    _assert_equal(taylor(view_of(plain_network(), "channel"), draw(), None), VALUES["taylor"]["plain"])


def test_taylor_differs_from_the_sum_of_squares_over_the_filter() -> None:
    """NVIDIA's method 0 adds up (g w)^2 over the weights of a filter and has no BatchNorm."""
    scores = taylor(view_of(network(), "channel"), draw(), None)
    for name, values in VALUES["taylor"]["weight"].items():
        assert not torch.allclose(scores[name], torch.tensor(values, dtype=torch.float64), rtol=0.1)


def _linear() -> tuple[ModelView, Calibration]:
    """A linear layer with 8 inputs and 6 outputs, and a draw of 5 sequences of 4 tokens."""
    layer = nn.Linear(8, 6, bias=False).double()
    layer.weight.data.copy_(uniform(31, 6, 8))
    tokens = uniform(32, 5, 4, 8)
    calibration = Calibration(tokens, torch.zeros(5, dtype=torch.int64), 2)
    net = nn.Sequential(layer).eval()
    return ModelView(net, find_units(net, "weight", (), tokens[:1])), calibration


def test_wanda_is_theirs_times_the_square_root_of_the_number_of_sequences() -> None:
    """Their inputs are rounded to single precision."""
    view, calibration = _linear()
    scores = wanda(view, calibration, None)
    _assert_equal(scores, {"0": VALUES["wanda"]["metric"]}, factor=5**0.5, precision=1e-7)
    order = keep_order(view.units, scores, view.magnitudes())
    for sparsity, kept in VALUES["wanda"]["kept"].items():
        budget = per_output(view.units, scores, float(sparsity), view)
        _assert_kept(build_masks(view.units, order, budget), {"0": kept})


def test_wanda_prunes_n_of_m_inputs_as_theirs_where_the_layer_is_not_the_first() -> None:
    """Ours leaves the first layer of a network dense; theirs has no such rule."""
    view, calibration = _linear()
    layer, tokens = view.module("0"), calibration.images
    net = nn.Sequential(nn.Linear(8, 8, bias=False).double(), layer).eval()
    net[0].weight.data.copy_(torch.eye(8))
    view = ModelView(net, find_units(net, "weight", (), tokens[:1]))
    scores = wanda(view, calibration, None)
    order = keep_order(view.units, scores, view.magnitudes())
    for pattern, kept in VALUES["wanda"]["kept_n_m"].items():
        n, m = map(int, pattern.split(":"))
        _assert_kept(build_masks(view.units, order, n_m(view.units, scores, None, view, n=n, m=m)), {"1": kept})


def test_obs_has_the_hessian_of_sparsegpt_and_its_inverse() -> None:
    view, calibration = _linear()
    (moments,) = input_moments(view.model, view.units.layers, calibration).values()
    hessian = 2 * moments.second / len(calibration)
    theirs = VALUES["obs"]
    _assert_equal({"0": hessian}, {"0": theirs["hessian"]})
    inverse = inverse_diagonal(hessian, 0.01)
    _assert_equal({"0": inverse}, {"0": theirs["inverse_diagonal"]})
    expected = uniform(31, 6, 8).square() / (2 * inverse)
    torch.testing.assert_close(obs(view, calibration, None)["0"], expected, rtol=PRECISION, atol=0)


def test_obs_differs_from_sparsegpts_criterion_except_in_the_first_column() -> None:
    """Theirs divides by the inverse of H without the inputs before j: a column is pruned after those before it."""
    view, calibration = _linear()
    ours = 2 * obs(view, calibration, None)["0"]
    theirs = torch.tensor(VALUES["obs"]["criterion"], dtype=torch.float64).view(6, 8)
    torch.testing.assert_close(ours[:, 0], theirs[:, 0], rtol=PRECISION, atol=0)
    assert bool((theirs[:, 1:] > ours[:, 1:]).all())
    ratio = (theirs / ours).max()
    assert float(ratio) == pytest.approx(1.314, abs=1e-3)
