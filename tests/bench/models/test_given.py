"""The normalisation of given checkpoints: found, or required before anything is trained."""

from __future__ import annotations

import json

import pytest
import safetensors.torch
import timm
import torch
from PIL import Image

from bench.core.errors import UserError
from bench.data.load import data_facts, load_dataset
from bench.models.checkpoints import save_checkpoint
from bench.models.dense import model_identity
from bench.models.digits import digits_cnn
from bench.models.given import resolve_models, stored_normalisation
from bench.plugins.catalogue import make_registry
from bench.store.reader import read_database
from bench.study.load import load_study
from bench.study.spec import DataSpec, FoundNormalisation, ModelSpec, Normalisation

STUDY = """\
name: given
data: [{data}]
models:
  - {{name: digits_vit}}
  - {model}
train_seeds: 2
scorers: [magnitude]
sparsities: [0.5]
"""
COLOUR = {"name": "folder:images", "calibration": 4, "search": 4}


@pytest.fixture
def resolve(tmp_path):
    """Resolve the models of a study with one given checkpoint."""

    def call(model, data="digits"):
        (tmp_path / "study.yaml").write_text(STUDY.format(model=model, data=data))
        registry = make_registry(tmp_path)
        study = load_study(tmp_path, registry)
        facts = {spec.title: data_facts(spec, tmp_path) for spec in study.file.data}
        return resolve_models(study, registry, facts)

    return call


@pytest.fixture
def colour_images(tmp_path):
    """A folder of 8 x 8 colour images."""
    for part in ("train", "test"):
        for kind in ("a", "b"):
            folder = tmp_path / "images" / part / kind
            folder.mkdir(parents=True)
            for number in range(8):
                Image.new("RGB", (32, 32), (30 * number, 10, 200)).save(folder / f"{number}.png")
    return json.dumps(COLOUR)


def save_digits(path):
    torch.save(digits_cnn().state_dict(), path)


def test_a_checkpoint_without_normalisation_is_refused_with_the_usual_values(resolve, tmp_path):
    save_digits(tmp_path / "net.pth")
    with pytest.raises(UserError) as caught:
        resolve("{name: digits_cnn, checkpoint: net.pth}")
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / 'study.yaml'}: line 5, column 5: model 'digits_cnn': the checkpoint needs")
    for values in (
        "`normalisation: dataset`",
        "`normalisation: {mean: [0.449], std: [0.226]}`",
        "`normalisation: {mean: [0], std: [1]}`",
        "`normalisation: {mean: [0.5], std: [0.5]}`",
    ):
        assert values in message


def test_every_value_of_the_message_can_be_typed(resolve, tmp_path):
    save_digits(tmp_path / "net.pth")
    with pytest.raises(UserError) as caught:
        resolve("{name: digits_cnn, checkpoint: net.pth}")
    typed = [part for part in str(caught.value).split("`") if part.startswith("normalisation: ")]
    assert len(typed) == 4
    for text in typed:
        found = resolve(f"{{name: digits_cnn, checkpoint: net.pth, {text}}}")
        assert found.study.file.models[1].normalisation is not None
        assert found.notes == ()


def test_colour_images_are_shown_the_values_of_three_channels(resolve, tmp_path, colour_images):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef net(num_classes: int, in_chans: int) -> nn.Module:\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_chans, num_classes))\n"
    )
    torch.save({"2.weight": torch.zeros(2, 3), "2.bias": torch.zeros(2)}, tmp_path / "net.pth")
    with pytest.raises(UserError) as caught:
        resolve("{name: './mine.py:net', checkpoint: net.pth}", colour_images)
    assert "{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}` (ImageNet's)" in str(caught.value)
    assert "{mean: [0, 0, 0], std: [1, 1, 1]}` (inputs in [0, 1])" in str(caught.value)


def test_timm_knows_the_normalisation_of_its_networks(resolve, tmp_path, colour_images):
    torch.save(timm.create_model("resnet18", num_classes=2).state_dict(), tmp_path / "net.pth")
    found = resolve("{name: resnet18, checkpoint: net.pth}", colour_images)
    used = found.study.file.models[1].normalisation
    config = timm.get_pretrained_cfg("resnet18")
    assert (used.mean, used.std) == (config.mean, config.std)
    assert used.source == "timm's pretrained_cfg (resnet18.a1_in1k)"
    [note] = found.notes
    assert note.startswith("resnet18: study.yaml gives no `normalisation` for the checkpoint, so that of timm's")
    assert "{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}" in note
    own = resolve("{name: resnet18, checkpoint: net.pth, normalisation: dataset}", colour_images)
    assert own.study.file.models[1].normalisation == "dataset"
    assert own.notes == ()


def test_timm_values_of_other_channels_or_of_no_weights_are_not_used(resolve, tmp_path, colour_images):
    torch.save(timm.create_model("resnet18", num_classes=10, in_chans=1).state_dict(), tmp_path / "grey.pth")
    with pytest.raises(UserError, match=r"model 'resnet18': the checkpoint needs the `normalisation`"):
        resolve("{name: resnet18, checkpoint: grey.pth}")
    name = "ghostnet_050"  # timm has no weights of it
    assert not timm.get_pretrained_cfg(name).has_weights
    torch.save(timm.create_model(name, num_classes=2).state_dict(), tmp_path / "net.pth")
    with pytest.raises(UserError, match=f"model '{name}': the checkpoint needs the `normalisation`"):
        resolve(f"{{name: {name}, checkpoint: net.pth}}", colour_images)


def test_files_of_ours_have_their_normalisation_with_them(resolve, tmp_path):
    values = {"mean": [0.25], "std": [0.125]}
    for seed in range(2):
        save_checkpoint(digits_cnn().state_dict(), tmp_path / f"{seed}.pth", values)
    found = resolve("{name: digits_cnn, checkpoint: '{seed}.pth'}")
    expected = FoundNormalisation(**values, source="the metadata of the checkpoint")
    assert found.study.file.models[1].normalisation == expected
    assert set(found.digests) == {str(tmp_path / f"{seed}.pth") for seed in range(2)}
    given = resolve("{name: digits_cnn, checkpoint: '{seed}.pth', normalisation: {mean: [0.5], std: [0.5]}}")
    assert given.study.file.models[1].normalisation == Normalisation(mean=(0.5,), std=(0.5,))
    for other in ({"mean": [0.5], "std": [0.125]}, {}):
        save_checkpoint(digits_cnn().state_dict(), tmp_path / "1.pth", other)
        with pytest.raises(UserError, match="its files have different ones in their metadata"):
            resolve("{name: digits_cnn, checkpoint: '{seed}.pth'}")


@pytest.mark.parametrize(
    "metadata",
    [{}, {"mean": [0.5]}, {"mean": "x", "std": [1]}, {"mean": [7.0], "std": [1.0]}, {"mean": [0.5], "std": [0]}],
)
def test_metadata_without_a_normalisation(tmp_path, metadata):
    save_checkpoint({"a": torch.zeros(1)}, tmp_path / "net", metadata)
    assert stored_normalisation((tmp_path / "net").read_bytes(), "net") is None


def test_metadata_of_other_programs_is_not_used():
    content = safetensors.torch.save({"a": torch.zeros(1)}, {"mean": "[0.5]", "std": "[0.5]"})
    assert stored_normalisation(content, "net") is None


def test_the_number_of_channels_is_checked_for_given_and_trained_networks(resolve, tmp_path):
    save_digits(tmp_path / "net.pth")
    wrong = "normalisation: {mean: [0.5, 0.5, 0.5], std: [1, 1, 1]}"
    for model in (f"{{name: digits_cnn, checkpoint: net.pth, {wrong}}}", f"{{name: digits_cnn, {wrong}}}"):
        with pytest.raises(UserError, match=r"line 5, .* 3 means and 3 deviations for the 1 channels of digits; write"):
            resolve(model)


def test_a_checkpoint_that_does_not_fit_is_found_before_training(resolve, tmp_path):
    torch.save({"linear.weight": torch.zeros(3, 3)}, tmp_path / "net.pth")
    with pytest.raises(UserError, match=r"net.pth: does not fit DigitsCNN: tensors \d+ missing"):
        resolve("{name: digits_cnn, checkpoint: net.pth, normalisation: dataset}")


# ---------------------------------------------------------------- identities


def test_the_identity_changes_only_with_the_values(tmp_path, registry):
    save_digits(tmp_path / "net.pth")
    base = ModelSpec(name="digits_cnn", checkpoint="net.pth")
    values = {"mean": (0.25,), "std": (0.5,)}

    def identity(**change):
        return model_identity(base.model_copy(update=change), None, "d", registry, tmp_path)

    given = identity(normalisation=Normalisation(**values))
    assert identity(normalisation=FoundNormalisation(**values, source="somewhere")) == given
    assert identity(normalisation="dataset") == identity() != given
    assert identity(normalisation=Normalisation(mean=(0.25,), std=(0.6,))) != given
    assert identity(expected_accuracy=90) == identity()


#: Computed by the version before `normalisation: dataset` and `expected_accuracy` were keys.
GIVEN_BEFORE = "[{name: digits_cnn, checkpoint: x, normalisation: {mean: [0.5], std: [0.25]}}]"
HASH_BEFORE = {
    "[digits_cnn]": "62b788b56696d5579053900ad697389f52b8767cbbdbbfd13d1d7d66109c35ac",
    GIVEN_BEFORE: "4215add08f1abfe2e1911c4986ac90de34712ab8acfa3e21d30e49ff21048cae",
}


@pytest.mark.parametrize("models", HASH_BEFORE)
def test_studies_from_before_keep_their_hash(tmp_path, models):
    (tmp_path / "study.yaml").write_text(
        f"name: s\ndata: [digits]\nmodels: {models}\nscorers: [magnitude]\nsparsities: [0.5]\n"
    )
    assert load_study(tmp_path, make_registry(tmp_path)).digest() == HASH_BEFORE[models]


# ---------------------------------------------------------------- on the command line


@pytest.fixture
def given_study(tmp_path):
    """A digits network trained here on inputs in [0, 1], with its accuracy in plain PyTorch."""
    digits = load_dataset(DataSpec(name="digits"), tmp_path)
    torch.manual_seed(0)
    net = digits_cnn()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    images = digits.fit.images / 255
    for _ in range(6):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(images[chosen]), digits.fit.labels[chosen]).backward()
            optimizer.step()
    net.eval()
    with torch.inference_mode():
        accuracy = (net(digits.test.images / 255).argmax(1) == digits.test.labels).double().mean().item()
    torch.save({"state_dict": net.state_dict(), "epoch": 6}, tmp_path / "net.pth.tar")

    def write(extra):
        (tmp_path / "study.yaml").write_text(
            f"name: s\ndata: [digits]\nmodels: [{{name: digits_cnn, checkpoint: net.pth.tar{extra}}}]\n"
            "scorers: [magnitude]\nsparsities: [0.5]\n"
        )
        return tmp_path

    return write, accuracy


def test_a_network_of_inputs_in_0_to_1_has_its_accuracy_or_is_refused(given_study, command):
    write, accuracy = given_study
    folder = write("")
    for verb in ("plan", "run"):
        refused = command(verb, folder)
        assert refused.code == 2
        assert refused.err.count("\n") == 1
        assert "the checkpoint needs the `normalisation`" in refused.err
    assert not (folder / "results.db").exists()
    folder = write(", normalisation: {mean: [0.0], std: [1.0]}")
    planned = json.loads(command("plan", folder, "--json").out)
    assert planned["lines"]["normalisation"] == "{mean: [0], std: [1]} from study.yaml: digits_cnn"
    assert command("run", folder).code == 0
    data = read_database(folder)
    assert data.rows.loc[data.rows["scorer"].eq("dense"), "accuracy"].tolist() == [accuracy]
    [recipe] = data.dense["recipe"]
    assert json.loads(recipe) == {
        "checkpoint": "net.pth.tar", "normalisation": {"mean": [0.0], "std": [1.0], "source": "study.yaml"},
    }  # fmt: skip


def test_a_found_normalisation_is_shown_in_plan_run_and_report(tmp_path, command, colour_images):
    torch.save(timm.create_model("resnet18", num_classes=2).state_dict(), tmp_path / "net.bin")
    (tmp_path / "study.yaml").write_text(
        f"name: s\ndata: [{colour_images}]\nmodels: [{{name: resnet18, checkpoint: net.bin}}]\n"
        "scorers: [magnitude]\nsparsities: [0.5]\nexecution: {memory_format: contiguous, batch: 4, threads: 1}\n"
        "calibration: {images: 4, batch: 4}\n"
    )
    planned = json.loads(command("plan", tmp_path, "--json").out)
    source = "from timm's pretrained_cfg (resnet18.a1_in1k)"
    assert source in planned["lines"]["normalisation"]
    assert planned["study"]["models"][0]["normalisation"] == {
        "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    assert any("write its `normalisation`" in warning for warning in planned["warnings"])
    result = command("run", tmp_path)
    assert result.code == 0, result.err
    assert "note: resnet18: study.yaml gives no `normalisation`" in result.out
    assert command("report", tmp_path).code == 0
    report = (tmp_path / "report" / "report.md").read_text().replace("\\", "")
    assert (
        f"The inputs of resnet18 are normalised with mean 0.485, 0.456, 0.406 and standard deviation 0.229, 0.224, "
        f"0.225, {source}." in report
    )
