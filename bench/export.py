"""Write a pruned network to take away: ``prunebench prune``."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.data.load import load_dataset
from bench.errors import UserError
from bench.evaluate import Evaluator
from bench.identity import canonical_json
from bench.models.checkpoints import load_checkpoint, load_into, save_checkpoint
from bench.models.dense import obtain_dense
from bench.pipeline import Pipeline
from bench.plan import axis_values
from bench.session import Session
from bench.settings import apply_settings
from bench.store.artifacts import Artifacts
from bench.store.database import open_store


def export_cell(session: Session, name: str, output: Path) -> float:
    """Save the model of one cell and check that, reloaded, it does what the row says.

    Parameters
    ----------
    session : Session
        The study.
    name : str
        Beginning of the cell's id, or its position.
    output : Path
        A ``.safetensors`` file to write; the cell's axes are in its metadata.

    Returns
    -------
    float
        Accuracy of the reloaded model, a fraction.

    Raises
    ------
    UserError
        If the cell is not done, or the reloaded model differs from the row on any test image.
    """
    if output.suffix != ".safetensors":
        raise UserError(f"{output}: name a .safetensors file")
    cell = session.find_cell(name)
    study = session.study
    with closing(open_store(study.folder)) as store:
        row = store.row(cell.id)
    if row is None or row["state"] != "done":
        state = row["state"] if row else "not run"
        raise UserError(f"cell {cell.id[:12]} is {state}; `prunebench run {study.folder} --only cell={cell.id}` first")
    group = next(g for g in session.plan.groups if g.id == cell.group)
    model = next(m for m in study.file.models if m.title == cell.model)
    data = next(d for d in study.file.data if d.title == cell.dataset)
    apply_settings(session.settings)
    dataset = load_dataset(data, study.folder)
    dense = obtain_dense(
        model, dataset, cell.train_seed, session.registry, folder=study.folder,
        artifacts=Artifacts.of(study.folder), device=torch.device(session.settings.device),
        memory_format=session.settings.memory_format,
    )  # fmt: skip
    pipeline = Pipeline(group, dense, dataset, model.exclude, session.registry, session.settings, Counter())
    pipeline.remember([row])
    pruned = pipeline.repaired_model(cell)
    metadata = {"cell": canonical_json(axis_values(cell)), "model": json.dumps(model.model_dump(mode="json"))}
    unverified = output.with_name(f"{output.stem}.unverified.safetensors")
    save_checkpoint(pruned.state_dict(), unverified, metadata)
    load_into(pruned, load_checkpoint(unverified), unverified)
    settings = replace(session.settings, precision=cell.precision)
    again = Evaluator(pruned, dataset.test, dense.normalisation, settings).evaluate(pruned)
    if np.packbits(again.correct).tobytes() != row["correct"]:
        raise UserError(
            f"{unverified}: reloaded, the model has accuracy {again.accuracy:.4f}, the row says {row['accuracy']:.4f}; "
            f"the settings or the library versions are not those of the run"
        )
    unverified.replace(output)
    return again.accuracy
