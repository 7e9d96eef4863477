"""The overview of the committed reports: it is what the records say, and so is LEARNED.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.across_studies.findings import Signs
from analysis.across_studies.folders import study_folders
from analysis.across_studies.learned import FILE, mistakes_in
from analysis.across_studies.overview import overview_of
from analysis.across_studies.studies import read_study
from analysis.across_studies.text import markdown

pytestmark = pytest.mark.slow

REPORTS = Path(__file__).parents[2] / "reports"


@pytest.fixture(scope="module")
def found():
    return overview_of([read_study(folder, REPORTS) for folder in study_folders(REPORTS)])


def test_every_estimate_is_that_of_its_record(found):
    compared = 0
    records = {
        (study.name, result.id, part.id): part.records
        for study in found.studies for result in study.results for part in result.parts
    }  # fmt: skip
    for part in found.parts:
        for finding in part.findings:
            own = records[finding.study, finding.claim, finding.part]
            if finding.estimate is not None and len(own) == 1:
                estimate, [record] = finding.estimate, own
                assert (estimate.effect, estimate.models) == (record.effect, record.n)
                assert (estimate.low, estimate.high) == (record.low, record.high)
                compared += 1
    assert compared > 20


def test_findings_that_point_the_other_way_are_shown(found):
    """A6: under ema, asr is above layerwise in all cells of the published ResNets, and below it in the digits' mean."""
    [part] = [part for part in found.parts if (part.claim, part.part) == ("A6", "overall")]
    estimates = {finding.study: finding.estimate for finding in part.findings}
    assert estimates["cifar10-resnet-published"].signs == Signs(above=20, equal=0, below=0)
    assert estimates["digits"].effect < 0
    page = markdown(found)
    assert page == (REPORTS / "overview.md").read_text(encoding="utf-8")
    assert "| cifar10-resnet-published | +4.44 | \N{EN DASH} | 20 / 0 / 0 |" in page


def test_one_model_per_architecture_is_never_combined(found):
    assert all(part.combined == () for part in found.parts)
    assert "Error bars over independently trained models" in found.not_met


def test_what_was_learned_names_records_that_are_so(found):
    text = (REPORTS / FILE).read_text(encoding="utf-8")
    assert text.count("[") > 10
    assert mistakes_in(text, found) == []
