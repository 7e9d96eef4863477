"""The report folder: complete, repeatable, self-contained, and safe against any name."""

import dataclasses
import functools
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser

import jinja2
import numpy as np
import pandas as pd
import pytest

from analysis.errors import AnalysisError
from analysis.evidence.evidence import Evidence
from analysis.evidence.load import read_parquet, write_additional, write_parquet
from analysis.report import across
from analysis.report.content import sections
from analysis.report.render import render_report, template_environment
from bench.store import schema
from bench.store.reader import typed
from bench.store.registration_level import NOT_REGISTERED, Level

pytestmark = pytest.mark.long

CLAIMS = "version: 2\ninclude: [sics, asr]\n"
SMALL = {
    "models": ("cnn",),
    "seeds": 2,
    "sparsities": (0.5,),
    "recalibrations": ("none",),
    "scorers": ("magnitude", "l2"),
}
HOSTILE = '<script>alert("x")</script>'


@pytest.fixture(scope="module", autouse=True)
def _few_repetitions():
    """A report's bootstraps of the mixed model take longer than all the rest of a small one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(across, "family_model", functools.partial(across.family_model, repetitions=9))
        yield


@pytest.fixture
def folder(tmp_path):
    def _folder(data, claims=CLAIMS, name="study"):
        path = tmp_path / name
        (path / "report").mkdir(parents=True)
        write_parquet(data, path / "report" / "data.parquet")
        if claims is not None:
            (path / "claims.yaml").write_text(claims)
        return path

    return _folder


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
    """The report folder of a sound study, to look at only."""
    path = tmp_path_factory.mktemp("sound")
    (path / "report").mkdir()
    write_parquet(study(), path / "report" / "data.parquet")
    (path / "claims.yaml").write_text(CLAIMS)
    return render_report(path).parent


def contents(path):
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }


class Page(HTMLParser):
    """Collects tags, and every address that a page would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.headings = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for key, value in attrs if key in ("src", "href") and value]


def test_a_report_rebuilds_byte_for_byte_from_its_own_data(report, tmp_path):
    other = tmp_path / "elsewhere"
    (other / "report").mkdir(parents=True)
    shutil.copy(report / "data.parquet", other / "report")
    shutil.copy(report.parent / "claims.yaml", other)
    render_report(other)
    assert contents(other / "report") == contents(report)


def test_manifest_lists_every_file_with_its_hash(report):
    listed = json.loads((report / "manifest.json").read_text())
    found = contents(report)
    found.pop("manifest.json")
    assert listed == found
    assert {"index.html", "report.md", "data.parquet", "records.json"} <= set(listed)
    assert any(name.startswith("figures/") for name in listed)
    assert not [name for name in contents(report.parent) if "/." in name or name.startswith(".")]


def test_the_page_fetches_nothing(report):
    text = (report / "index.html").read_text()
    addresses = Page(text).addresses
    assert addresses
    assert all(address.startswith(("#", "data:image/svg+xml;base64,")) for address in addresses)
    assert "script" not in Page(text).tags


def test_sections_come_in_their_order_verdicts_first(report):
    text = (report / "index.html").read_text()
    order = re.findall(r'<section id="(\w+)">', text)
    assert order == [
        "verdicts", "robustness", "accuracy", "escape", "repairs", "overlap", "across", "images", "dense", "checks",
        "fates", "checklist", "methods", "provenance",
    ]  # fmt: skip
    assert (
        text.index("<caption>Exploratory verdicts") < text.index("Exploratory.") < text.index('<section id="accuracy">')
    )


def test_every_claim_is_folded_and_stands_with_its_paper(report):
    text = (report / "index.html").read_text()
    records = json.loads((report / "records.json").read_text())
    folded = re.findall(r'<details class="claim"><summary>(.*?): ([a-z ]+)</summary>', text)
    assert sorted(folded) == sorted((claim["id"], claim["verdict"]) for claim in records)
    parts = ("2605-09345", "2605-21426", "untested")
    tables = "\n".join((report / "tables" / f"verdicts-{part}.tex").read_text() for part in parts)
    rows = [line for line in tables.splitlines() if " & " in line]
    shown = {row.split(" & ")[0].partition(" (")[0] for row in rows} - {"Claim"}
    assert shown == {claim["id"].partition(" (")[0] for claim in records}


def test_scorers_across_settings_are_described_and_nothing_is_decided(report):
    text = (report / "index.html").read_text()
    section = text[text.index('<section id="across">') : text.index('<section id="images">')]
    assert "Granularity channel, allocation uniform: the scorers differ (F = " in section
    assert "9 samples, so none is under 0.10" in section
    assert "A picture of the ranks, not a test" in section
    assert text.index("Exploratory.") < text.index(section) < text.index('<section id="dense">')


@pytest.fixture(scope="module")
def fused_report(fused, own_sparsities, tmp_path_factory):
    """The report folder of a study with feature scorers, searched with a small budget, EMP and 2:4."""
    path = tmp_path_factory.mktemp("fused")
    (path / "report").mkdir()
    data = own_sparsities(fused(searches=("equal", "dbo(evaluations=60)"), budget=60, models=("cnn",)))
    write_parquet(data, path / "report" / "data.parquet")
    write_additional(data, "curves", path / "report" / "curves.parquet")
    (path / "claims.yaml").write_text(CLAIMS)
    return render_report(path).parent


def test_a_study_with_searches_has_sections_on_them(fused_report):
    text = (fused_report / "index.html").read_text()
    order = re.findall(r'<section id="(\w+)">', text)
    assert order == [
        "verdicts", "robustness", "accuracy", "escape", "searches", "complexity", "kappa", "repairs", "overlap", "emp",
        "across", "images", "dense", "checks", "fates", "checklist", "methods", "provenance",
    ]  # fmt: skip
    assert "the ten sections that follow" in text
    assert "the six sections that follow" not in text
    assert {"curves.svg", "features-channel-uniform.svg", "searches-channel-uniform.svg"} <= {
        figure.name for figure in (fused_report / "figures").iterdir()
    }


def test_a_study_that_kept_its_alignment_has_a_section_on_it(study, folder):
    data = study(**SMALL, granularities=("channel",), allocations=("uniform",), repairs=False)
    columns = [
        "group",
        "calibration_draw",
        "calibration_images",
        "calibration_batch",
        "scorer",
        "search",
        "granularity",
    ]
    cells = data.rows.loc[data.rows["scorer"].ne("dense"), columns]
    layers = pd.DataFrame(
        {"layer": ["conv", "fc"], "units": 50, "rho": [0.5, 0.7], "window_units": 9, "window_rho": 0.1}
    )
    alignment = typed(cells.assign(allocation=None, sparsity=0.5).merge(layers, how="cross"), schema.ALIGNMENT)
    path = folder(data)
    write_additional(dataclasses.replace(data, alignment=alignment), "alignment", path / "report" / "alignment.parquet")
    text = render_report(path).read_text()
    order = re.findall(r'<section id="(\w+)">', text)
    assert order.index("alignment") == order.index("overlap") + 1
    assert "near the threshold of 50 % sparsity" in text
    assert "0.60" in (path / "report" / "tables" / "alignment.tex").read_text()  # the mean of both layers
    assert (path / "report" / "figures" / "alignment-channel-uniform.svg").exists()


def test_a_small_budget_is_stated_first_and_with_every_searched_score(fused_report):
    text = (fused_report / "index.html").read_text()
    section = text[text.index('<section id="searches">') :]
    first = section[section.index("<p>") : section.index("</p>")]
    assert "Small search budget: dbo (60 evaluations), where 600 evaluations are the rule." in first
    lines = 0
    for name in ("settings", "searches", "searches-magnitude", "searches-equal", "search-summary", "overlap"):
        for line in (fused_report / "tables" / f"{name}.tex").read_text().splitlines():
            assert ("dbo" in line) == ("dbo (60 evaluations)" in line)
            lines += "dbo" in line
    assert lines > 30


def test_a_full_budget_is_not_remarked_on(fused, folder):
    text = render_report(folder(fused(**SMALL))).read_text()
    assert "v1 + dbo" in text
    assert "evaluations)" not in text
    assert "Small search budget" not in text


def test_a_report_with_curves_is_self_contained(fused_report, tmp_path):
    assert "curves.parquet" in json.loads((fused_report / "manifest.json").read_text())
    other = tmp_path / "elsewhere"
    (other / "report").mkdir(parents=True)
    for name in ("data.parquet", "curves.parquet"):
        shutil.copy(fused_report / name, other / "report")
    shutil.copy(fused_report.parent / "claims.yaml", other)
    render_report(other)
    assert contents(other / "report") == contents(fused_report)


def test_words_are_explained_where_they_are_used(report, fused_report):
    plain, fused = ((path / "tables" / "words.tex").read_text() for path in (report, fused_report))
    for word in (
        "over-fit &",
        "feature scorer &",
        "kappa &",
        "D, D\\_eps &",
        "wiggle premium &",
        "N\\_eff &",
        "dbo (dung beetle optimizer)",
        "2:4 (2 of every 4",
    ):
        assert word in fused
        assert word not in plain


def test_a_study_with_equal_weights_alone_says_that_nothing_was_searched(fused, folder):
    text = render_report(folder(fused(**SMALL, searches=("equal",)))).read_text()
    assert "The study has equal weights only: nothing was searched." in text
    assert "search-summary" not in text


def test_unfinished_searches_are_said_to_be(fused, folder):
    data = fused(**SMALL)
    searched = data.rows["search"].ne("none")
    rows = data.rows.assign(
        state=data.rows["state"].where(~searched, None), notes=data.rows["notes"].where(~searched, None)
    )
    text = render_report(folder(dataclasses.replace(data, rows=rows))).read_text()
    assert "No search was finished." in text


def test_names_from_outside_cannot_act(study, folder):
    data = study(
        models=("cnn",),
        scorers=("magnitude", "rank", HOSTILE, "a_b%$&#{}~^\\|"),
        seeds=3,
        allocations=("uniform",),
    )
    rows = data.rows.assign(model=HOSTILE)
    rows["reason"] = rows["reason"].where(rows.index != 5, HOSTILE)
    rows["state"] = rows["state"].where(rows.index != 5, "failed")
    data = dataclasses.replace(
        data, rows=rows, dense=data.dense.assign(model=HOSTILE), meta={**data.meta, "name": HOSTILE}
    )
    path = folder(data)
    text = render_report(path).read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "<script" not in (path / "report" / "report.md").read_text()
    tex = (path / "report" / "tables" / "settings.tex").read_text()
    assert r"a\_b\%\$\&\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{}\textbar{}" in tex
    for figure in (path / "report" / "figures").iterdir():
        assert "<script" not in figure.read_text()
        assert re.fullmatch(r"[\w-]+\.svg", figure.name)


def test_every_table_in_latex_has_rows_of_one_width(report):
    for table in (report / "tables").iterdir():
        lines = [line for line in table.read_text().splitlines() if line.endswith(r"\\") and "caption" not in line]
        widths = {len(re.findall(r"(?<!\\)&", line)) for line in lines}
        assert len(widths) == 1, table.name


def test_an_unknown_name_in_a_template_is_an_error():
    environment = template_environment(autoescape=True)
    with pytest.raises(jinja2.UndefinedError):
        environment.from_string("{{ nothing_of_that_name }}").render()


def test_one_model_per_architecture_has_no_interval(study, folder, recwarn):
    data = study(models=("resnet20", "resnet32"), seeds=1, granularities=("weight",))
    path = render_report(folder(data))
    text = path.read_text()
    assert "descriptive only" in text
    assert "BCa interval (%" not in text
    assert "one model each: no intervals" in text
    assert "The mixed model of scorer families was not fitted: one model per architecture." in text
    assert "without bands, as there is one model per architecture" in text
    assert "this checkpoint" in text[text.index('<section id="images">') :]
    assert not (path.parent / "tables" / "images-crossed.tex").exists()
    assert not recwarn.list


def test_an_incomplete_study_is_reported_with_what_is_left(study, folder):
    data = study(seeds=3, granularities=("weight",), allocations=("uniform",))
    rows = data.rows.copy()
    blank = rows.index[rows["train_seed"].eq(2)]
    for column in ("state", "mask", "checkpoint", "evaluation", "device_class"):
        rows.loc[blank, column] = None
    rows.loc[blank, "accuracy"] = np.nan
    text = render_report(folder(dataclasses.replace(data, rows=rows))).read_text()
    assert f"{len(blank):,} to do" in text
    assert "2 of 3" in text


def test_a_study_in_which_nothing_ran_yet_still_has_a_report(study, folder):
    data = study(seeds=2)
    rows = data.rows.copy()
    for column in ("state", "mask", "checkpoint", "evaluation", "device_class", "shared_with"):
        rows[column] = pd.Series([None] * len(rows), dtype="object")
    for column in ("accuracy", "loss", "dense_accuracy"):
        rows[column] = np.nan
    empty = dataclasses.replace(data, rows=rows, checks=data.checks.iloc[:0], dense=data.dense.iloc[:0])
    text = render_report(folder(empty)).read_text()
    assert "0 of" in text
    assert "No cell was evaluated a second time." in text


def test_without_claims_the_report_says_so(study, folder):
    text = render_report(folder(study(seeds=2, granularities=("weight",)), claims=None)).read_text()
    assert "The study states no claims." in text


def test_files_of_an_earlier_report_go_and_foreign_files_stay(study, folder):
    path = folder(study(seeds=2, granularities=("channel",), repairs=False))
    render_report(path)
    (path / "report" / "notes.txt").write_text("mine")
    assert (path / "report" / "figures" / "accuracy-channel-uniform.svg").exists()
    write_parquet(study(seeds=2, granularities=("weight",), allocations=("global",)), path / "report" / "data.parquet")
    render_report(path)
    assert not (path / "report" / "figures" / "accuracy-channel-uniform.svg").exists()
    assert (path / "report" / "notes.txt").read_text() == "mine"


def test_nothing_to_report_is_said_in_one_line(tmp_path):
    with pytest.raises(AnalysisError, match=r"neither results\.db nor report/data\.parquet"):
        render_report(tmp_path)


def test_checklist_of_a_study_that_meets_little(study):
    found = {s.id: s for s in sections(Evidence.of(study(models=("cnn",), seeds=1)), [], Level(NOT_REGISTERED, "none"))}
    met = dict(found["checklist"].tables[0].frame[["Requirement", "Met"]].itertuples(index=False))
    assert met == {
        "At least 3 pairs of data set and architecture": "not met",
        "At least 5 operating points per pair": "not met",
        "Both compression and theoretical speed-up": "met",
        "Accuracy of the dense model": "met",
        "Error bars over independently trained models": "not met",
        "Random and magnitude pruning as controls": "met",
    }


def test_data_survives_the_file(study, tmp_path):
    data = study(seeds=2)
    write_parquet(data, tmp_path / "data.parquet")
    again = read_parquet(tmp_path / "data.parquet")
    for name in ("rows", "checks", "dense"):
        pd.testing.assert_frame_equal(
            getattr(again, name).astype("object").where(getattr(again, name).notna(), None),
            getattr(data, name).astype("object").where(getattr(data, name).notna(), None),
        )
    assert again.meta == data.meta
