"""The methods of a study as recorded in its evidence: how they are drawn, families, complexity by design."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from analysis.style import LINES, Look, derived_look
from bench.core.method import Method

#: Kinds whose names are drawn; a name of several kinds has the look of the first.
_DRAWN = ("scorer", "search", "correction")


def plain_name(label: str) -> str:
    """Return a method's name from its label.

    Examples
    --------
    >>> plain_name("a5(include_rank=True)")
    'a5'
    """
    return label.partition("(")[0]


class Methods:
    """The records of a study's methods, found by label.

    Parameters
    ----------
    records : iterable of Method
        `bench.store.reader.StudyData.methods`.

    Examples
    --------
    >>> mine = Method("scorer", "mine", family="inputs", colour="#0072b2", marker="s")
    >>> Methods([mine]).look("mine (+ 2)").marker, Methods([mine]).family("mine(k=1)", "other")
    ('s', 'inputs')
    """

    def __init__(self, records: Iterable[Method]) -> None:
        self._records = {(record.kind, record.name): record for record in records}

    def find(self, kind: str, label: str) -> Method | None:
        """Return the record of a method, or None where the evidence has none."""
        return self._records.get((kind, plain_name(label)))

    def of_kind(self, kind: str) -> Iterator[Method]:
        """Iterate over the records of one kind, in catalogue order."""
        return (record for (own, _), record in self._records.items() if own == kind)

    def family(self, scorer: str, default: str) -> str:
        """Return a scorer's family, or `default` where no record names one; empty for a scorer that has none."""
        record = self.find("scorer", scorer)
        return default if record is None or record.family is None else record.family

    def complexity(self, scorer: str) -> int | str | None:
        """Return the kappa that a scorer was designed to have; None for one that no design names."""
        record = self.find("scorer", scorer)
        return None if record is None else record.complexity

    def look(self, name: str) -> Look:
        """Return how a name is drawn; a name without a look of its own gets one from its hash, always the same.

        A label with options or a search has the colour of its scorer; a budget behind it changes nothing.
        """
        label = name.partition(" (")[0]
        own = self._look(label)
        if own is not None:
            return own
        scorer = plain_name(label.partition(" + ")[0])
        known = self._look(scorer) or derived_look(scorer)
        return derived_look(label)._replace(colour=known.colour)

    def _look(self, name: str) -> Look | None:
        for kind in _DRAWN:
            record = self._records.get((kind, name))
            if record is not None and record.colour is not None and record.marker is not None:
                return Look(record.colour, record.marker, LINES[record.line])
        return None
