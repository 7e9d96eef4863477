"""Begin a study in its store: its resolved text, settings and plan are written before the first cell is computed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence

from bench.core.errors import UserError
from bench.core.method import Method
from bench.core.provenance import provenance
from bench.core.types import DataFacts, Settings
from bench.store.database import Store
from bench.store.methods import write_methods
from bench.study.plan import Plan, axis_values


def begin_study(
    store: Store,
    plan: Plan,
    settings: Settings,
    facts: Mapping[str, DataFacts],
    claims_hash: str | None,
    methods: Sequence[Method] = (),
) -> None:
    """Write the study, the hash of its claims, its settings and its plan into a store.

    Parameters
    ----------
    store : Store
        Open for writing.
    plan : Plan
        Cells of the study.
    settings : Settings
        Execution settings; the first run fixes them.
    facts : mapping of str to DataFacts
        Label of each data set -> its sizes and content hash.
    claims_hash : str or None
        SHA-256 of the claims file; None if the study has none.
    methods : sequence of Method
        Records of the methods that the cells use.

    Raises
    ------
    UserError
        If another first run has fixed other settings since these were chosen.
    """
    study, stored = plan.study, store.meta("settings")
    if (
        stored is not None
        and dataclasses.replace(Settings(**json.loads(stored)), measured=settings.measured) != settings
    ):
        raise UserError(
            f"{study.folder}: another run has started this study with other settings in the meantime; run again to "
            f"use those"
        )
    found = {
        **provenance(settings.device_class),
        "datasets": {label: dataclasses.asdict(known) for label, known in facts.items()},
    }
    if stored is None:
        store.set_meta("settings", json.dumps(dataclasses.asdict(settings)))
    store.register(
        {
            "study_hash": study.digest(), "name": study.file.name, "description": study.file.description,
            "profile": study.profile, "study": json.dumps(study.resolved()), "claims_hash": claims_hash,
            "provenance": json.dumps(found),
        },
        [(cell.id, cell.position, axis_values(cell)) for cell in plan.cells()],
    )  # fmt: skip
    store.repeat(lambda connection: write_methods(connection, study.digest(), methods))
