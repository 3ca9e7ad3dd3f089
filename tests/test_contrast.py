"""``advlab contrast`` through the front door, on few and small images: what it writes, repeats,
resumes and refuses."""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier
from torch import nn
from torchvision.models import resnet18 as reference_resnet18

from advlab.cli.main import main
from advlab.config.options.contrast import ContrastOptions
from advlab.contrastive import baselines, candidates, trainer
from advlab.contrastive import checkpoint as contrastive_checkpoint
from advlab.contrastive.baselines import untrained
from advlab.contrastive.encoders import resnet18, small
from advlab.contrastive.loss import lower_bound, nt_xent, uninformed
from advlab.contrastive.networks import Contrast
from advlab.contrastive.settings import epochs_of, metadata_of, views_of
from advlab.errors import UsageError
from advlab.experiments.contrast.evaluation import cosines_of
from advlab.metrics.clusters import cluster_agreement, silhouette
from advlab.metrics.neighbours import nearest, vote
from advlab.metrics.probe import best_probe, fit_probes
from advlab.networks import checkpoint
from advlab.networks.metadata import ENCODER, read_metadata
from advlab.plots.contrast import (
    encoder_accuracies,
    few_labels_accuracies,
    loss_between_bounds,
)
from advlab.plots.embedding import image_map
from advlab.runs.machine import Machine
from advlab.runs.results import TIMING
from advlab.training.evaluate import logits_of

SMALL = {
    "--dataset": "digits",
    "--precision": "fp32",
    "--width": "2",
    "--projection": "8",
    "--epochs": "3",
    "--batch-size": "32",
    "--train-size": "160",
}
PICTURES = ("views", "loss", "evaluation", "tsne", "neighbours")


class FirstTwo:
    """Stands for t-SNE where nobody looks at the map: images lie at two of their features."""

    def __init__(self, **settings: object) -> None:
        pass

    def fit_transform(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        return features[:, :2]


def contrast(out: Path, *words: str, mapped: bool = False) -> int:
    """Runs a line with the iterations of the probes and the batches that settle an untrained
    encoder cut short, and t-SNE as well or, where it is not ``mapped``, left out: most of what a
    run costs. All are carried out to the end elsewhere."""
    without = {*words, *(["--width"] if any(".py:" in word for word in words) else [])}
    line = [word for flag, value in SMALL.items() if flag not in without for word in (flag, value)]
    with pytest.MonkeyPatch.context() as patch:
        embedding = functools.partial(TSNE, max_iter=250) if mapped else FirstTwo
        patch.setattr("sklearn.manifold.TSNE", embedding)
        patch.setattr("advlab.contrastive.baselines._SETTLING", 4)
        patch.setattr("advlab.metrics.probe._ITERATIONS", 10)
        patch.setattr("advlab.contrastive.baselines._FEW_EPOCHS", 2)
        patch.setattr("advlab.contrastive.baselines._FEW_STEPS", 4)
        return main(["contrast", *line, *words, "--out", str(out)])


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


def timeless(folder: Path) -> dict[str, Any]:
    """A run's result without what the clock says."""
    found = {
        key: value
        for key, value in metrics(folder).items()
        if key not in {*TIMING, "images_per_second", "views_time_fraction"}
    }
    return {
        **found,
        "supervised": {
            key: value for key, value in found["supervised"].items() if key != "seconds"
        },
    }


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``samples`` folder with a finished run, ``contrast/one``."""
    out = tmp_path_factory.mktemp("samples")
    assert contrast(out, "--name", "one", mapped=True) == 0
    return out


@pytest.fixture(scope="module")
def one(samples: Path) -> Path:
    return samples / "contrast" / "one"


# --- a run ----------------------------------------------------------------------------------------
@pytest.mark.painted
def test_what_a_run_leaves(one: Path) -> None:
    said = metrics(one)
    assert said["kind"] == "contrast"
    assert said["component"] == "simclr"
    assert said["model"] == "small"
    for part in (said, said["untrained"], said["untrained_raw"], said["supervised"]):
        assert 0 < part["knn_accuracy"] <= 1
        assert 0 < part["probe_accuracy"] <= 1
        assert -1 < part["silhouette"] < 1
        assert 0 < part["cluster_agreement"] < 1
    assert 0 < said["pixels"]["knn_accuracy"] <= 1
    assert 0 < said["supervised"]["accuracy"] <= 1
    assert said["examples"] == {"train": 160, "val": 180, "test": 360}
    assert said["neighbours"] == 20
    assert said["contrastive_loss_bound"] == lower_bound(32, 0.5)
    assert said["contrastive_loss_uninformed"] == uninformed(32)
    assert (
        said["contrastive_loss_bound"] < said["contrastive_loss"] < said["first_contrastive_loss"]
    )
    assert said["batches"] == 3 * 5
    assert said["epochs"] == 3
    assert 0 < said["views_time_fraction"] < 1
    assert said["views"] == {
        "crop": 0.3,
        "flip": 0.0,
        "degrees": 10.0,
        "jitter": 0.5,
        "grey": 0.0,
        "blur": 0.0,
    }
    assert said["checkpoint_sha256"] == checkpoint.sha256(one / "encoder.safetensors")
    for name in PICTURES:
        with Image.open(one / f"{name}.png") as image:
            assert image.text["Software"] == "advlab"  # type: ignore[attr-defined]
    history = [json.loads(line) for line in (one / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2, 3]
    assert all(math.isfinite(line["loss"]) and 0 <= line["found"] <= 1 for line in history)
    assert not list(one.rglob("resume*"))


def test_the_encoder_is_the_same_before_and_after_its_judges(one: Path) -> None:
    """And it is the one that the file holds."""
    said = metrics(one)
    network, card = contrastive_checkpoint.load(one)
    assert (
        said["encoder_sha256_before"]
        == said["encoder_sha256_after"]
        == checkpoint.sha256_of(network.encoder)
    )
    assert card.training["loss"] == said["contrastive_loss"]
    assert not network.training


def test_a_judge_that_changes_the_encoder_is_caught(
    one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from advlab.config.options.run import DataOptions
    from advlab.data import load_images
    from advlab.experiments.contrast import evaluation

    data = load_images.load(DataOptions(dataset="digits"))
    encoder = contrastive_checkpoint.load(one)[0].encoder
    machine = Machine(torch.device("cpu"), "fp32")
    monkeypatch.setattr(
        evaluation, "logits_of", lambda model, *rest: logits_of(model.train(), *rest)
    )
    with pytest.raises(RuntimeError, match="changed while it was evaluated"):
        evaluation.features_of(encoder, data.val, data, machine)


@pytest.mark.painted
def test_the_same_line_gives_the_same_bits_and_typed_again_does_nothing(
    samples: Path, one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contrast(tmp_path, "--name", "two", mapped=True) == 0
    two = tmp_path / "contrast" / "two"
    for name in ("encoder.safetensors", *(f"{picture}.png" for picture in PICTURES)):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert timeless(one) == timeless(two)
    kept = {file: file.stat().st_mtime_ns for file in one.rglob("*") if file.name != ".lock"}
    capsys.readouterr()
    assert contrast(samples, "--name", "one") == 0
    said = capsys.readouterr().out
    assert "finished already" in said
    assert "trained with labels" in said
    assert {
        file: file.stat().st_mtime_ns for file in one.rglob("*") if file.name != ".lock"
    } == kept


CONSTANT = """
from torch import nn


class Constant(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(784, 8), nn.Linear(8, 10)

    def forward(self, x):
        return self.last(0 * self.first(x.flatten(1)) + 1)
"""


def test_features_that_are_all_the_same_are_no_map_and_find_no_partner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """t-SNE of them ends in a crash of its own, and every key is as near as one's own."""
    monkeypatch.chdir(tmp_path)
    Path("constant.py").write_text(CONSTANT)
    line = ("--no-supervised", "--epochs", "1", "--queue", "64")
    words = ("--encoder", "constant.py:Constant", "--name", "x")
    assert contrast(tmp_path, *line, *words, mapped=True) == 0
    assert "tsne.png is not drawn: 360 test images with 1 different feature" in (
        capsys.readouterr().out
    )
    # In the first of five steps the queue is of the encoder as it was made.
    assert metrics(tmp_path / "contrast" / "x")["matched_fraction"] <= 0.2
    assert not (tmp_path / "contrast" / "x" / "tsne.png").exists()


@pytest.mark.parametrize(
    "words",
    [("--queue", "48"), ("--encoder", "dropped.py:make")],
    ids=["a queue", "an encoder with dropout"],
)
def test_what_was_stopped_goes_on_to_the_same_bits(
    words: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("dropped.py").write_text(DROPPED)
    line = ("--no-supervised", "--epochs", "2", *words)
    assert contrast(tmp_path, *line, "--name", "whole") == 0
    step, calls = trainer.two_views, 0

    def stop(*words: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return step(*words)

    monkeypatch.setattr(trainer, "two_views", stop)
    assert contrast(tmp_path, *line, "--name", "cut") == 130
    monkeypatch.setattr(trainer, "two_views", step)
    assert contrast(tmp_path, *line, "--name", "cut") == 0
    whole, cut = (tmp_path / "contrast" / name for name in ("whole", "cut"))
    weights = [(folder / "encoder.safetensors").read_bytes() for folder in (whole, cut)]
    assert weights[0] == weights[1]
    assert metrics(whole)["contrastive_loss"] == metrics(cut)["contrastive_loss"]


DROPPED = """
from torch import nn


def make():
    layers = nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10)
    return nn.Sequential(*layers)
"""


@pytest.mark.parametrize("where", ["contrastive", "supervised"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    one: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    where: str,
) -> None:
    module: Any = trainer if where == "contrastive" else baselines
    name = "two_views" if where == "contrastive" else "view"
    whole, calls = getattr(module, name), 0

    def stop(*words: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return whole(*words)

    monkeypatch.setattr(module, name, stop)
    assert contrast(tmp_path, "--name", "cut") == 130
    folder = tmp_path / "contrast" / "cut"
    assert not (folder / "metrics.json").exists()
    monkeypatch.setattr(module, name, whole)
    assert contrast(tmp_path, "--name", "cut") == 0
    assert "going on after epoch 1 of 3" in capsys.readouterr().out
    assert (folder / "encoder.safetensors").read_bytes() == (
        one / "encoder.safetensors"
    ).read_bytes()
    ours, theirs = timeless(folder), timeless(one)
    assert ours == theirs


@pytest.mark.parametrize(
    "words",
    [
        ("--optimizer", "lars", "--accumulate", "2"),
        ("--blur", "--jitter", "0", "--crop", "1", "--weight-decay", "0", "--warmup", "0"),
        ("--precision", "bf16", "--temperature", "0.05", "--projection", "16", "8", "4"),
        ("--encoder", "resnet18", "--epochs", "1", "--train-size", "64"),
        ("--queue", "48", "--momentum", "0.9", "--accumulate", "2"),
    ],
    ids=lambda words: " ".join(words),
)
def test_every_kind_of_run(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert contrast(tmp_path, "--no-supervised", "--name", "kind", *words) == 0
    said = metrics(tmp_path / "contrast" / "kind")
    assert said["contrastive_loss_bound"] <= said["contrastive_loss"]
    assert said["supervised"] is None


FEW = ("--no-supervised", "--epochs", "1", "--label-fractions", "1/8", "0.5")


def test_few_labels_train_the_trained_encoder_and_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a run that was interrupted in the last of these trainings ends in the same bits."""
    starts = []

    def recorded(encoder: nn.Module, features: int, train: Any, *rest: Any) -> Any:
        starts.append((checkpoint.sha256_of(encoder), len(train), train.labels.unique().numel()))
        return baselines.on_few_labels(encoder, features, train, *rest)

    monkeypatch.setattr("advlab.experiments.contrast.few_labels.on_few_labels", recorded)
    assert contrast(tmp_path, "--name", "few", *FEW) == 0
    assert "from scratch" in capsys.readouterr().out
    found = metrics(tmp_path / "contrast" / "few")
    trained, fresh = found["encoder_sha256_before"], starts[1][0]
    assert trained == found["encoder_sha256_after"] != fresh
    assert starts == [(start, n, 10) for n in (20, 80) for start in (trained, fresh)]
    assert [(one["fraction"], one["images"]) for one in found["few_labels"]] == [
        (0.125, 20),
        (0.5, 80),
    ]
    assert [one["epochs"] for one in found["few_labels"]] == [4, 2]
    assert (tmp_path / "contrast" / "few" / "few-labels.png").is_file()

    view, calls = vars(baselines)["view"], 0

    def stop(*words: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 18:  # in the second epoch from scratch with half of the labels
            raise KeyboardInterrupt
        return view(*words)

    with monkeypatch.context() as patch:
        patch.setattr(baselines, "view", stop)
        assert contrast(tmp_path, "--name", "cut", *FEW) == 130
    capsys.readouterr()
    assert contrast(tmp_path, "--name", "cut", *FEW) == 0
    assert "going on after epoch 1 of 2" in capsys.readouterr().out

    def without_time(one: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in one.items() if key != "seconds"}

    again = metrics(tmp_path / "contrast" / "cut")["few_labels"]
    assert list(map(without_time, again)) == list(map(without_time, found["few_labels"]))


def test_a_set_of_next_to_nothing(tmp_path: Path) -> None:
    """Three images of each of two classes: one of each is tested on, and everything is drawn all
    the same."""
    for name, level in (("dark", 10), ("bright", 200)):
        (tmp_path / "few" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (8, 8), (level + number, level, level)).save(
                tmp_path / "few" / name / f"{number}.png"
            )
    words = [
        "--dataset",
        f"folder:{tmp_path / 'few'}",
        "--image-size",
        "8",
        "--batch-size",
        "2",
        "--train-size",
        "2",
        "--epochs",
        "1",
    ]
    assert contrast(tmp_path, *words, "--name", "few", "--no-supervised") == 0
    said = metrics(tmp_path / "contrast" / "few")
    assert said["cosine_same_class"] is None
    assert -1 <= said["cosine_other_class"] <= 1


def test_photos_of_a_folder(tmp_path: Path) -> None:
    """Three channels; two classes that differ in colour alone."""
    random = np.random.default_rng(0)
    for name, tint in (("red", (200, 60, 60)), ("blue", (60, 60, 200))):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(20):
            pixels = np.clip(random.integers(-50, 50, (16, 16, 3)) + np.array(tint), 0, 255).astype(
                np.uint8
            )
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    words = [
        "--dataset",
        f"folder:{tmp_path / 'photos'}",
        "--image-size",
        "16",
        "--batch-size",
        "16",
        "--train-size",
        "32",
    ]
    assert (
        contrast(
            tmp_path,
            *words,
            "--name",
            "photos",
            "--epochs",
            "2",
            "--neighbours",
            "3",
            "--no-supervised",
        )
        == 0
    )
    said = metrics(tmp_path / "contrast" / "photos")
    assert said["model"] == "resnet18"
    assert said["views"]["flip"] == 0.5
    assert said["pixels"]["knn_accuracy"] == 1.0


def test_a_study_over_temperatures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert contrast(tmp_path, "--temperature", "0.1", "1", "--epochs", "1", "--no-supervised") == 0
    assert "k-NN accuracy" in capsys.readouterr().out
    (folder,) = (tmp_path / "compare").iterdir()
    assert metrics(folder)["figure"] == "knn_accuracy"
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert "k-NN accuracy" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip()
    assert said
    assert "\n" not in said
    return said


def stopped(out: Path, monkeypatch: pytest.MonkeyPatch, *words: str, after: bool = False) -> Path:
    """A run that was interrupted in the second epoch of the training with labels, or after the last
    one."""
    view, calls = vars(baselines)["view"], 0

    def stop(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if after or calls == 8:
            raise KeyboardInterrupt
        return view(*given)

    with monkeypatch.context() as patch:
        patch.setattr(
            "advlab.experiments.contrast.run.own_accuracy"
            if after
            else "advlab.contrastive.baselines.view",
            stop,
        )
        assert contrast(out, "--name", "cut", *words) == 130
    return out / "contrast" / "cut"


@pytest.mark.parametrize(
    ("name", "after"),
    [("resume.pt", False), ("supervised/resume.pt", False), ("supervised/best.safetensors", True)],
    ids=lambda value: str(value),
)
def test_one_bit_of_what_an_interrupted_run_left(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    after: bool,
) -> None:
    file = stopped(tmp_path, monkeypatch, after=after) / name
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(bytes(content))
    capsys.readouterr()
    assert contrast(tmp_path, "--name", "cut") == 1
    assert f"{file} is damaged" in refused(capsys)


def test_the_best_epoch_of_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = stopped(tmp_path / "a", monkeypatch, after=True) / "supervised" / "best.safetensors"
    other = (
        stopped(tmp_path / "b", monkeypatch, "--seed", "1", after=True)
        / "supervised"
        / "best.safetensors"
    )
    file.write_bytes(other.read_bytes())
    capsys.readouterr()
    assert contrast(tmp_path / "a", "--name", "cut") == 2
    assert f"{file} belongs to a run of other settings, data or networks" in refused(capsys)


def test_other_images_in_the_same_folder_are_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, level in (("dark", 10), ("bright", 200)):
        (tmp_path / "few" / name).mkdir(parents=True)
        for number in range(20):
            Image.new("L", (8, 8), level + number).save(tmp_path / "few" / name / f"{number}.png")
    words = [
        "--dataset",
        f"folder:{tmp_path / 'few'}",
        "--image-size",
        "8",
        "--batch-size",
        "8",
        "--train-size",
        "16",
        "--epochs",
        "3",
    ]
    assert contrast(tmp_path, *words, "--name", "finished", "--no-supervised") == 0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("advlab.experiments.contrast.run.untrained", stop)
        assert contrast(tmp_path, *words, "--name", "unfinished", "--no-supervised") == 130
    Image.new("L", (8, 8), 90).save(tmp_path / "few" / "dark" / "0.png")
    capsys.readouterr()
    for name in ("finished", "unfinished"):
        assert contrast(tmp_path, *words, "--name", name, "--no-supervised") == 2
        assert "holds another run (data " in refused(capsys)


def test_a_loss_that_is_no_number_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = torch.full((64, 64), math.nan, requires_grad=True), torch.zeros(64).long()
    monkeypatch.setattr(candidates, "similarities", lambda z1, z2, temperature: nothing)
    assert contrast(tmp_path, "--name", "nan") == 1
    assert "stopped being a number in epoch 1, batch 1" in capsys.readouterr().err
    assert not (tmp_path / "contrast" / "nan" / "metrics.json").exists()


REFUSED = [
    (("--batch-size", "1"), "--batch-size: NT-Xent needs two images at least"),
    (("--temperature", "0"), "--temperature: must be greater than 0"),
    (("--temperature", "-0.5"), "--temperature: must be greater than 0"),
    (("--batch-size", "500"), "--batch-size 500: there are 160 images to train on"),
    (
        ("--encoder", "resnet19"),
        "--encoder: must be one of auto, resnet18, small, cnn, ",
    ),
    (("--crop", "0"), "--crop: must be greater than 0"),
    (
        ("--label-fractions", "0.05"),
        "--label-fractions 0.05: cannot train on 8 images: of these 160 in 10 classes",
    ),
    (("--label-fractions", "0"), "--label-fractions: must be greater than 0"),
]


@pytest.mark.parametrize(("words", "line"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_be_is_refused(
    tmp_path: Path, words: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert contrast(tmp_path, *words) == 2
    assert line in capsys.readouterr().err
    assert not (tmp_path / "contrast").exists()


# --- checkpoints ----------------------------------------------------------------------------------
def test_checkpoints_are_not_mistaken(
    one: Path, samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = one / "encoder.safetensors"
    assert (
        main(
            [
                "attack",
                "fgsm",
                "--dataset",
                "digits",
                "--checkpoint",
                str(file),
                "--out",
                str(tmp_path),
            ]
        )
        == 2
    )
    assert "is an encoder, written by 'advlab contrast'" in capsys.readouterr().err
    with pytest.raises(UsageError, match="no encoder at"):
        contrastive_checkpoint.load(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"garbage")
    with pytest.raises(UsageError, match="is not a checkpoint of advlab"):
        contrastive_checkpoint.load(tmp_path / "x.safetensors")
    network, card = contrastive_checkpoint.load(one)
    checkpoint.save(tmp_path / "wide.safetensors", network, card.model_copy(update={"width": 3}))
    with pytest.raises(UsageError, match="do not fit the small that it names"):
        contrastive_checkpoint.load(tmp_path / "wide.safetensors")
    checkpoint.save(tmp_path / "same.safetensors", network, card)
    assert read_metadata(tmp_path / "same.safetensors", ENCODER) == card
    assert (tmp_path / "same.safetensors").read_bytes() == file.read_bytes()


# --- parts ----------------------------------------------------------------------------------------
def test_the_large_resnet_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs = reference_resnet18(weights=None)
    ours = resnet18.build((3, 96, 96), 64)
    missing = ours.load_state_dict(
        {name: value for name, value in theirs.state_dict().items() if not name.startswith("fc.")}
    )
    assert not missing.missing_keys
    theirs.fc = nn.Identity()
    images = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(ours.eval()(images), theirs.eval()(images))


@pytest.mark.parametrize("module", [resnet18, small])
def test_an_encoder_gives_the_features_it_says(module: Any) -> None:
    for shape in ((3, 64, 64), (1, 28, 28), (3, 8, 8)):
        features = module.build(shape, 4)(torch.rand(2, *shape))
        assert features.shape == (2, module.features(4))


def test_small_images_keep_their_size_in_the_stem() -> None:
    network = resnet18.build((3, 32, 32), 4)
    seen = []
    network.get_submodule("layer1").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].shape)
    )
    network(torch.rand(2, 3, 32, 32))
    assert seen[0] == (2, 4, 32, 32)


def test_what_is_left_open_depends_on_the_channels() -> None:
    options = ContrastOptions()
    assert metadata_of(options, (1, 28, 28), ("a", "b"), "x").encoder == "small"
    photos = metadata_of(options, (3, 32, 32), ("a", "b"), "x")
    assert (photos.encoder, photos.width, photos.projection) == ("resnet18", 64, (256, 128, 64))
    assert views_of(options, 3).flip == 0.5
    assert views_of(options, 1).flip == 0
    assert views_of(ContrastOptions(flip=0.25, crop=0.9), 1).flip == 0.25
    assert epochs_of(ContrastOptions(batch_size=100), 1000) == 20
    assert epochs_of(ContrastOptions(batch_size=100, accumulate=5), 1000) == 100
    assert epochs_of(ContrastOptions(), 1_000_000) == 10
    with pytest.raises(UsageError, match="one channel or three"):
        metadata_of(options, (2, 28, 28), ("a", "b"), "x")


def test_accumulated_gradients_are_their_mean_and_know_no_other_negatives(tmp_path: Path) -> None:
    """One step of two batches: its gradient is the mean of both batches' own, not that of one batch
    of both."""
    pixels = torch.randint(
        0, 256, (8, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    options = ContrastOptions(
        epochs=1,
        batch_size=4,
        accumulate=2,
        optimizer="lars",
        lr=1.0,
        warmup=0,
        weight_decay=0,
        width=2,
        projection=[4],
        precision="fp32",
    )
    card = metadata_of(options, (1, 12, 12), ("a", "b"), "x")
    machine, views = Machine(torch.device("cpu"), "fp32"), views_of(options, 1)
    torch.manual_seed(0)
    network = Contrast(card, [0.5], [0.25])
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    twin = Contrast(card, [0.5], [0.25])
    twin.load_state_dict(network.state_dict())
    trainer.train(network, pixels, views, options, machine, tmp_path)
    generator = trainer.views_generator(options, 0)
    twin.train()
    for index in trainer.batches_of(8, options, 0):
        z1, z2 = twin(trainer.two_views(pixels[index], views, generator, machine)).chunk(2)
        (nt_xent(z1, z2, 0.5) / 2).backward()
    for name, parameter in twin.named_parameters():
        assert parameter.grad is not None
        moved = before[name] - dict(network.named_parameters())[name].detach()
        factor = 1e-3 * before[name].norm() / parameter.grad.norm() if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(moved, factor * parameter.grad, atol=1e-6, rtol=1e-3)


def test_the_untrained_rival_keeps_its_weights_and_settles_its_statistics() -> None:
    pixels = torch.randint(
        0, 256, (16, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    options = ContrastOptions(batch_size=8, precision="fp32")
    encoder = small.build((1, 12, 12), 2)
    settled = untrained(
        encoder, pixels, views_of(options, 1), options, Machine(torch.device("cpu"), "fp32")
    )
    for (name, ours), theirs in zip(encoder.named_parameters(), settled.parameters(), strict=True):
        assert torch.equal(ours, theirs), name
    assert int(settled[1].num_batches_tracked) == 50  # type: ignore[index]
    assert int(encoder[1].num_batches_tracked) == 0  # type: ignore[index]
    assert not settled.training


def test_the_mean_cosine_is_the_naive_one_with_features_that_are_zero() -> None:
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).relu()
    features[::3] = 0
    labels = torch.arange(12) % 2
    cosines = torch.nn.functional.cosine_similarity(features[:, None], features[None], dim=2)
    same = labels[:, None] == labels[None]
    own = torch.eye(12, dtype=torch.bool)
    found = cosines_of(features, labels)
    assert found == pytest.approx(
        (float(cosines[same & ~own].mean()), float(cosines[~same].mean())), abs=1e-6
    )


def test_the_untrained_rival_draws_the_same_whatever_was_drawn_before() -> None:
    """Dropout before batch normalisation gives other statistics with other draws."""
    pixels = torch.randint(
        0, 256, (16, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    options = ContrastOptions(batch_size=8, precision="fp32")
    encoder = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(16))
    machine, means = Machine(torch.device("cpu"), "fp32"), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        settled = untrained(encoder, pixels, views_of(options, 1), options, machine)
        means.append(settled[2].running_mean)  # type: ignore[index]
    assert torch.equal(means[0], means[1])


def clusters(
    seed: int, count: int = 120, width: int = 6, apart: float = 1.2
) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 3, (count,), generator=random)
    centres = apart * torch.randn(3, width, generator=torch.Generator().manual_seed(99))
    return centres[labels] + torch.randn(count, width, generator=random), labels


def test_neighbours_are_scikit_learns() -> None:
    features, labels = clusters(0)
    queries, _ = clusters(1)
    cosines, index = nearest(queries, features, 7)
    reference = KNeighborsClassifier(
        7, metric="cosine", weights=lambda distance: np.exp((1 - distance) / 0.1)
    )
    reference.fit(features.double().numpy(), labels.numpy())
    distance, place = reference.kneighbors(queries.double().numpy())
    np.testing.assert_allclose(cosines.numpy(), 1 - distance, atol=1e-5)
    np.testing.assert_array_equal(index.numpy(), place)
    np.testing.assert_array_equal(
        vote(cosines, labels[index], 3, 0.1).numpy(), reference.predict(queries.double().numpy())
    )


def test_votes_at_a_tiny_temperature_are_the_nearests() -> None:
    cosines, labels = (
        torch.tensor([[0.9, 0.8, 0.8], [0.5, 0.4, 0.3]]),
        torch.tensor([[1, 0, 0], [2, 1, 1]]),
    )
    assert vote(cosines, labels, 3, 1e-4).tolist() == [1, 2]
    assert vote(cosines, labels, 3, 100.0).tolist() == [0, 1]


@pytest.mark.parametrize("penalty", [1e-1, 1e-2, 1e-3])
def test_the_probe_is_scikit_learns(penalty: float) -> None:
    features, labels = clusters(0)
    (probe,) = fit_probes(features, labels, 3, [penalty])
    standard = (features.double() - features.double().mean(0)) / features.double().std(
        0, correction=0
    )
    reference = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-10, max_iter=10_000).fit(
        standard.numpy(), labels.numpy()
    )
    np.testing.assert_allclose(probe.weight.numpy(), reference.coef_, atol=2e-3)
    queries, _ = clusters(1)
    chosen = best_probe([probe], queries, torch.zeros(120).long())
    agree = chosen.predict(queries).numpy() == reference.predict(
        ((queries - probe.mean) / probe.scale).double().numpy()
    )
    assert agree.mean() > 0.99


def test_the_penalty_is_chosen_on_other_images() -> None:
    features, labels = clusters(0, 30, 40, 0.3)
    held_out = clusters(1, 200, 40, 0.3)
    probes = fit_probes(features, labels, 3)
    right = [float((probe.predict(held_out[0]) == held_out[1]).float().mean()) for probe in probes]
    chosen = best_probe(probes, *held_out)
    assert chosen.penalty == probes[right.index(max(right))].penalty
    assert len(set(right)) > 1


def test_the_silhouette_is_scikit_learns() -> None:
    features, labels = clusters(0)
    features[5] = 0  # has no direction
    labels[7] = 9  # alone in its class
    expected = silhouette_score(features.double().numpy(), labels.numpy(), metric="cosine")
    assert silhouette(features, labels) == pytest.approx(expected, abs=1e-12)
    along_axes, two_each = torch.eye(3).repeat(2, 1), torch.arange(3).repeat(2)
    assert silhouette(along_axes, two_each) == pytest.approx(1.0, abs=1e-12)
    assert silhouette(torch.ones(6, 3), two_each) == 0.0
    assert silhouette(features, torch.zeros(120).long()) is None
    assert silhouette(along_axes, torch.arange(6)) is None


def test_clusters_agree_with_the_classes_that_they_are_and_not_with_others() -> None:
    features, labels = clusters(0, apart=20.0)
    assert cluster_agreement(features, labels, 0) == pytest.approx(1.0, abs=1e-12)
    random = torch.randint(0, 3, (120,), generator=torch.Generator().manual_seed(3))
    agreement = cluster_agreement(features, random, 0)
    assert agreement is not None
    assert agreement < 0.05
    assert cluster_agreement(torch.ones(6, 3), torch.arange(2).repeat(3), 0) is None
    assert cluster_agreement(features, torch.zeros(120).long(), 0) is None


def test_features_that_never_vary_do_no_harm() -> None:
    features, labels = clusters(0)
    features[:, 2] = 3.0
    (probe,) = fit_probes(features, labels, 3, [1e-2])
    assert bool(probe.weight.isfinite().all())


# --- pictures -------------------------------------------------------------------------------------
def legend(drawn: Figure) -> list[str]:
    found = drawn.axes[0].get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_the_loss_is_drawn_between_its_bounds() -> None:
    history = [{"epoch": 1, "loss": 5.5, "found": 0.1}, {"epoch": 2, "loss": 5.0, "found": 0.25}]
    drawn = loss_between_bounds(
        [5.8, 5.2, 5.1, 4.9], history, 4.25, 6.25, "NT-Xent", "title", "caption"
    )
    left, right = drawn.axes
    level = [set(np.asarray(line.get_ydata()).tolist()) for line in left.lines]
    assert level[2:] == [{6.25}, {4.25}]
    assert level[:2] == [{5.8, 5.2, 5.1, 4.9}, {5.5, 5.0}]
    assert legend(drawn)[2:] == ["knowing nothing: 6.250", "lower bound: 4.250"]
    assert np.asarray(right.lines[0].get_ydata()).tolist() == [10, 25]


def test_encoder_accuracies_are_drawn_at_their_height() -> None:
    (panel,) = encoder_accuracies(
        {"SimCLR": (0.5, 0.625), "untrained": (0.25, 0.375)}, 0.4, 0.1, "title", "caption"
    ).axes
    assert [bar.get_height() for bar in panel.patches if isinstance(bar, Rectangle)] == [
        50,
        25,
        62.5,
        37.5,
    ]


def test_accuracies_with_few_labels_are_drawn_at_their_height() -> None:
    drawn = few_labels_accuracies(
        {"90 (1 %)": (0.5, 0.25), "900 (10 %)": (0.625, 0.375)}, 0.1, "MoCo", "title", "caption"
    )
    (panel,) = drawn.axes
    heights = [bar.get_height() for bar in panel.patches if isinstance(bar, Rectangle)]
    assert heights == [50, 62.5, 25, 37.5]
    assert [text.get_text() for text in panel.get_xticklabels()] == ["90 (1 %)", "900 (10 %)"]


def test_images_lie_where_they_belong() -> None:
    """Two images far apart, framed in the colours of their classes; a third on the first is but a
    square."""
    places = np.array([[0.0, 0.0], [10.0, 10.0], [0.05, 0.05]])
    images = np.stack([np.full((3, 8, 8), level, np.uint8) for level in (10, 200, 90)])
    drawn = image_map(places, images, np.array([0, 1, 1]), ("cat", "dog"), "title", "caption")
    canvas = np.asarray(drawn.axes[0].images[0].get_array())
    assert tuple(canvas[-1, 0]) == (0x00, 0x72, 0xB2)
    assert tuple(canvas[0, -1]) == (0xE6, 0x9F, 0x00)
    assert tuple(canvas[-8, 8]) == (10, 10, 10)
    assert tuple(canvas[8, -8]) == (200, 200, 200)
    assert (canvas != 90).any(axis=2).all()
    assert legend(drawn) == ["cat", "dog"]
