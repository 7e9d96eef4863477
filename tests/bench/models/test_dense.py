"""Dense models: trained once, found again, verified, or given."""

from functools import partial

import pytest
import torch

from bench.core.errors import UserError
from bench.models.checkpoints import read_metadata, save_checkpoint, state_digest
from bench.models.dense import checkpoint_place, dense_key, model_identity, obtain_dense
from bench.models.digits import digits_cnn
from bench.store.files import Artifacts
from bench.study.spec import ModelSpec, Normalisation, Recipe

CPU = torch.device("cpu")
SPEC = ModelSpec(name="digits_cnn", recipe={"epochs": 1, "augmentation": "none"})

KEY_0_1 = "26294dd26ab17e491467efa749a26c1ef0fe7bff4bd4a7814875a9e1b7f16fb2"


@pytest.fixture
def obtain(digits, registry, tmp_path):
    def place(name):
        return Artifacts.at(name if "://" in name else tmp_path / name)

    def call(spec=SPEC, seed=0, artifacts="artifacts", cache=None, memory_format="contiguous", progress=None):
        return obtain_dense(
            spec, digits, seed, registry, tmp_path, place(artifacts), CPU, progress,
            cache=place(cache) if cache else None, memory_format=memory_format,
        )  # fmt: skip

    return call


@pytest.fixture
def obtain_untrained(obtain):
    """Obtain a model, and fail if that trains it."""

    def refuse(*_args):
        pytest.fail("trained")

    return partial(obtain, progress=refuse)


def test_training_reports_every_epoch(obtain):
    seen = []
    obtain(progress=lambda *epoch: seen.append(epoch[:2]))
    assert seen == [(1, 1)]


def test_trained_once_and_found_again(obtain, obtain_untrained, tmp_path):
    first = obtain()
    assert len(list((tmp_path / "artifacts/dense").iterdir())) == 1
    again = obtain_untrained()
    assert first.checkpoint == again.checkpoint == state_digest(again.model.state_dict())
    assert (first.recipe, first.history, first.seconds) == (again.recipe, again.history, again.seconds)
    assert first.train_overlap == "no"
    assert first.recipe["epochs"] == 1
    assert not again.model.training


def test_training_again_gives_the_same_weights(obtain):
    assert obtain(artifacts="a").checkpoint == obtain(artifacts="b").checkpoint
    assert obtain(artifacts="a", seed=1).checkpoint != obtain(artifacts="a").checkpoint


def test_each_memory_format_has_a_model_of_its_own(obtain, obtain_untrained, tmp_path):
    """A model that was just trained and one that is loaded are stored alike, or later sums would differ."""
    first = [obtain(memory_format=name) for name in ("contiguous", "channels_last")]
    assert len(list((tmp_path / "artifacts/dense").iterdir())) == 2
    assert "memory_format" not in first[0].recipe
    assert first[1].recipe["memory_format"] == "channels_last"
    again = [obtain_untrained(memory_format=name) for name in ("contiguous", "channels_last")]
    for fresh, loaded in zip(first, again, strict=True):
        assert fresh.checkpoint == loaded.checkpoint
        assert fresh.recipe == loaded.recipe
        pairs = zip(fresh.model.parameters(), loaded.model.parameters(), strict=True)
        assert all(a.stride() == b.stride() for a, b in pairs)


def test_a_model_of_an_earlier_version_has_no_learning_rates(obtain, obtain_untrained, tmp_path):
    fresh = obtain()
    assert [len(values) for values in fresh.history.values()] == [1, 1]
    file = next((tmp_path / "artifacts/dense").iterdir())
    metadata = read_metadata(file.read_bytes(), file)
    del metadata["history"]["lr"]
    save_checkpoint(fresh.model.state_dict(), file, metadata)
    assert obtain_untrained().history == {"loss": fresh.history["loss"]}


def test_a_model_that_only_guesses_carries_a_warning_also_when_it_is_loaded(obtain, obtain_untrained):
    guessing = SPEC.model_copy(update={"recipe": {**SPEC.recipe, "lr": 1e-9}})
    fresh = obtain(guessing)
    assert "the network has learned almost nothing" in fresh.warning
    assert obtain_untrained(guessing).warning == fresh.warning


def test_cache_serves_another_study(obtain, obtain_untrained, tmp_path):
    first = obtain(artifacts="a", cache="shared")
    assert obtain_untrained(artifacts="b", cache="shared").checkpoint == first.checkpoint
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
    with pytest.raises(UserError, match=f"{file.name}: cannot be read: it was altered .* delete it"):
        obtain()


def test_artifact_with_the_weights_of_another_model_is_named(obtain, tmp_path):
    obtain()
    file = next((tmp_path / "artifacts/dense").iterdir())
    metadata = read_metadata(file.read_bytes(), file)
    save_checkpoint(digits_cnn().state_dict(), file, metadata)
    with pytest.raises(UserError, match=f"{file.name}: its weights are not those that were stored; delete it"):
        obtain()


def test_a_model_of_another_seed_under_its_name_is_refused(obtain, obtain_untrained, tmp_path):
    obtain()
    [first] = (tmp_path / "artifacts/dense").iterdir()
    obtain(seed=1)
    [second] = set((tmp_path / "artifacts/dense").iterdir()) - {first}
    (tmp_path / "cache/dense").mkdir(parents=True)
    (tmp_path / "cache/dense" / second.name).write_bytes(first.read_bytes())
    with pytest.raises(UserError, match=f"cache/dense/{second.name}: is a copy of dense/{first.name}, a model of"):
        obtain_untrained(seed=1, artifacts="empty", cache="cache")


def test_artifacts_and_cache_behind_urls(obtain, obtain_untrained):
    study, cache = Artifacts.at("memory://dense-study"), Artifacts.at("memory://dense-cache")
    first = obtain(artifacts=study.place, cache=cache.place)
    (name,) = study.names()
    assert study.names() == cache.names() == [f"dense/{name.split('/')[1]}"]
    content = study.read(name)
    study.write(name, content[:-100])
    with pytest.raises(UserError, match=f"{study.where(name)}: cannot be read.*delete it, and the model is trained"):
        obtain(artifacts=study.place)
    study.write(name, content)
    assert obtain_untrained(artifacts=study.place).checkpoint == first.checkpoint
    assert obtain_untrained(artifacts="memory://dense-third", cache=cache.place).checkpoint == first.checkpoint


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"dataset_hash": "other"},
        {"recipe": Recipe(epochs=2)},
        {"version": 2},
        {"memory_format": "channels_last"},
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
    assert dense_key(ModelSpec(name="digits_cnn"), "d", Recipe(), 0, memory_format="contiguous") == base


def test_keys_of_version_0_1_stay():
    """Computed by that version for the same arguments: its stores and caches are found again."""
    assert dense_key(ModelSpec(name="digits_cnn"), "d", Recipe(), 0) == KEY_0_1


def test_the_memory_format_of_training_is_part_of_the_identity_of_trained_models_alone(registry, tmp_path):
    def identity(spec, memory_format):
        return model_identity(spec, 0, "d", registry, tmp_path, lambda _: "content", memory_format)

    given = SPEC.model_copy(update={"checkpoint": "net.safetensors"})
    assert identity(SPEC, "contiguous") != identity(SPEC, "channels_last")
    assert identity(given, "contiguous") == identity(given, "channels_last")


def test_given_checkpoint_per_seed(obtain_untrained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_TEST_WEIGHTS", str(tmp_path))
    models = {seed: digits_cnn() for seed in (3, 4)}
    for seed, model in models.items():
        save_checkpoint(model.state_dict(), tmp_path / f"net-{seed}.safetensors", {})
    spec = ModelSpec(name="digits_cnn", checkpoint="${PRUNEBENCH_TEST_WEIGHTS}/net-{seed}.safetensors")
    for seed, model in models.items():
        found = obtain_untrained(spec, seed=seed)
        assert found.checkpoint == state_digest(model.state_dict())
        assert torch.equal(found.model.linear.weight, model.linear.weight)
        assert found.train_overlap == "unknown"
        assert found.history == {}
        assert found.recipe == {"checkpoint": spec.checkpoint}
    assert checkpoint_place(spec, 3, tmp_path) == str(tmp_path / "net-3.safetensors")
    overlapping = spec.model_copy(update={"train_overlap": "yes"})
    assert obtain_untrained(overlapping, seed=3).train_overlap == "yes"


def test_given_checkpoint_behind_a_url(registry, obtain_untrained, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNEBENCH_TEST_BUCKET", "memory://given")
    model = digits_cnn()
    save_checkpoint(model.state_dict(), "memory://given/net-3.safetensors", {})
    spec = ModelSpec(name="digits_cnn", checkpoint="${PRUNEBENCH_TEST_BUCKET}/net-{seed}.safetensors")
    assert obtain_untrained(spec, seed=3).checkpoint == state_digest(model.state_dict())
    with pytest.raises(
        UserError, match=r"^memory://given/net-4\.safetensors: there is no such file; check the address"
    ):
        obtain_untrained(spec, seed=4)
    save_checkpoint(model.state_dict(), tmp_path / "net-3.safetensors", {})
    local = ModelSpec(name="digits_cnn", checkpoint=str(tmp_path / "net-{seed}.safetensors"))
    identities = [model_identity(each, 3, "d", registry, tmp_path) for each in (spec, local)]
    assert identities[0] == identities[1]


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


def test_checkpoint_place_needs_a_checkpoint(tmp_path):
    with pytest.raises(UserError, match="has no checkpoint"):
        checkpoint_place(SPEC, 0, tmp_path)
