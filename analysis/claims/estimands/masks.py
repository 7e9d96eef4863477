"""Identities of masks: scorers that select the same units, and shared evaluations that were repeated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from analysis.claims.cells import chosen_rows
from analysis.claims.identities import identity_question, settings_of, unevaluated
from analysis.claims.parts import Part, Replacement, Term, Values, replace_labels
from analysis.claims.questions import Question
from analysis.evidence import frames
from analysis.evidence.evidence import Evidence
from analysis.evidence.labels import matching_labels


class MaskIdentity(Part):
    """The masks of `scorers` equal the mask of `reference` in the same block.

    Equal scores are ordered by magnitude, so units that tie after a transform keep their order: they are counted,
    and a mask that differs is a mismatch with or without them. Masks that several repairs share are compared once.
    """

    estimand: Literal["mask_identity"]
    kind: Literal["identity"] = "identity"
    scorers: tuple[str, ...] = Field(min_length=1)
    reference: str = "magnitude"

    def needs(self) -> list[tuple[str, Values]]:
        """Return the filters, the scorers and the reference."""
        return [*super().needs(), ("scorer", self.scorers), ("scorer", (self.reference,))]

    def arms(self) -> tuple[Term, ...]:
        """Return the scorers and the reference."""
        return Term(of={"scorer": self.scorers}), Term(weight=-1, of={"scorer": (self.reference,)})

    def replaced(self, replacement: Replacement) -> MaskIdentity:
        """Return the part with replaced scorers."""
        return self.model_copy(update={"scorers": replace_labels(self.scorers, replacement)})

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per data set, model and granularity."""
        rows = evidence.select({**self.where, "scorer": (*self.scorers, self.reference)}, *self.limits)
        found = []
        for setting, cells in settings_of(rows):
            own = cells[cells["scorer"].isin(matching_labels(cells["scorer"].unique(), self.scorers))]
            if own.empty:
                continue
            paired = frames.contrast(cells, "scorer", self.reference).drop_duplicates(list(frames.MASK))
            known = paired[paired["mask"].notna() & paired["reference_mask"].notna()]
            tied = known["tied_units"].fillna(0)
            of_mask = own["state"].eq("done").groupby([own[key] for key in frames.MASK], dropna=False)
            evaluated = of_mask.transform("any")
            counts = unevaluated(own[~evaluated].drop_duplicates(list(frames.MASK))) | {
                "without a partner": len(own[evaluated].drop_duplicates(list(frames.MASK))) - len(known),
                "cells with tied units": int(tied.gt(0).sum()),
                "tied units, ordered by the tie rule": int(tied.sum()),
            }
            found.append(identity_question(
                self, setting, f"mask of {', '.join(self.scorers)} = mask of {self.reference}", known,
                int(known["mask"].ne(known["reference_mask"]).sum()), counts, test="equality of mask hashes",
            ))  # fmt: skip
        return found


class Reevaluation(Part):
    """Evaluations that cells share are repeated: no test image may change.

    Cells whose batch was halved for memory are exempt, and counted.
    """

    estimand: Literal["reevaluation"]
    kind: Literal["identity"] = "identity"

    def questions(self, evidence: Evidence) -> list[Question]:
        """Return one question per data set, model and granularity."""
        checks = evidence.checks[evidence.checks["kind"].eq("shared")][["cell", "mismatches"]]
        rows = chosen_rows(evidence, self).merge(checks, on="cell", how="inner")
        found = []
        for setting, cells in settings_of(rows):
            halved = cells["batch_halved"].fillna(0).gt(0)
            compared = cells[~halved]
            counts = {
                "batch halved for memory, exempt": int(halved.sum()),
                "images that changed": int(compared["mismatches"].sum()),
            }
            found.append(identity_question(
                self, setting, "correctness of every test image, evaluated twice", compared,
                int(compared["mismatches"].gt(0).sum()), counts, test="equality image by image",
            ))  # fmt: skip
        return found
