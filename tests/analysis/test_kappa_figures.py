"""Figures of curves, their approximations and maps of kappa."""

from __future__ import annotations

import numpy as np
import pytest
from kappa_curves import U, made
from matplotlib.figure import Figure

from analysis.kappa.curves import kappa_map, measure
from analysis.kappa_figures import approximation, approximations, kappa_maps
from analysis.kappa_figures import kappa_map as draw_map


def test_a_figure_shows_the_curve_its_approximation_and_the_band():
    (result,) = measure([made(u=U, wave=np.sin(6 * U))])
    axes = Figure().subplots()
    approximation(result.features[1], 0.05, axes)
    curve, best = (line.get_ydata() for line in axes.lines)
    assert curve == pytest.approx(result.features[1].curve)
    assert np.abs(curve - best).max() <= 0.05 + 1e-6
    (band,) = axes.collections
    assert np.ptp(band.get_paths()[0].vertices[:, 1]) == pytest.approx(np.ptp(best) + 0.1, abs=1e-4)


def test_one_curve_of_two_scorers_has_one_facet():
    results = measure([made("v1", u=U, wave=np.sin(6 * U)), made("a5", wave=np.sin(6 * U) * (1 + 1e-15))])
    figure = approximations(results, 0.05)
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title().split(":")[0] for axes in shown] == ["u", "wave"]
    assert shown[1].texts[0].get_text() == "v1, a5"


def test_a_map_shows_every_class_and_frames_the_choice():
    axes = Figure().subplots()
    draw_map(np.array([[2, 1], [1, 0]]), (0.01, 0.05), (8, 16), axes, (0.05, 16))
    assert [text.get_text() for text in axes.texts] == ["2", "1", "1", "0"]
    (frame,) = axes.patches
    assert (frame.get_x(), frame.get_y()) == (0.5, 0.5)
    figure = kappa_maps({"v1": kappa_map([U]), "a5": kappa_map([-U])}, chosen=(0.04, 16))
    assert [axes.get_title() for axes in figure.axes if axes.get_visible()] == ["v1", "a5"]
    assert not any(axes.patches for axes in figure.axes)
