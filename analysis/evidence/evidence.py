"""The evidence of a study: one object, read and validated once, filtered in one place.

`analysis.evidence.load.load` returns it. Claims are decided and reports are drawn from the same object; every filter
is computed when it is first used and kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.evidence import frames, fusion
from analysis.evidence.labels import matching_labels
from analysis.evidence.methods import Methods
from bench.store.reader import StudyData

T = TypeVar("T")

#: Sparsities closer than this are equal.
SAME_SPARSITY = 1e-9


class Evidence(StudyData):
    """Rows, checks, dense models and provenance of a study, with the filtered frames that the analysis needs.

    All accuracies in its frames are fractions, as stored.
    """

    @classmethod
    def of(cls, data: StudyData) -> Evidence:
        """Return the evidence that holds these data; `data` itself if it is evidence already."""
        if isinstance(data, cls):
            return data
        return cls(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)})

    @cached_property
    def known_methods(self) -> Methods:
        """Records of the study's methods."""
        return Methods(self.methods)

    @cached_property
    def classes(self) -> dict[str, int]:
        """Data set -> number of classes, as far as the provenance has it."""
        return {name: facts["num_classes"] for name, facts in self.meta["provenance"].get("datasets", {}).items()}

    @cached_property
    def pruned(self) -> pd.DataFrame:
        """Planned rows of pruned models, in any state."""
        return frames.pruned(self.rows)

    @cached_property
    def evaluated(self) -> pd.DataFrame:
        """Rows of pruned models that were evaluated."""
        return frames.done(self.pruned)

    @cached_property
    def dense_evaluated(self) -> pd.DataFrame:
        """Rows of dense models that were evaluated, under any recalibration."""
        return frames.done(self.rows[self.rows["scorer"].eq("dense")])

    @cached_property
    def main(self) -> pd.DataFrame:
        """Rows of the main comparison, in any state; see `analysis.evidence.frames.main_rows`."""
        return frames.main_rows(self.rows)

    @cached_property
    def plain(self) -> pd.DataFrame:
        """Evaluated rows of the main comparison without search or repair."""
        return frames.plain(self.main)

    @cached_property
    def unrepaired(self) -> pd.DataFrame:
        """Rows without correction and recalibration, in any state."""
        return frames.unrepaired(self.rows)

    @cached_property
    def searched(self) -> pd.DataFrame:
        """Rows of feature scorers, in any state."""
        return frames.searched(self.rows)

    @cached_property
    def searches(self) -> pd.DataFrame:
        """Searches for fusion weights, one row each; see `analysis.evidence.fusion.searches`."""
        return fusion.searches(self.searched)

    @cached_property
    def escapes(self) -> pd.DataFrame:
        """Escape of every scorer per model, without repair; see `analysis.evidence.frames.escape`."""
        return frames.escape(self.unrepaired)

    @cached_property
    def planned_labels(self) -> dict[str, list[Any]]:
        """Column -> labels of the planned pruned rows, in order of appearance."""
        return {name: list(self.pruned[name].dropna().unique()) for name in (*frames.SETTING, *frames.METHOD)}

    def labels(self, column: str, requested: Sequence[str | int]) -> list[Any]:
        """Return the labels of a column of the pruned rows that these names stand for."""
        return matching_labels(self.planned_labels[column], requested)

    def select(
        self, where: Mapping[str, Sequence[str | int]], sparsities: tuple[float, ...] | None = None,
        between: bool = False,
    ) -> pd.DataFrame:  # fmt: skip
        """Return the planned pruned rows that match all conditions.

        Parameters
        ----------
        where : mapping of str to sequence
            Column -> names; see `analysis.evidence.labels.matching_labels`.
        sparsities : tuple of float, optional
            Requested sparsities, fractions.
        between : bool
            Whether `sparsities` is a pair of limits, both included.
        """

        def choose() -> pd.DataFrame:
            chosen = np.ones(len(self.pruned), dtype=np.bool_)
            for column, names in sorted(where.items()):  # which label a name stands for depends on the order
                chosen &= self._matches(column, tuple(names), chosen)
            if sparsities is not None:
                chosen &= self._at(sparsities, between)
            return self.pruned[chosen]

        key = tuple(sorted((column, tuple(names)) for column, names in where.items()))
        return self.remember(("select", key, sparsities, between), choose)

    def remember(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the result of a computation on this evidence, computed once per key."""
        if key not in self._remembered:
            self._remembered[key] = compute()
        return cast(T, self._remembered[key])

    @cached_property
    def _remembered(self) -> dict[Hashable, Any]:
        return {}

    def _matches(self, column: str, names: tuple[str | int, ...], chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows whose label is one that the names stand for among the chosen rows."""
        values = self.pruned[column]
        labels = matching_labels(values[chosen].dropna().unique(), names)
        return values.isin(labels).to_numpy(dtype=np.bool_)

    def _at(self, sparsities: tuple[float, ...], between: bool) -> NDArray[np.bool_]:
        requested = self.pruned["sparsity"].to_numpy(dtype=np.float64, na_value=np.nan)
        if between:
            least, most = sparsities
            return np.asarray((requested >= least - SAME_SPARSITY) & (requested <= most + SAME_SPARSITY))
        gaps = np.abs(requested[:, None] - np.array(sparsities)[None, :])
        return np.asarray((gaps <= SAME_SPARSITY).any(axis=1))

    @cached_property
    def models_per_architecture(self) -> int:
        """Largest number of planned dense models of one data set and architecture; at least 1."""
        return max(1, int(self.rows.groupby(["dataset", "model"])["train_seed"].nunique().max()))

    @cached_property
    def complete_models(self) -> int:
        """Number of models that every data set and architecture has completed, in the order of the plan.

        A model is complete if none of its cells remains to be run; failed and skipped cells count as run. An
        architecture whose planned models are all complete does not hold back the others.
        """
        group = ["dataset", "model", "train_seed"]
        models = self.rows.assign(run=self.rows["state"].isin(("done", "failed", "skipped"))).groupby(
            group, dropna=False, observed=True
        )
        known = models.agg(first=("position", "min"), run=("run", "all")).sort_values("first")
        leading = known["run"].groupby(level=[0, 1], sort=False).cummin().groupby(level=[0, 1], sort=False)
        complete, planned = leading.sum(), leading.size()
        waiting = complete[complete < planned]
        return int(complete.max() if waiting.empty else waiting.min())

    def first_models(self, number: int) -> Evidence:
        """Return the evidence of the first models of every data set and architecture, in the order of the plan."""
        first = self.rows.groupby(["dataset", "model", "train_seed"], sort=False, dropna=False)["position"].transform(
            "min"
        )
        place = first.groupby([self.rows["dataset"], self.rows["model"]], sort=False).rank(method="dense")
        return self.with_rows(self.rows[place.le(number)])

    def with_rows(self, rows: pd.DataFrame) -> Evidence:
        """Return the same evidence with some of its rows."""
        return dataclasses.replace(self, rows=rows.reset_index(drop=True))

    def chance(self, dataset: str) -> float:
        """Return the accuracy of guessing: the share of the largest test class, or 1 / classes where it is not stored.

        NaN for a data set whose classes are not known. See `bench.core.types.DataFacts`.
        """
        facts = self.meta["provenance"].get("datasets", {}).get(dataset, {})
        classes = facts.get("num_classes")
        return float(facts.get("chance") or (1 / classes if classes else np.nan))
