"""``advlab train`` through the front door: what a run writes, how it is repeated, compared, stopped
and refused."""

from __future__ import annotations

import errno
import hashlib
import importlib
import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from made_results import train_result
from PIL import Image
from safetensors.torch import load_file

from advlab.cli.main import main
from advlab.config.fields import image_models
from advlab.config.options.run import DataOptions, TrainOptions
from advlab.data import load_images
from advlab.data.image_set import Images, ImageSet
from advlab.experiments.train.report import report
from advlab.logs import collected
from advlab.metrics.classification import accuracy
from advlab.networks import checkpoint
from advlab.networks.metadata import IMAGE_CLASSIFIER, read_metadata
from advlab.training.evaluate import EVALUATION_BATCH
from advlab.training.fit import fit
from advlab.training.schedule import learning_rate

SMALL = "mlp --width 16 --dataset digits --precision fp32 --device cpu --threads 1 --batch-size 64"

# What makes a network quick to train; one that is not in here is tried at its own size.
SMALLER = {"cnn": "--channels 4 --hidden 16", "convnet": "--channels 4", "mlp": "--width 16"}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(line: str) -> int:
    return main(["train", *line.split()])


def metrics(folder: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(
        (Path("samples/train") / folder / "metrics.json").read_text()
    )
    return result


def weights(folder: str | Path) -> str:
    """A hash of all tensors of a run's network."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(Path(folder) / "model.safetensors").items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def history(folder: str | Path) -> list[dict[str, float]]:
    """Its lines without what the clock says."""
    lines = [json.loads(line) for line in (Path(folder) / "history.jsonl").read_text().splitlines()]
    return [
        {key: value for key, value in line.items() if key not in ("seconds", "images_per_second")}
        for line in lines
    ]


# --- one run --------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(name, marks=pytest.mark.painted if name == "mlp" else ())
        for name in image_models()
    ],
)
def test_every_network_trains_and_reports_what_its_checkpoint_does(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        f"{model} --dataset digits --train-size 100 --epochs 1 --batch-size 50 --precision fp32 "
        "--name run"
    )
    assert train(f"{line} {SMALLER.get(model, '')}") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == (
        "data set: digits, 1,437 + 360 handwritten digits (scikit-learn's 8x8 set, enlarged); "
        "split into 1,257 for training, 180 for validation and 360 for testing"
    )
    result = metrics("run")
    assert result["model"] == model
    assert result["dataset"] == "digits"
    assert result["seed"] == 0
    assert result["seconds"] > 0
    assert 0 <= result["val_accuracy"] <= 1
    assert f"{result['parameters']:,}" in said
    network, card = checkpoint.load(Path("samples/train/run"))
    test = load_images.load(DataOptions(dataset="digits")).test
    with torch.no_grad():
        again = accuracy(
            torch.cat([network(part) for part in test.inputs(slice(None)).split(200)]), test.labels
        )
    assert result["test_accuracy"] == again
    assert result["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert card.classes == tuple("0123456789")
    assert len(history("samples/train/run")) == 1
    for picture in ("curves.png", "confusion.png", "mistakes.png"):
        with Image.open(f"samples/train/run/{picture}") as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 200
        assert model != "mlp" or len(np.unique(pixels)) > 20, "it is not empty"
    assert not list(Path("samples/train/run").glob("resume*"))
    assert not list(Path("samples/train/run").glob(".*.tmp"))


def test_the_same_line_is_done_once_and_its_configuration_repeats_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(f"{SMALL} --epochs 2") == 0
    (folder,) = Path("samples/train").iterdir()
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    capsys.readouterr()
    assert train(f"{SMALL} --epochs 2") == 0
    assert "finished already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert main(["--config", str(folder / "config.yaml"), "--out", "again"]) == 0
    again = Path("again/train") / folder.name
    assert weights(again) == weights(folder)
    assert history(again) == history(folder)
    same = ("curves.png", "confusion.png", "mistakes.png", "config.yaml")
    assert all(
        (again / name).read_bytes() == (folder / name).read_bytes()
        for name in same
        if name != "config.yaml"
    )
    assert {
        **yaml.safe_load((again / "config.yaml").read_text()),
        "out": "samples",
    } == yaml.safe_load((folder / "config.yaml").read_text())


def test_a_folder_with_a_run_of_other_settings_is_left_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(f"{SMALL} --epochs 1 --name mine") == 0
    kept = weights("samples/train/mine")
    capsys.readouterr()
    assert train(f"{SMALL} --epochs 2 --name mine") == 2
    said = capsys.readouterr().err
    assert "holds another run (epochs 1 there, 2 here)" in said
    assert len(said.splitlines()) == 1
    assert weights("samples/train/mine") == kept
    assert train(f"{SMALL} --epochs 2 --name mine --overwrite") == 0
    assert weights("samples/train/mine") != kept
    assert metrics("mine")["epochs"] == 2


@pytest.mark.parametrize(
    "line",
    ["--batch-size 1", "--epochs 0", "--lr -1", "--train-size 3", "--device cuda:9", "--dropout 1"],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "cuda" in line and torch.cuda.device_count() > 9:
        pytest.skip("this machine has that many devices")
    assert train(f"mlp --dataset digits {line}") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(Path().iterdir())


def test_a_set_that_cannot_be_had_is_the_worlds_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("mlp --dataset svhn --epochs 1") == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "svhn is not in data" in said.err
    assert "advlab data get svhn" in said.err
    assert len(said.err.splitlines()) == 1
    assert not list(Path().iterdir())


def test_the_first_line_names_the_set_that_stands_in(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a network ``auto`` is the digits, and everything that names the set says so."""
    assert train("mlp --width 8 --train-size 20 --batch-size 10 --epochs 1 --precision fp32") == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("data set: digits, 1,437 + 360 handwritten digits")
    assert "MNIST is not in data" in first
    (folder,) = Path("samples/train").iterdir()
    assert folder.name.startswith("mlp-digits-")
    assert metrics(folder.name)["dataset"] == "digits"
    assert yaml.safe_load((folder / "config.yaml").read_text())["dataset"] == "digits"
    assert read_metadata(folder / "model.safetensors", IMAGE_CLASSIFIER).dataset == "digits"


def test_figures_are_what_they_are_called() -> None:
    assert train(f"{SMALL} --epochs 3 --name run --seed 5") == 0
    result = metrics("run")
    assert all(0 <= value <= 1 for key, value in result.items() if key.endswith("_accuracy"))
    assert result["kind"] == "train"
    assert result["schema_version"] == 1
    assert result["unit"] == "images"
    assert result["examples"] == {"train": 1257, "val": 180, "test": 360}
    assert datetime.fromisoformat(result["date"]).utcoffset() == timedelta(0)
    assert (
        result["checkpoint_sha256"]
        == hashlib.sha256(Path("samples/train/run/model.safetensors").read_bytes()).hexdigest()
    )
    assert result["seed"] == 5
    assert result["epochs"] == 3
    assert result["total_seconds"] >= result["seconds"] > 0
    assert result["machine"]["device"] == "cpu"
    assert result["machine"]["precision"] == "fp32"
    assert result["machine"]["threads"] == 1
    lines = history("samples/train/run")
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert result["val_accuracy"] == max(line["val_accuracy"] for line in lines)
    # What is kept is the network of the best epoch: measured anew it has the best epoch's figures.
    data = load_images.load(DataOptions(dataset="digits"))
    network, card = checkpoint.load(Path("samples/train/run"))
    with torch.no_grad():
        logits = torch.cat([network(part) for part in data.val.inputs(slice(None)).split(200)])
    assert (
        accuracy(logits, data.val.labels) == result["val_accuracy"] == card.training["val_accuracy"]
    )
    with torch.no_grad():
        logits_of_train = network(data.train.inputs(slice(None)))
    assert accuracy(logits_of_train, data.train.labels) == result["train_accuracy"]
    assert card.training == {
        "seed": 5,
        "epoch": result["best_epoch"],
        "val_accuracy": result["val_accuracy"],
    }
    assert float(torch.nn.functional.cross_entropy(logits, data.val.labels)) == pytest.approx(
        lines[result["best_epoch"] - 1]["val_loss"], rel=1e-5
    )
    # The normalisation is that of the training images, which alone may be looked at for it.
    pixels = data.train.inputs(slice(None)).double()
    assert float(network.get_buffer("0.mean")) == pytest.approx(float(pixels.mean()), rel=1e-5)
    assert float(network.get_buffer("0.std")) == pytest.approx(
        float(pixels.std(unbiased=False)), rel=1e-5
    )


def test_the_best_epoch_is_kept_where_the_last_is_worse() -> None:
    assert (
        train(
            f"{SMALL} --epochs 8 --lr 3 --schedule constant --optimizer sgd --name run "
            "--train-size 200"
        )
        == 0
    )
    result, lines = metrics("run"), history("samples/train/run")
    assert result["best_epoch"] < 8
    assert (
        lines[-1]["val_accuracy"]
        < result["val_accuracy"]
        == lines[result["best_epoch"] - 1]["val_accuracy"]
    )
    data = load_images.load(DataOptions(dataset="digits"))
    network, _ = checkpoint.load(Path("samples/train/run"))
    with torch.no_grad():
        logits = torch.cat([network(part) for part in data.val.inputs(slice(None)).split(200)])
    assert accuracy(logits, data.val.labels) == result["val_accuracy"]


def test_a_little_training_on_digits_is_worth_something() -> None:
    assert (
        train(
            "mlp --width 64 --dataset digits --precision fp32 --threads 1 --batch-size 64 "
            "--epochs 5 --name run"
        )
        == 0
    )
    assert metrics("run")["test_accuracy"] > 0.85
    assert metrics("run")["val_accuracy"] > 0.85


def test_the_test_images_are_seen_once_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    sets: list[ImageSet] = []
    load, inputs = load_images.load, Images.inputs

    def loading(options: DataOptions) -> ImageSet:
        sets.append(load(options))
        return sets[-1]

    def looking(
        self: Images, index: torch.Tensor | slice, device: torch.device | str = "cpu"
    ) -> torch.Tensor:
        seen.append("test" if self is sets[0].test else "other")
        return inputs(self, index, device)

    def fitting(*args: Any, **rest: Any) -> Any:
        done = fit(*args, **rest)
        seen.append("fitted")
        return done

    monkeypatch.setattr(load_images, "load", loading)
    monkeypatch.setattr(Images, "inputs", looking)
    monkeypatch.setattr("advlab.experiments.fitting.fit", fitting)
    monkeypatch.setattr("advlab.experiments.train.run._MISTAKES", 1)
    assert train(f"{SMALL} --epochs 2") == 0
    assert "test" not in seen[: seen.index("fitted")]
    # Once through in batches, and once more for the picture of a mistake.
    test, training = (-(-count // EVALUATION_BATCH) for count in (360, 1257))
    expected = ["fitted", *["test"] * test, *["other"] * training, "test"]
    assert seen[seen.index("fitted") :] == expected


def test_the_split_seed_moves_images_and_leaves_the_test_alone() -> None:
    for seed in (0, 1):
        assert train(f"{SMALL} --epochs 1 --split-seed {seed} --name split{seed}") == 0
    first, second = metrics("split0"), metrics("split1")
    assert first["data_sha256"] != second["data_sha256"]
    assert first["examples"] == second["examples"]
    assert weights("samples/train/split0") != weights("samples/train/split1")
    assert (
        read_metadata(Path("samples/train/split1/model.safetensors"), IMAGE_CLASSIFIER).data[
            "split_seed"
        ]
        == 1
    )


def test_precision_is_what_is_asked_for() -> None:
    """bf16 rounds to eight bits in matrix products; the weights stay float32 and the figures are
    taken in it."""
    for precision in ("fp32", "bf16"):
        line = (
            "mlp --width 16 --dataset digits --device cpu --threads 1 --train-size 200 "
            f"--batch-size 50 --epochs 2 --precision {precision}"
        )
        assert train(f"{line} --name {precision}") == 0
        assert metrics(precision)["machine"]["precision"] == precision
    exact, rounded = (
        load_file(Path("samples/train") / name / "model.safetensors") for name in ("fp32", "bf16")
    )
    assert all(tensor.dtype != torch.bfloat16 for tensor in rounded.values())
    assert weights("samples/train/fp32") != weights("samples/train/bf16")
    assert torch.allclose(exact["1.1.weight"], rounded["1.1.weight"], atol=0.02), (
        "and they are nearly the same"
    )
    assert [line["loss"] for line in history("samples/train/fp32")] == pytest.approx(
        [line["loss"] for line in history("samples/train/bf16")], abs=0.05
    )


def test_a_loss_gone_wild_is_one_line_and_keeps_the_best(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wild(options: TrainOptions, step: int, steps_per_epoch: int) -> float:
        return learning_rate(options, step, steps_per_epoch) * (1e30 if step > 4 else 1)

    monkeypatch.setattr("advlab.training.fit.learning_rate", wild)
    assert train(f"{SMALL} --train-size 128 --epochs 5 --optimizer sgd --name run") == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "the loss stopped being a number in epoch 3" in said
    assert "the best epoch before it, 2, is kept" in said
    assert (
        read_metadata(Path("samples/train/run/model.safetensors"), IMAGE_CLASSIFIER).training[
            "epoch"
        ]
        == 2
    )
    checkpoint.load(Path("samples/train/run"))
    assert not Path("samples/train/run/metrics.json").exists()
    assert len(history("samples/train/run")) == 2


def test_a_network_without_mistakes_is_a_result_too() -> None:
    """Dark images and bright ones: nothing is left to get wrong."""
    for name, base in (("dark", 0), ("bright", 200)):
        Path("images", name).mkdir(parents=True)
        for number in range(30):
            noise = np.random.default_rng(number).integers(base, base + 50, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).save(Path("images", name, f"{number}.png"))
    assert (
        train(
            "mlp --width 8 --dataset folder:images --image-size 8 --epochs 8 --batch-size 8 "
            "--precision fp32 --name run"
        )
        == 0
    )
    assert metrics("run")["test_accuracy"] == 1
    assert Path("samples/train/run/mistakes.png").is_file()


# --- the world ------------------------------------------------------------------------------------
def test_a_full_disk_is_one_line_and_leaves_old_files_whole(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"{SMALL} --epochs 3 --name run"
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(1)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert train(line) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert len(said.splitlines()) == 1
    folder = Path("samples/train/run")
    assert not list(folder.glob(".*.tmp"))
    assert not (folder / "metrics.json").exists()
    checkpoint.load(folder)
    assert train(line) == 0


def test_a_folder_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert train(f"{SMALL} --epochs 1 --out file") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert Path("file").read_text() == "in the way"


def test_a_network_of_infinite_answers_is_a_result_and_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its logits are wrong on every image, and a loss that is no number is written as none."""
    experiment = importlib.import_module("advlab.experiments.fitting")
    plain = vars(experiment)["logits_of"]
    monkeypatch.setattr(experiment, "logits_of", lambda *args: plain(*args) * torch.inf)
    assert train(f"{SMALL} --epochs 1 --name run") == 0
    assert metrics("run")["test_loss"] is None
    assert metrics("run")["test_accuracy"] < 0.5


def test_a_network_is_trained_on_transformed_images_where_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = f"train {SMALL} --epochs 1 --train-size 200"
    weights = []
    for place, more in enumerate(("", "--degrees 20 --resized-crop 0.5", "--degrees 0")):
        assert main([*line.split(), *more.split(), "--out", str(place)]) == 0
        weights.append(next(Path(str(place)).glob("train/*/model.safetensors")))
    plain, transformed, asked = (file.read_bytes() for file in weights)
    assert plain == asked
    assert plain != transformed
    assert "-degrees20-resizedcrop0.5-" in weights[1].parent.name


def test_an_option_that_an_earlier_version_did_not_have_changes_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [
        "train",
        *SMALL.split(),
        "--epochs",
        "1",
        "--train-size",
        "100",
        "--name",
        "old",
        "--out",
        str(tmp_path),
    ]
    assert main(line) == 0
    file = tmp_path / "train/old/identity.json"
    values = json.loads(file.read_text())
    for name in ("degrees", "hue", "crop"):
        del values["options"][name]
    file.write_text(json.dumps(values))
    (file.parent / ".checksums").unlink()  # which an earlier version did not write either
    assert main(line) == 0
    assert "finished already" in capsys.readouterr().out
    assert main([*line, "--degrees", "5"]) == 2
    assert "holds another run (degrees 0.0 there, 5.0 here)" in capsys.readouterr().err


@pytest.mark.parametrize(("accuracy", "warned"), [(0.11, True), (0.2, False)])
def test_a_network_that_learnt_nothing_is_pointed_out(accuracy: float, warned: bool) -> None:
    with collected() as lines:
        report(train_result(test_accuracy=accuracy, majority_accuracy=0.102))
    text = "WARNING: the network is no better than always the same answer, which is right for"
    assert any(line.startswith(f"{text} 10.20 % of the test images") for line in lines) == warned


@pytest.mark.parametrize(("total", "few"), [(6, True), (60, False)])
def test_too_few_examples_to_tell_are_called_that(total: int, few: bool) -> None:
    accuracy = 1.0 if few else 0.55
    examples = {"train": 40, "val": 6, "test": total}
    result = train_result(test_accuracy=accuracy, majority_accuracy=0.5, examples=examples)
    with collected() as lines:
        report(result)
    (warning,) = [line for line in lines if line.startswith("WARNING")]
    sentence = "always the same answer, which is right for 50.00 % of"
    assert warning == (
        "WARNING: 6 test images are too few to tell whether the network is better than "
        f"{sentence} them"
        if few
        else f"WARNING: the network is no better than {sentence} the test images"
    )
