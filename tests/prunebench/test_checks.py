"""The checks that precede every slow import."""

from __future__ import annotations

import pytest

from analysis.errors import AnalysisError
from bench.core.errors import UserError
from prunebench.checks import check_claims, check_evidence, check_study_folder


def test_a_good_study_passes(tiny):
    check_study_folder(tiny)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("magnitude", "magnitud", r"study.yaml: line \d+, column \d+: no scorer named 'magnitud'"),
        ("scorers:", "scorer:", "unknown key 'scorer'"),
    ],
)
def test_a_mistake_in_the_study_is_found(old, new, message, tiny):
    path = tiny / "study.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        check_study_folder(tiny)


def test_a_mistake_in_the_claims_is_found(tiny):
    (tiny / "claims.yaml").write_text("version: 2\ninclude: [no-such-paper]\n")
    with pytest.raises(AnalysisError, match="no-such-paper"):
        check_claims(tiny)


def test_a_folder_without_evidence_is_refused(tiny):
    with pytest.raises(AnalysisError, match=r"neither results\.db nor report/data\.parquet is there"):
        check_evidence(tiny)
