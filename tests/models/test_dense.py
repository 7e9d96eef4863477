"""Dense models: trained once, found again, verified, or given."""

import pytest
import torch

from bench.errors import UserError
from bench.models import dense
from bench.models.checkpoints import save_checkpoint, state_digest
from bench.models.dense import checkpoint_path, dense_key, obtain_dense
from bench.models.digits import digits_cnn
from bench.study import ModelSpec, Normalisation, Recipe

CPU = torch.device("cpu")
SPEC = ModelSpec(name="digits_cnn", recipe={"epochs": 1, "augmentation": "none"})


@pytest.fixture
def obtain(digits, registry, tmp_path):
    def call(spec=SPEC, seed=0, artifacts="artifacts", cache=None):
        return obtain_dense(
            spec, digits, seed, registry, tmp_path, tmp_path / artifacts, CPU,
            cache=tmp_path / cache if cache else None,
        )  # fmt: skip

    return call


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("trained again")

    return lambda: monkeypatch.setattr(dense, "train", refuse)


def test_trained_once_and_found_again(obtain, no_training, tmp_path):
    first = obtain()
    assert len(list((tmp_path / "artifacts/dense").iterdir())) == 1
    no_training()
    again = obtain()
    assert first.checkpoint == again.checkpoint == state_digest(again.model.state_dict())
    assert (first.recipe, first.history, first.seconds) == (again.recipe, again.history, again.seconds)
    assert first.train_overlap == "no"
    assert first.recipe["epochs"] == 1
    assert not again.model.training


def test_training_again_gives_the_same_weights(obtain):
    assert obtain(artifacts="a").checkpoint == obtain(artifacts="b").checkpoint
    assert obtain(artifacts="a", seed=1).checkpoint != obtain(artifacts="a").checkpoint


def test_cache_serves_another_study(obtain, no_training, tmp_path):
    first = obtain(artifacts="a", cache="shared")
    no_training()
    assert obtain(artifacts="b", cache="shared").checkpoint == first.checkpoint
    assert len(list((tmp_path / "b/dense").iterdir())) == 1


def test_truncated_artifact_is_named(obtain, tmp_path):
    obtain()
    file = next((tmp_path / "artifacts/dense").iterdir())
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(UserError, match=f"{file.name}: cannot be read.*delete it"):
        obtain()


def test_altered_artifact_is_named(obtain, tmp_path):
    obtain()
    file = next((tmp_path / "artifacts/dense").iterdir())
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"{file.name}: its weights are not those that were stored; delete it"):
        obtain()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"dataset_hash": "other"},
        {"recipe": Recipe(epochs=2)},
        {"version": 2},
        {"spec": ModelSpec(name="digits_vit")},
        {"spec": ModelSpec(name="digits_cnn", args={"width": 2})},
        {"spec": ModelSpec(name="digits_cnn", normalisation=Normalisation(mean=(0.0,), std=(1.0,)))},
    ],
)
def test_key_follows_what_the_weights_depend_on(change):
    base = {
        "spec": ModelSpec(name="digits_cnn"),
        "dataset_hash": "d",
        "recipe": Recipe(),
        "seed": 0,
        "version": 1,
    }
    assert dense_key(**{**base, **change}) != dense_key(**base)


def test_key_ignores_what_they_do_not():
    base = dense_key(ModelSpec(name="digits_cnn"), "d", Recipe(), 0)
    assert dense_key(ModelSpec(name="digits_cnn", label="x", exclude=("stem",)), "d", Recipe(), 0) == base


def test_given_checkpoint_per_seed(obtain, no_training, tmp_path, monkeypatch):
    no_training()
    monkeypatch.setenv("PRUNEBENCH_TEST_WEIGHTS", str(tmp_path))
    models = {seed: digits_cnn() for seed in (3, 4)}
    for seed, model in models.items():
        save_checkpoint(model.state_dict(), tmp_path / f"net-{seed}.safetensors", {})
    spec = ModelSpec(name="digits_cnn", checkpoint="${PRUNEBENCH_TEST_WEIGHTS}/net-{seed}.safetensors")
    for seed, model in models.items():
        found = obtain(spec, seed=seed)
        assert found.checkpoint == state_digest(model.state_dict())
        assert torch.equal(found.model.linear.weight, model.linear.weight)
        assert found.train_overlap == "unknown"
        assert found.history == {}
        assert found.recipe == {"checkpoint": spec.checkpoint}
    assert checkpoint_path(spec, 3, tmp_path) == tmp_path / "net-3.safetensors"
    told = spec.model_copy(update={"train_overlap": "yes"})
    assert obtain(told, seed=3).train_overlap == "yes"


def test_normalisation_of_the_entry_wins(obtain):
    own = Normalisation(mean=(0.5,), std=(0.5,))
    assert obtain(SPEC.model_copy(update={"normalisation": own})).normalisation == own


def test_normalisation_of_other_channels(obtain):
    wrong = Normalisation(mean=(0.5, 0.5, 0.5), std=(1.0, 1.0, 1.0))
    with pytest.raises(UserError, match="3 means and 3 deviations for the 1 channels of digits"):
        obtain(SPEC.model_copy(update={"normalisation": wrong}))


def test_training_needs_a_seed(obtain):
    with pytest.raises(UserError, match="training needs a seed"):
        obtain(seed=None)


def test_checkpoint_path_needs_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match="has no checkpoint"):
        checkpoint_path(SPEC, 0, tmp_path)
