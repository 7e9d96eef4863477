"""What is left dense: read from the dense models, next to every speed-up, and a warning where it is much."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from analysis.checklist import checklist
from analysis.errors import AnalysisError
from analysis.evidence.evidence import Evidence
from analysis.evidence.load import read_parquet, write_parquet
from analysis.evidence.networks import PrunedNetwork, pruned_networks, read_networks, warnings
from analysis.formats import NONE
from analysis.report.content import sections
from analysis.report.markup import latex_table, numeric_columns
from analysis.report.render import render
from analysis.tables import layers_table, settings_table
from bench.store.registration_level import NOT_REGISTERED, Level

pytestmark = pytest.mark.long

UNREGISTERED = Level(NOT_REGISTERED, "the evidence has no registration")

SMALL = {"models": ("cnn",), "seeds": 2, "sparsities": (0.5,), "recalibrations": ("none",), "repairs": False,
         "scorers": ("magnitude", "l2")}  # fmt: skip


def table(data, section, name):
    found = sections(Evidence.of(data), [], UNREGISTERED)
    [found] = [one for own in found if own.id == section for one in own.tables if one.name == name]
    return found


def test_every_data_set_and_model_has_its_network(study, network, with_networks):
    one, other = network(head=2), network(head=20)
    data = with_networks(study(seeds=2), cnn=one, vit=other)
    assert read_networks(data) == {("digits", "cnn"): one, ("digits", "vit"): other}
    assert read_networks(with_networks(data, vit=other)) == {("digits", "vit"): other}


def test_layers_come_with_shares_that_add_up(network):
    frame = layers_table(network(head=10, activations=30), ["weight", "channel"])
    assert frame.columns.tolist() == [
        "Layer", "Kind", "Shape", "Parameters (%)", "MACs (%)", "Units (weight)", "Units (channel)",
    ]  # fmt: skip
    assert frame["Layer"].tolist()[:3] == ["0.fc1", "0.fc2", "head"]
    assert frame["Units (weight)"].tolist() == ["32", "32", "dense: head", "dense", "dense"]
    assert frame["Units (channel)"].tolist() == ["8", "cut along", "dense: head", "dense", "dense"]
    assert frame["Shape"][0] == "8 \N{MULTIPLICATION SIGN} 4"
    for share in ("Parameters (%)", "MACs (%)"):
        assert frame[share].astype(float).sum() == pytest.approx(100, abs=0.03)
        assert share in numeric_columns(frame)
    assert frame["MACs (%)"].tolist() == ["30.00", "30.00", "10.00", "0.00", "30.00"]


def test_a_layer_that_is_called_several_times_shows_its_calls(network):
    plain = network()
    twice = dataclasses.replace(plain, layers=({**plain.layers[0], "calls": 2}, *plain.layers[1:]))
    assert "Calls" not in layers_table(plain, ["weight"])
    assert layers_table(twice, ["weight"])["Calls"].tolist() == ["2", "1", "1", NONE]


@pytest.mark.parametrize(("blocks", "folded"), [(1, False), (30, True)])
def test_a_table_of_many_layers_is_folded(study, network, with_networks, blocks, folded):
    data = with_networks(study(**SMALL), cnn=network(blocks=blocks))
    found = table(data, "dense", "layers-digits-cnn")
    assert found.folded == folded
    assert len(found.frame) == 2 * blocks + 2
    assert "head: excluded by the study." in found.notes
    assert [note for note in found.notes if note.startswith("cut along: ")]
    text = render(Evidence.of(data), [])["index.html"].decode()
    assert ("Layers of cnn on digits (62 rows)</summary>" in text) == folded


@pytest.mark.parametrize(("head", "warned"), [(4, False), (5, False), (6, True)])
def test_more_than_5_percent_of_the_macs_left_dense_is_a_warning(study, network, with_networks, head, warned):
    data = with_networks(study(**SMALL, granularities=("weight",)), cnn=network(head=head))
    found = table(data, "accuracy", "settings")
    expected = f"cnn on digits: {head}.0 % of the MACs are left dense at granularity weight: head ({head}.0 %)."
    assert list(found.warnings) == ([expected] if warned else [])
    files = {name: content.decode() for name, content in render(Evidence.of(data), []).items()}
    page = files["index.html"].replace("\N{NO-BREAK SPACE}", " ")
    assert (f'<p class="warning"><strong>Warning:</strong> {expected}</p>' in page) == warned
    assert ("> **Warning:** cnn on digits" in files["report.md"]) == warned
    outside = page[: page.index("<details><summary>Every setting")]
    assert (expected in outside) == warned  # shown while the table is folded


def test_notes_on_a_network_are_warnings_once(study, network, with_networks):
    data = with_networks(study(**SMALL), cnn=network(head=4, notes=("BatchNorm without running statistics",)))
    assert warnings(pruned_networks(data.rows, read_networks(data))) == [
        "cnn on digits: BatchNorm without running statistics."
    ]


def test_next_to_every_speed_up_stands_what_is_left_dense(study, network, with_networks):
    data = with_networks(study(seeds=2), cnn=network(head=4), vit=network(head=10, activations=30))
    found = table(data, "accuracy", "settings")
    columns = found.frame.columns.tolist()
    assert columns.index("MACs left dense (%)") == columns.index("Theoretical speed-up") + 1
    shown = found.frame.groupby("Model")["MACs left dense (%)"].unique()
    assert {model: list(values) for model, values in shown.items()} == {"cnn": ["4.0"], "vit": ["40.0"]}
    assert [note.partition(":")[0] for note in found.notes] == [
        f"{model} on digits, {granularity}" for model in ("cnn", "vit") for granularity in ("weight", "channel")
    ]
    assert "left dense: head (16 %, 4.0 %), biases, normalisation and other vectors (20 %, 0 %)." in found.notes[0]
    assert "MACs" in found.caption
    latex = render(Evidence.of(data), [])["tables/settings.tex"].decode()
    assert "cnn on digits, weight: 64 \\% of parameters" in latex
    assert "Warning" not in latex


@pytest.mark.parametrize(
    ("allocation", "reason"),
    [("2:4", "pattern does not fit"), ("n:m(n=1)", "pattern does not fit"), ("uniform_plus", "kept dense")],
)
def test_layers_that_an_allocation_leaves_dense_count_for_its_rows_alone(
    study, network, with_networks, allocation, reason
):
    data = with_networks(study(**SMALL, granularities=("weight",)), cnn=network(head=4))
    plain = data.rows[data.rows["allocation"].eq("uniform")].iloc[:1].assign(
        allocation=allocation, notes=json.dumps({"dense_layers": ["0.fc1"]}), cell="2" * 64, position=len(data.rows)
    )  # fmt: skip
    rows = pd.concat([data.rows, plain], ignore_index=True)
    pruned = pruned_networks(rows, read_networks(data))
    assert [one.name for one in pruned] == ["cnn on digits, weight", f"cnn on digits, weight, {allocation}"]
    assert [one.dense_macs for one in pruned] == pytest.approx([0.04, 0.52])
    frame = settings_table(rows, pruned)
    assert dict(zip(frame["Allocation"], frame["MACs left dense (%)"], strict=True)) == {
        "uniform": "4.0", "global": "4.0", allocation: "52.0",
    }  # fmt: skip
    assert warnings(pruned) == [
        f"cnn on digits: under allocation {allocation} 52 % of the MACs are left dense at granularity weight: "
        f"{reason} (48 %), head (4.0 %)."
    ]


def test_an_allocation_repeats_no_warning(network):
    much = PrunedNetwork("digits", "cnn", "weight", None, network(head=30))
    little_more = PrunedNetwork("digits", "cnn", "weight", "2:4", network(head=32))
    assert len(warnings([much, little_more])) == 1


def test_a_speed_up_that_does_not_exist_is_left_out_of_the_mean_and_counted(study):
    data = study(**SMALL | {"seeds": 4}, granularities=("channel",), allocations=("uniform",))
    rows = data.rows.copy()
    magnitude, l2 = (rows.index[rows["scorer"].eq(name)] for name in ("magnitude", "l2"))
    rows.loc[magnitude, "speedup"] = [2.0, np.nan, 5.0, np.nan]
    rows.loc[l2, "speedup"] = np.nan
    rows.loc[rows["speedup"].isna() & rows["scorer"].ne("dense"), "emptied_layers"] = 3
    frame = settings_table(rows)
    shown = dict(zip(frame["Scorer"], frame["Theoretical speed-up"], strict=True))
    assert shown == {"magnitude": "3.50 (2 of 4)", "l2": NONE}
    assert "Theoretical speed-up" in numeric_columns(frame)
    changed = dataclasses.replace(data, rows=rows)
    assert "no product remains has no speed-up" in table(changed, "accuracy", "settings").caption
    assert "no product remains has no speed-up" not in table(data, "accuracy", "settings").caption
    [met] = [row for row in checklist(Evidence.of(changed)).to_dict("records") if "speed-up" in row["Requirement"]]
    assert met["Met"] == "met"
    assert met["Here"].endswith("; 6 cells have none, since no product remains")


@pytest.mark.parametrize("emptied", [0, None])
def test_a_speed_up_that_is_missing_without_a_cause_is_missing(study, emptied):
    data = study(**SMALL)
    rows = data.rows.copy()
    rows.loc[rows.index[-1], ["speedup", "emptied_layers"]] = [np.nan, emptied]
    [met] = [
        row for row in checklist(Evidence.of(dataclasses.replace(data, rows=rows))).to_dict("records")
        if "speed-up" in row["Requirement"]
    ]  # fmt: skip
    assert (met["Met"], met["Here"]) == ("not met", "missing for some cells")


def test_rows_of_schema_1_say_what_their_speed_up_counts(study, of_schema_1):
    data = of_schema_1(study(**SMALL))
    found = table(data, "accuracy", "settings")
    assert "Conv2d and Linear layers alone" in found.caption
    assert (found.notes, found.warnings) == ((), ())
    assert "MACs left dense (%)" not in found.frame
    [dense] = [s for s in sections(Evidence.of(data), [], UNREGISTERED) if s.id == "dense"]
    assert [t.name for t in dense.tables] == ["dense"]
    assert any("store schema 1" in sentence for sentence in dense.text)
    words = dict(table(data, "methods", "words").frame.itertuples(index=False))
    assert "schema 1" in words["theoretical speed-up"]
    assert "left dense" not in words


def test_rows_of_today_do_not_mention_schema_1(study, network, with_networks):
    page = render(Evidence.of(with_networks(study(**SMALL), cnn=network())), [])["index.html"].decode()
    assert "schema 1" not in page
    assert "<td>left dense</td>" in page


def without(text, *path):
    found = json.loads(text)
    place = found
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return json.dumps(found)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[:40], "Invalid JSON"),
        (lambda text: without(text, "macs"), "macs: Field required"),
        (
            lambda text: without(text, "layers", 0, "units", "weight"),
            "neither units nor a reason at granularity weight",
        ),
        (lambda text: without(text, "layers", 1, "dense", "channel"), "0.fc2 has no entry for granularity channel"),
        (lambda text: text.replace('"parameters": 16', '"parameters": -16'), "greater than or equal to 0"),
        (lambda text: text.replace('"notes": []', '"notes": [7]'), "valid string"),
        (lambda text: f"[{text}]", "object"),
    ],
)
def test_a_damaged_network_is_refused_in_one_line(study, network, with_networks, tmp_path, damage, message):
    data = with_networks(study(**SMALL), cnn=network())
    write_parquet(data, tmp_path / "sound.parquet")
    assert read_networks(read_parquet(tmp_path / "sound.parquet")) == {("digits", "cnn"): network()}
    damaged = data.dense.assign(network=[damage(text) for text in data.dense["network"]])
    write_parquet(dataclasses.replace(data, dense=damaged), tmp_path / "data.parquet")
    with pytest.raises(AnalysisError, match=re.escape(message)) as error:
        read_parquet(tmp_path / "data.parquet")
    assert "the network of cnn on digits" in str(error.value)
    assert "\n" not in str(error.value)


def test_names_of_layers_are_text_everywhere(study, network, with_networks):
    plain, name = network(), '<img src=x onerror="x">|*a_b*\\input{x}'
    layer = {**plain.layers[0], "layer": name, "kind": name, "dense": {"weight": f"{name}: {name}", "channel": None}}
    layer |= {"units": {"channel": 3}}
    hostile = dataclasses.replace(plain, layers=(layer, *plain.layers[1:]), notes=(name,))
    data = Evidence.of(with_networks(study(**SMALL), cnn=hostile))
    files = {n: c.decode() for n, c in render(data, []).items()}
    assert "<img src=x" not in files["index.html"]
    assert "<img src=x" not in files["report.md"]
    assert "\\input{" not in files["tables/layers-digits-cnn.tex"]
    assert "&lt;img src=x" in files["index.html"]


def test_notes_stand_below_a_latex_table():
    frame = pd.DataFrame({"a": ["1"]})
    text = latex_table(frame, "Title", ["50 % of a_b"])
    assert text.endswith("\\end{longtable}\n\\par{\\footnotesize 50 \\% of a\\_b\\par}\n")
    assert latex_table(frame, "Title").endswith("\\end{longtable}\n")
