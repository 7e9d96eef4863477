"""`prunebench kappa`: its table, its figures, a study's own curves, and every mistake."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from bench.store import schema
from bench.store.files import Artifacts
from bench.store.reader import read_database


def measured(command, *arguments):
    result = command("kappa", *arguments, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def degrees(found, basis="polynomial"):
    return {one["feature"]: one["degrees"][basis] for scorer in found["scorers"] for one in scorer["features"]}


def test_smooth_indicators_are_of_low_degree_but_lyapunov(command):
    found = measured(command, "a5_log6_smooth")
    assert degrees(found) == {"peak": 5, "variance": 11, "range": 7, "mean": 6, "lyapunov": 28, "entropy": 15}
    (scorer,) = found["scorers"]
    assert (scorer["kappa_by_design"], scorer["kappa"]) == (1, 2)
    assert all(one["interpolation"] >= one["degrees"]["polynomial"] for one in scorer["features"])


def test_raw_variance_and_mean_are_of_no_degree_up_to_64(command):
    found = measured(command, "a5")
    assert degrees(found) == {"peak": 5, "variance": None, "range": 13, "mean": None}
    features = {one["feature"]: one for one in found["scorers"][0]["features"]}
    assert features["variance"]["best_error"] == pytest.approx(0.124, abs=1e-3)
    assert features["mean"]["best_error"] == pytest.approx(0.103, abs=1e-3)
    assert features["mean"]["interpolation"] is None


def test_options_move_the_class(command):
    assert measured(command, "nl_sin")["scorers"][0]["kappa"] == 1
    assert measured(command, "nl_sin", "--smooth-degree", "6")["scorers"][0]["kappa"] == 2
    assert measured(command, "nl_sin", "--smooth-degree", "6", "--eps", "0.3")["scorers"][0]["kappa"] == 1
    assert measured(command, "nl_sin", "--smooth-degree", "9", "--basis", "cosine")["scorers"][0]["kappa"] == 2
    at = [measured(command, "sics_adaptive", "--sparsity", s)["scorers"][0]["kappa"] for s in ("0.5", "0.7")]
    assert at == [0, 1]


def test_random_features_have_an_interval_over_draws(command):
    found = measured(command, "random_spline", "rank")
    assert list(found["draws"]) == ["random_spline"]
    own = found["draws"]["random_spline"]
    assert own["draws"] == 100
    assert own["least"] <= own["low"] <= own["median"] <= own["high"] <= own["most"] < 64
    assert re.search(r"random_spline +100 ", command("kappa", "random_spline").out)


def test_the_table_reads_for_people(command):
    out = command("kappa", "rank", "v1a_peak").out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "Drawdown D Interpolation Cosine Wavelet kappa By design"
    assert "rank 0.000 1 1 3 1 0 0" in lines
    assert "v1a_peak 0.004 5 8 4 16 0 0" in lines
    assert "peak 0.004 5 8 4 16 0" in lines


def test_figures_are_written(command, tmp_path):
    result = command("kappa", "v1a_peak", "-o", tmp_path / "curves.svg", "--map", tmp_path / "map.png")
    assert result.code == 0
    assert "peak: D = 5, kappa 0" in (tmp_path / "curves.svg").read_text()
    assert (tmp_path / "map.png").read_bytes().startswith(b"\x89PNG")
    assert f"wrote {tmp_path / 'map.png'}" in result.err.replace("\n", "")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v1x"], "did you mean 'v1'?"),
        (["magnitude"], "is no function of the rank"),
        (["v1", "--basis", "cosin"], "did you mean 'cosine'?"),
        (["v1", "--eps", "0"], "above 0"),
        (["v1", "--smooth-degree", "65"], "64"),
        (["v1", "-o", "curves.bmp"], ".svg, .png or .pdf"),
        (["rank", "-o", "no-such-folder/curves.svg"], "cannot be written"),
        (["--study", "no-such-study"], "no-such-study"),
    ],
)
def test_mistakes_are_one_line_and_code_2(arguments, said, command):
    result = command("kappa", *arguments)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err


@pytest.fixture
def with_curves(finished_tiny, tmp_path):
    """A finished study whose scorer taylor is given a curve, as if it were a function of the rank."""
    folder = shutil.copytree(finished_tiny, tmp_path / "curved")
    u = np.linspace(0.1, 1, 256)
    frame = pd.DataFrame({"scorer": "taylor", "sparsity": np.nan, "draw": 0, "feature": "wave", "u": u,
                          "value": (1 + np.sin(9 * u)) / 2})  # fmt: skip
    assert list(frame) == [column.name for column in schema.CURVES]
    name = f"curves/{read_database(folder).meta['study_hash']}.parquet"
    Artifacts.of(folder).write_table(name, frame, schema.CURVES)
    return folder


def test_a_study_gives_its_own_curves(with_curves, command):
    found = measured(command, "--study", with_curves)
    assert [(scorer["scorer"], scorer["kappa"]) for scorer in found["scorers"]] == [("taylor", 1)]
    assert found["fused"] == []
    refused = command("kappa", "tailor", "--study", with_curves)
    assert refused.code == 2
    assert "did you mean 'taylor'?" in refused.err


def test_a_study_without_curves_says_so(finished_tiny, command):
    refused = command("kappa", "--study", finished_tiny)
    assert refused.code == 2
    assert "no scorer that is a function of the rank" in refused.err
