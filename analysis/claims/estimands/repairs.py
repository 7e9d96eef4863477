"""The cancellation identity: corrections that complete recalibration cancels."""

from __future__ import annotations

import json
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from analysis.claims.arms import LARGEST_RATIO
from analysis.claims.identities import identity_question, settings_of, unevaluated
from analysis.claims.parts import Part, Term, Values
from analysis.claims.questions import Question
from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.stats.degenerate import RESOLUTION


class RepairIdentity(Part):
    """Corrections have the float32 accuracy of `reference` in the same block, within a tolerance.

    The tolerance is the larger of `tolerance` (percentage points) and `tolerance_images` images: where the best two
    logits tie, rounding alone may change an image, and a fraction of an image is no tolerance on a small test set.
    Cells outside the scope of the cancellation identity (a layer not covered, or an eps ratio over `largest_ratio`)
    are counted and left out.
    """

    estimand: Literal["repair_identity"]
    kind: Literal["identity"] = "identity"
    corrections: tuple[str, ...] | None = Field(None, description="default: all of the study")
    reference: str = "none"
    tolerance: float = Field(0.05, ge=0, description="percentage points")
    tolerance_images: int = Field(1, ge=0)
    largest_ratio: float = Field(LARGEST_RATIO, ge=1)

    def named(self) -> list[tuple[str, Values]]:
        """Return the filters, the corrections and the reference."""
        corrections = (*(self.corrections or ()), self.reference)
        return [*super().named(), *(("correction", (name,)) for name in corrections)]

    def arms(self) -> tuple[Term, ...]:
        """Return the corrections and the reference, if the part names them."""
        if self.corrections is None:
            return ()
        return Term(of={"correction": self.corrections}), Term(weight=-1, of={"correction": (self.reference,)})

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per data set, model and granularity."""
        names = self.corrections or tuple(evidence.planned_labels["correction"])
        rows = evidence.select({**self.where, "correction": (*names, self.reference)}, *self.limits)
        layers = _uncovered(evidence.dense)
        found = []
        for setting, cells in settings_of(rows):
            own = cells[cells["correction"].ne(self.reference)]
            if not own.empty:
                found.append(self._question(setting, cells, own, evidence.checks, layers))
        return found

    def _question(
        self, setting: dict[str, str | float], cells: pd.DataFrame, own: pd.DataFrame, checks: pd.DataFrame,
        layers: dict[tuple[Any, Any], tuple[str, ...]],
    ) -> Question:  # fmt: skip
        repeated = checks[checks["kind"].eq("float32")].drop_duplicates("cell").set_index("cell")["accuracy"]
        paired = frames.contrast(cells, "correction", self.reference)
        inside = paired["identity_covered"].fillna(False).astype(bool) & paired["identity_ratio"].le(self.largest_ratio)
        exact = paired["precision"].eq("float32")
        first = paired["accuracy"].where(exact, paired["cell"].map(repeated))
        second = paired["reference_value"].where(exact, paired["reference_cell"].map(repeated))
        judged = inside & first.notna() & second.notna()
        gap = 100 * (first - second).abs()[judged]
        tolerance = np.maximum(self.tolerance, 100 * self.tolerance_images / paired["n_test"][judged].astype(float))
        counts = unevaluated(own) | {
            "without a partner": int(frames.done(own).shape[0] - len(paired)),
            "outside the identity": int((~inside).sum()),
            "evaluated in another precision, without a float32 check": int((inside & ~judged).sum()),
            "exactly equal": int(gap.le(100 * RESOLUTION).sum()),
        }
        return identity_question(
            self, setting, f"accuracy of every correction = accuracy of {self.reference}", paired[judged],
            int(gap.gt(tolerance + 100 * RESOLUTION).sum()), counts,
            test="accuracy difference within the tolerance",
            tolerance=float(tolerance.max()) if len(tolerance) else self.tolerance,
            effect=float(gap.max()) if len(gap) else None,
            names=layers.get((setting["dataset"], setting["model"]), ()) if len(paired) else (),
        )  # fmt: skip


def _uncovered(dense: pd.DataFrame) -> dict[tuple[Any, Any], tuple[str, ...]]:
    """Return the layers outside the cancellation identity per data set and model, in the order of the network."""
    layers: dict[tuple[Any, Any], tuple[str, ...]] = {}
    for dataset, model, text in zip(dense["dataset"], dense["model"], dense["uncovered_layers"], strict=True):
        found = json.loads(text) if isinstance(text, str) else []
        layers[dataset, model] = tuple(dict.fromkeys([*layers.get((dataset, model), ()), *found]))
    return layers
