"""The registration of a study as its evidence keeps it, and the seeds that follow from it.

`bench.study.registration` writes it into a study folder; `bench.store.registration_level` decides what it proves.
"""

from __future__ import annotations

import hashlib
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.core.identity import digest, named_seed

#: Key of the registration in the meta table of a store and in `bench.store.reader.StudyData.meta`.
REGISTRATION = "registration"
#: Derived seeds have so many bits: ten digits are still readable, and 20 of them coincide with a chance of 4e-8.
SEED_BITS = 32
#: Keys of a study, and of its data sets and models, that no result depends on.
PRESENTATION = frozenset({"name", "description", "stop_after_failures"})
PRESENTATION_OF_ENTRIES = frozenset({"label", "expected_accuracy"})
#: An absolute path, perhaps after ``parquet:``, ``folder:`` or ``file://``.
_ABSOLUTE = re.compile(r"(parquet:|folder:|file://)?([/~\\]|[A-Za-z]:[/\\]).*")
_SHA = Field(pattern="^[0-9a-f]{64}$")


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def derived_seed(source: str, stream: str, number: int) -> int:
    """Return a seed that follows from a registration.

    Parameters
    ----------
    source : str
        `Record.seed_source`.
    stream : str
        ``train`` or ``calibration``.
    number : int
        The seed or draw as study.yaml numbers it.

    Examples
    --------
    >>> derived_seed("0" * 64, "train", 0), derived_seed("1" * 64, "train", 0)
    (1197216499, 4075861841)
    """
    return named_seed(f"registered {stream}", source, number) >> (63 - SEED_BITS)


class Pilot(_Frozen):
    """A study that was seen before the registration: the name of its folder and the hash of its data."""

    name: str
    data_hash: str


class Design(_Frozen):
    """What a registration freezes of a study, in addition to its claims.

    Attributes
    ----------
    study : mapping
        The resolved study (`bench.study.spec.Study.resolved`), absolute paths cut to their last part.
    plan : str
        Digest of the ids of the cells, planned with the seeds that study.yaml names.
    cells : int
        Number of planned cells.
    data, checkpoints : tuple of str
        Content hashes of the data sets and of the given checkpoints, in the order of study.yaml.
    code : mapping of str to str
        Network of the user's own -> SHA-256 of its source file.
    settings : mapping
        Precision, memory format and device that the plan was made for.
    """

    study: dict[str, Any]
    plan: str
    cells: int
    data: tuple[str, ...]
    checkpoints: tuple[str, ...]
    code: dict[str, str]
    settings: dict[str, Any]


class Package(_Frozen):
    """The code that computes and decides: version, SHA-256 of each file, versions of the deciding libraries."""

    version: str
    files: dict[str, str]
    libraries: dict[str, str]


class Registration(_Frozen):
    """Content of registration.json.

    Attributes
    ----------
    version : int
        Of this format.
    name, profile : str
        Of the study.
    claims : str
        SHA-256 of the claims file's content (`analysis.claims.read.claims_hash`).
    design, package : Design, Package
        What shall be run, and with which code.
    gates : mapping
        The informative settings, as the claims use them.
    pilots : tuple of Pilot
        Studies from which gates and spread come.
    seen : str
        The author's statement of what was seen before.
    number : int
        1 for the first registration of the folder.
    previous : str or None
        SHA-256 of the registration that this one replaces.
    time : str
        UTC, ISO 8601, by the clock of the author's machine.
    """

    version: Literal[1] = 1
    name: str
    profile: str | None
    claims: str = _SHA
    design: Design
    package: Package
    gates: dict[str, Any]
    pilots: tuple[Pilot, ...]
    seen: str
    number: int = Field(ge=1)
    previous: str | None
    time: str


class Amendment(_Frozen):
    """A recorded deviation from the registration.

    `rows` is the number of finished cells at that time. `previous` is the digest of the amendment before, or the
    SHA-256 of the registration for the first one.
    """

    reason: str
    time: str
    rows: int = Field(ge=0)
    changes: tuple[str, ...]
    claims: str = _SHA
    design: Design
    previous: str

    def digest(self) -> str:
        """Return the SHA-256 of the amendment, as the next one names it."""
        return digest(self.model_dump(mode="json", exclude_unset=True))


class Record(BaseModel):
    """What the evidence of a study keeps of its registration.

    Attributes
    ----------
    text : str
        Content of registration.json, exactly.
    amendments : tuple of Amendment
        In order.
    at_start : int
        Number of amendments when the first run began.
    earlier : tuple of str
        SHA-256 of the folder's earlier registrations that are kept, the oldest first.
    commit : str or None
        Commit of HEAD that held registration.json when the first run began.
    token, certificates : str or None
        The time-stamp token (RFC 3161) and the file with the certificates of its authority, base64. The time is in the
        token alone, where it cannot be edited.
    changes : tuple of str
        Changes of package or libraries that runs found since the registration.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    amendments: tuple[Amendment, ...] = ()
    at_start: int = Field(0, ge=0)
    earlier: tuple[str, ...] = ()
    commit: str | None = None
    token: str | None = None
    certificates: str | None = None
    changes: tuple[str, ...] = ()

    @property
    def sha256(self) -> str:
        """SHA-256 of registration.json."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def seed_source(self) -> str:
        """Digest from which the seeds are derived: of the registration and, where there is one, of its time-stamp."""
        return self.sha256 if self.token is None else digest([self.sha256, self.token])

    @property
    def registration(self) -> Registration:
        """Return the parsed registration.

        Raises
        ------
        ValueError
            If `text` is no registration.
        """
        return Registration.model_validate_json(self.text)

    @property
    def current(self) -> Registration | Amendment:
        """What holds now: the last amendment or, without one, the registration."""
        return self.amendments[-1] if self.amendments else self.registration

    def joined(self, other: Record) -> Record:
        """Return the record of rows that runs of two copies of one study folder have computed."""
        if other.sha256 != self.sha256:
            return self  # no row of the other one is planned here
        return self.model_copy(
            update={
                "commit": self.commit if other.commit is not None else None,
                "at_start": min(self.at_start, other.at_start),
                "changes": tuple(dict.fromkeys((*self.changes, *other.changes))),
            }
        )

    def chain_fault(self) -> str | None:
        """Return how the amendments do not follow from the registration and each other, or None."""
        previous = self.sha256
        for number, amendment in enumerate(self.amendments, 1):
            if amendment.previous != previous:
                return f"amendment {number} does not follow from what it amends"
            previous = amendment.digest()
        return None


def portable(value: Any) -> Any:
    """Return plain JSON values with every absolute path cut to its last part: the rest names a user's machine.

    The content of the files is registered by its hash.

    Examples
    --------
    >>> portable({"path": "/home/ada/cifar10", "name": "parquet:~/birds", "checkpoint": "${NETS}/a.pt"})
    {'path': '.../cifar10', 'name': 'parquet:.../birds', 'checkpoint': '${NETS}/a.pt'}
    """
    if isinstance(value, Mapping):
        return {key: portable(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [portable(part) for part in value]
    if isinstance(value, str) and (found := _ABSOLUTE.fullmatch(value)):
        *_, last = re.split(r"[/\\]", value.rstrip("/"))
        return f"{found[1] or ''}.../{last}"
    return value


def study_differences(before: Mapping[str, Any], now: Mapping[str, Any], *, ignore_new: bool = False) -> list[str]:
    """Return in what two resolved studies differ that a result may depend on.

    Labels and texts do not count, unless a label now names another data set or model. Nor do the versions of the
    catalogue's methods: they are part of the package.

    Parameters
    ----------
    before, now : mapping
        What `bench.study.spec.Study.resolved` returned.
    ignore_new : bool, default False
        Whether keys that only `now` has are ignored: a later version of the package has more of them.

    Examples
    --------
    >>> before = {"name": "a", "models": [{"name": "net", "label": "A"}], "sparsities": [0.5]}
    >>> study_differences(before, {"name": "b", "models": [{"name": "net", "label": "B"}], "sparsities": [0.5]})
    []
    >>> study_differences(before, {**before, "sparsities": [0.5, 0.9]})
    ['sparsities: [0.5] -> [0.5, 0.9]']
    """
    found = list(_differences(_essential(before), _essential(now), "", ignore_new=ignore_new))
    for key in ("data", "models") if not found else ():
        before_titles, now_titles = (_titles(study.get(key, ())) for study in (before, now))
        found += [
            f"{key}: the label {title!r} now names another entry"
            for title, entry in now_titles.items()
            if next(_differences(before_titles.get(title, entry), entry, "", ignore_new=ignore_new), None)
        ]
    return found


def _essential(study: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study without what is for presentation, and without the versions of the catalogue's methods."""
    kept: dict[str, Any] = {}
    for key, value in study.items():
        if key in PRESENTATION:
            continue
        listed = isinstance(value, list) and key != "exclude"
        kept[key] = [_entry(entry) if isinstance(entry, Mapping) else entry for entry in value] if listed else value
    return kept


def _titles(entries: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the entries of data sets or models by the label that tables show."""
    return {entry.get("label") or entry["name"]: _entry(entry) for entry in entries}


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in entry.items() if key not in PRESENTATION_OF_ENTRIES}
    if isinstance(kept.get("version"), int):
        del kept["version"]
    return kept


def _differences(before: Any, now: Any, place: str, *, ignore_new: bool) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for key in [*before, *(key for key in now if key not in before and not ignore_new)]:
            name = f"{place}.{key}" if place else str(key)
            yield from _differences(before.get(key), now.get(key), name, ignore_new=ignore_new)
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        simple = not any(isinstance(value, (Mapping, list)) for value in (*before, *now))
        if simple and before != now:
            yield f"{place}: {reprlib.repr(before)} -> {reprlib.repr(now)}"
        elif not simple:
            for number, (one, other) in enumerate(zip(before, now, strict=True)):
                yield from _differences(one, other, f"{place}[{number}]", ignore_new=ignore_new)
    elif before != now:
        yield f"{place}: {reprlib.repr(before)} -> {reprlib.repr(now)}"
