"""Effective model pruning (EMP): the bound on the score mass that it keeps, and its dependence on beta."""

from __future__ import annotations

import re
from typing import Literal

from analysis.claims.cells import chosen_rows
from analysis.claims.identities import identity_question, settings_of
from analysis.claims.parts import Part
from analysis.claims.questions import Question
from analysis.evidence import frames
from analysis.evidence.emp import emp_rows
from analysis.evidence.evidence import Evidence


class EmpBound(Part):
    """The score mass that EMP keeps is never under its lower bound, in any scope (beta = 1).

    Compared are the cells without repair; a cell with a scope below its bound is a mismatch.
    """

    estimand: Literal["emp_bound"]
    kind: Literal["identity"] = "identity"

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per data set, model and granularity."""
        kept = emp_rows(chosen_rows(evidence, self))
        below = kept["violations"].gt(0)
        return [
            identity_question(
                self, setting, "score mass that EMP keeps, above its bound", cells, int(below[cells.index].sum()),
                {"scopes compared": int(cells["bounded"].sum())}, test="kept score mass >= its bound",
                details={"least mass above the bound": float(cells["slack"].min())},
            )
            for setting, cells in settings_of(kept[kept["bounded"].gt(0)])
        ]  # fmt: skip


class EmpBeta(Part):
    """A larger beta of EMP never keeps fewer units of the same scores.

    Each cell without repair is compared with that of the next smaller beta; the units of all scopes are summed up.
    """

    estimand: Literal["emp_beta"]
    kind: Literal["identity"] = "identity"

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per data set, model and granularity."""
        kept = emp_rows(chosen_rows(evidence, self))
        labels = kept["allocation"]
        kept = kept.assign(beta=[beta_of(label) for label in labels], options=labels.map(without_beta))
        keys = [*(key for key in frames.BLOCK if key != "allocation"), *frames.METHOD, "options"]
        kept = kept.sort_values("beta", kind="stable")
        before = kept.groupby(keys, sort=False, dropna=False)[["beta", "k"]].shift()
        compared = kept[before["beta"].notna()]
        wrong = compared["k"].lt(before["k"].reindex(compared.index))
        return [
            identity_question(
                self, setting, "units that EMP keeps, over beta", cells, int(wrong.reindex(cells.index).sum()), {},
                test="units kept do not fall as beta rises",
            )
            for setting, cells in settings_of(compared)
        ]  # fmt: skip


def beta_of(label: str) -> float:
    """Read beta from an allocation's label; 1 by default.

    Examples
    --------
    >>> beta_of("emp(beta=0.5, scope=global)"), beta_of("emp")
    (0.5, 1.0)
    """
    found = re.search(r"beta=([0-9.e+-]+)", label)
    return float(found[1]) if found else 1.0


def without_beta(label: str) -> str:
    """Return an allocation's label without its beta.

    Examples
    --------
    >>> without_beta("emp(beta=0.5, scope=global)"), without_beta("emp(beta=2)"), without_beta("emp")
    ('emp(scope=global)', 'emp', 'emp')
    """
    return re.sub(r"\(\)", "", re.sub(r"beta=[0-9.e+-]+(, )?", "", label)).replace(", )", ")")
