"""Claims compared with the planned cells of a real study folder."""

from __future__ import annotations

import pytest

from analysis.errors import MistakesError
from bench.run.open_study import open_study
from prunebench.planned_claims import check_claims_against, plan_session, planned_evidence

CLAIM = """\
version: 2
claims:
  - id: M1
    text: one is better than the other
    source: ours
    parts:
      - {estimand: contrast, kind: equivalence, of: [taylor], against: magnitude, margin: 2, where: {WHERE}}
"""


def test_planned_evidence_has_every_cell_that_is_not_skipped_and_no_result(tiny):
    session = open_study(tiny, device="cpu")
    evidence = planned_evidence(session)
    cells = list(session.plan.cells())
    assert list(evidence.rows["cell"]) == [cell.id for cell in cells if not cell.skip]
    assert len(evidence.rows) < len(cells)
    assert evidence.rows["state"].isna().all()
    assert evidence.rows["n_test"].eq(400).all()
    assert evidence.chance("digits") == pytest.approx(session.facts["digits"].chance)
    assert evidence.models_per_architecture == 2
    assert evidence.known_methods.find("recalibration", "cumulative").complete


def test_a_study_without_claims_has_none_to_compare(tiny):
    (tiny / "claims.yaml").unlink()
    session = open_study(tiny, device="cpu")
    assert check_claims_against(tiny, session) == []
    assert plan_session(tiny, session) == ([], [])


@pytest.mark.parametrize(
    ("where", "mistake"),
    [
        ("model: resnet18", False),  # timm's: the study does not have it, but could
        ("model: resnet18x", True),
        ("model: digits_cm", True),
    ],
)  # fmt: skip
def test_a_model_of_the_catalogue_or_of_timm_is_no_mistake(tiny, where, mistake):
    (tiny / "claims.yaml").write_text(CLAIM.replace("WHERE", where).replace("taylor", "l2"))
    session = open_study(tiny, device="cpu")
    if mistake:
        with pytest.raises(MistakesError, match=f"no model is named '{where.split()[1]}'"):
            check_claims_against(tiny, session)
    else:
        (warning,) = check_claims_against(tiny, session)
        assert "not testable: the study has no cell with model resnet18" in warning


def test_plan_session_adds_the_parts_that_the_planned_models_cannot_decide(tiny):
    (tiny / "claims.yaml").write_text(CLAIM.replace("WHERE", "correction: none"))
    session = open_study(tiny, device="cpu")
    assert check_claims_against(tiny, session) == []
    (plan,), (warning,) = plan_session(tiny, session, sd=1.0)
    assert plan.planned.least > plan.margin == 2
    assert f"2 models decide a margin of at least {plan.planned.least:.1f} points with 80 % power" in warning
    assert plan_session(tiny, session, sd=0.01)[1] == []
