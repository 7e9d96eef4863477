"""Tests of `bench.study.begin`."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict, replace

import pytest

from bench.core.errors import UserError
from bench.core.types import DataFacts, Settings
from bench.plugins.catalogue import make_registry
from bench.store.database import open_store
from bench.study.begin import begin_study
from bench.study.load import load_study
from bench.study.plan import make_plan

FACTS = DataFacts("hash", (8, 8), 1, 10, 997, 150, 400, 128, 32, 250)
SETTINGS = Settings("float32", "contiguous", 512, "cpu", 1)
STUDY = """\
name: s
data: [digits]
models: [digits_cnn]
train_seeds: 2
scorers: [magnitude]
sparsities: [0.5, 0.9]
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "study.yaml").write_text(STUDY)
    registry = make_registry(tmp_path)
    study = load_study(tmp_path, registry)
    return make_plan(study, registry, "float32", {"digits": FACTS}, lambda model, seed, _: [model.name, seed])


@pytest.fixture
def store(plan):
    with closing(open_store(plan.study.folder, create=True)) as store:
        yield store


def test_study_settings_and_provenance_are_stored(plan, store):
    begin_study(store, plan, SETTINGS, {"digits": FACTS}, "claims")
    assert json.loads(store.meta("settings")) == asdict(SETTINGS)
    [stored] = store.studies()
    assert set(stored["scorers"][0]) >= {"name", "version"}
    with closing(open_store(plan.study.folder)) as reopened:
        assert json.loads(reopened.meta("settings")) == asdict(SETTINGS)


def test_a_second_registration_keeps_the_settings_of_the_first(plan, store):
    begin_study(store, plan, replace(SETTINGS, measured={"float32": 7.0}), {"digits": FACTS}, None)
    begin_study(store, plan, replace(SETTINGS, measured={}), {"digits": FACTS}, None)
    assert json.loads(store.meta("settings"))["measured"] == {"float32": 7.0}


def test_settings_that_another_first_run_has_fixed_are_not_replaced(plan, store):
    begin_study(store, plan, SETTINGS, {"digits": FACTS}, None)
    with pytest.raises(UserError, match="another run has started this study with other settings"):
        begin_study(store, plan, replace(SETTINGS, batch=128), {"digits": FACTS}, None)
