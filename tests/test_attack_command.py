"""``advlab attack`` through the front door: what it reports is what its files hold."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from advlab import names
from advlab.cli.main import main
from advlab.config.commands import DataOptions
from advlab.datasets import _load
from advlab.metrics.classification import is_correct
from advlab.training import checkpoint

ATTACKS = names.modules_in("advlab.attacks")


def attack(runs: Path, out: Path, line: str, *, checkpoint_: str = "train/small") -> dict[str, Any]:
    """Run a line on a trained network and return its metrics."""
    before = set(out.glob("attack/*"))
    assert main(["attack", *line.split(), "--checkpoint", str(runs / checkpoint_), "--out", str(out)]) == 0
    (folder,) = set(out.glob("attack/*")) - before
    metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    metrics["folder"] = folder
    return metrics


def recomputed(runs: Path, metrics: dict[str, Any], eps: float) -> float:
    """Robust accuracy from nothing but the saved images and the checkpoint, in one batch after another of any size."""
    saved = load_file(metrics["folder"] / f"images-eps{eps:g}.safetensors")
    model, _ = checkpoint.load(runs / "train" / "small")
    with torch.no_grad():
        right = torch.cat(
            [is_correct(model(part), truth) for part, truth in zip(saved["perturbed"].split(64), saved["labels"].split(64), strict=True)]
        )
    robust = torch.ones(metrics["images"], dtype=torch.bool)
    robust[saved["index"][~right]] = False
    return int(robust.sum()) / len(robust)


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_reports_what_its_files_hold(name: str, runs: Path, tmp_path: Path) -> None:
    metrics = attack(runs, tmp_path, f"{name} --eps 0.1 --limit 120")
    assert metrics["attack"] == name
    assert metrics["dataset"] == "digits"
    assert metrics["images"] == 120
    assert metrics["eps"] == 0.1
    assert metrics["norm"] in ("linf", "l2")
    assert metrics["seconds"] >= 0
    assert 0 <= metrics["robust_accuracy"] <= metrics["clean_accuracy"] <= 1
    assert metrics["robust_accuracy"] == recomputed(runs, metrics, 0.1)
    for picture in metrics["folder"].glob("*.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 200
    assert (metrics["folder"] / "confusion.png").is_file()
    assert metrics["victim"]["sha256"] == checkpoint.sha256(runs / "train" / "small" / "model.safetensors")


def test_saved_bytes_still_fool_the_network(runs: Path, tmp_path: Path) -> None:
    metrics = attack(runs, tmp_path, "pgd --eps 0.1 --limit 120 --quantize")
    saved = load_file(metrics["folder"] / "images-eps0.1.safetensors")
    levels = saved["perturbed"] * 255
    assert torch.equal(saved["perturbed"], levels.round() / 255)
    as_png = levels.round().to(torch.uint8).float() / 255
    model, _ = checkpoint.load(runs / "train" / "small")
    with torch.no_grad():
        share = int(is_correct(model(as_png), saved["labels"]).sum()) / 120
    assert share == metrics["robust_accuracy"] < metrics["clean_accuracy"] - 0.1
    clean = _load.load(DataOptions(dataset="digits")).test.inputs(saved["index"])
    assert float((saved["perturbed"] - clean).abs().max()) <= 0.1 + 1e-6


def test_a_curve_falls_and_ignores_the_order_it_was_asked_in(runs: Path, tmp_path: Path) -> None:
    metrics = attack(runs, tmp_path, "fgsm --eps 0.3 0 0.05 0.1 --limit 120")
    eps, robust = ([point[key] for point in metrics["curve"]] for key in ("eps", "robust_accuracy"))
    assert metrics["eps"] == eps == [0, 0.05, 0.1, 0.3]
    assert robust == sorted(robust, reverse=True)
    assert robust[0] == metrics["clean_accuracy"]
    assert robust[-1] == metrics["robust_accuracy"] < 0.5
    assert metrics["curve"][0]["changed"] == 0
    for point in metrics["curve"]:
        assert point["robust_accuracy"] == recomputed(runs, metrics, point["eps"])
    for picture in ("curve.png", "perceptibility.png", "flipped.png", "confusion.png"):
        assert (metrics["folder"] / picture).is_file()
    again = tmp_path / "again"
    other = attack(runs, again, "fgsm --eps 0.05 0.1 0 0.3 --limit 120")
    assert other["curve"][1]["robust_accuracy"] == robust[1]
    for file in metrics["folder"].glob("images-*"):
        ours, theirs = load_file(file), load_file(other["folder"] / file.name)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours if key != "seconds")


def test_the_batch_size_changes_nothing(runs: Path, tmp_path: Path) -> None:
    few, many = (attack(runs, tmp_path / size, f"pgd --eps 0.1 --limit 100 --batch-size {size}") for size in ("7", "100"))
    assert few["robust_accuracy"] == many["robust_accuracy"]
    ours, theirs = (load_file(metrics["folder"] / "images-eps0.1.safetensors")["perturbed"] for metrics in (few, many))
    assert float((ours - theirs).abs().gt(1e-4).float().mean()) < 0.01, "but for signs of entries that are zero up to rounding"


def test_targets_count_only_images_of_other_classes(runs: Path, tmp_path: Path) -> None:
    metrics = attack(runs, tmp_path, "pgd --eps 0.2 --limit 60 --target 3")
    labels = _load.load(DataOptions(dataset="digits")).test.labels[:60]
    assert metrics["tasks"] == int((labels != 3).sum())
    saved = load_file(metrics["folder"] / "images-eps0.2.safetensors")
    assert (saved["goal"] == 3).all()
    assert (saved["labels"] != 3).all()
    assert metrics["success_rate"] == int((saved["predicted"] == 3).sum()) / metrics["tasks"]
    assert metrics["success_rate"] > 0.2
    towards_next = attack(runs, tmp_path, "pgd --eps 0.2 --limit 60 --target next")
    saved = load_file(towards_next["folder"] / "images-eps0.2.safetensors")
    assert torch.equal(saved["goal"], (saved["labels"] + 1) % 10)
    unlikely = attack(runs, tmp_path, "pgd --eps 0.2 --limit 60 --target least-likely")
    assert unlikely["success_rate"] <= towards_next["success_rate"] + 0.05


def test_each_target_is_tried_and_drawn(runs: Path, tmp_path: Path) -> None:
    metrics = attack(runs, tmp_path, "pgd --eps 0.2 --limit 30 --target each --steps 5")
    assert metrics["tasks"] == 30 * 9
    assert (metrics["folder"] / "targets.png").is_file()
    assert metrics["robust_accuracy"] == recomputed(runs, metrics, 0.2)


def test_one_image_is_attacked_and_shown(runs: Path, tmp_path: Path) -> None:
    metrics = attack(runs, tmp_path, "lp --p 3 --image 7 --eps 1 2")
    assert metrics["images"] == metrics["tasks"] == 1
    assert metrics["norm"] == "l3"
    assert [file.name for file in metrics["folder"].glob("*.png")] == ["attacked.png"]
    saved = load_file(metrics["folder"] / "images-eps1.safetensors")
    clean = _load.load(DataOptions(dataset="digits")).test.inputs(slice(7, 8))
    assert float(torch.linalg.vector_norm((saved["perturbed"] - clean).flatten(), ord=3)) == pytest.approx(1, rel=1e-4)


def test_transfer_judges_by_the_victim_what_was_made_on_the_surrogate(runs: Path, tmp_path: Path) -> None:
    white = attack(runs, tmp_path, "pgd --eps 0.15 --limit 120")
    black = attack(runs, tmp_path, f"pgd --eps 0.15 --limit 120 --surrogate {runs / 'train' / 'other'}")
    noise = attack(runs, tmp_path, "noise --eps 0.15 --limit 120")
    assert black["robust_accuracy"] == recomputed(runs, black, 0.15)
    assert white["robust_accuracy"] < black["robust_accuracy"] < noise["robust_accuracy"]
    assert black["surrogate"]["model"] == "mlp"


def test_a_finished_attack_is_not_run_again(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = attack(runs, tmp_path, "fgsm --limit 40")
    written = {file: file.stat().st_mtime_ns for file in metrics["folder"].iterdir()}
    capsys.readouterr()
    assert main(["attack", "fgsm", "--limit", "40", "--checkpoint", str(runs / "train" / "small"), "--out", str(tmp_path)]) == 0
    assert "finished already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in metrics["folder"].iterdir()} == written


def test_an_attack_that_was_stopped_goes_on(runs: Path, tmp_path: Path) -> None:
    """What was finished of a curve is kept; the end is that of an unbroken run."""
    whole = attack(runs, tmp_path / "whole", "pgd --eps 0.05 0.1 --limit 60")
    stopped = tmp_path / "stopped"
    shutil.copytree(tmp_path / "whole", stopped)
    folder = stopped / whole["folder"].relative_to(tmp_path / "whole")
    (folder / "metrics.json").unlink()
    (folder / "images-eps0.1.safetensors").unlink()
    kept = (folder / "images-eps0.05.safetensors").read_bytes()
    assert (
        main(
            ["attack", "pgd", *["--eps", "0.05", "0.1", "--limit", "60"], "--checkpoint", str(runs / "train/small"), "--out", str(stopped)]
        )
        == 0
    )
    assert (folder / "images-eps0.05.safetensors").read_bytes() == kept
    ours, theirs = (load_file(at / "images-eps0.1.safetensors")["perturbed"] for at in (folder, whole["folder"]))
    assert torch.equal(ours, theirs)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["robust_accuracy"] == whole["robust_accuracy"]


def test_without_a_network_one_is_trained_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from advlab.models import mlp

    monkeypatch.setattr(mlp.Options, "usual_epochs", 1)
    monkeypatch.setattr(mlp.Options, "least_steps", 1)
    monkeypatch.chdir(tmp_path)
    line = ["attack", "fgsm", "--model", "mlp", "--limit", "20"]
    assert main(line) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("data set: digits, 1,437 + 360")
    assert "training one first" in said[1]
    assert len(list(Path("samples/train").iterdir())) == 1
    assert main([*line, "--eps", "0.2"]) == 0
    assert "training one first" not in capsys.readouterr().out, "the newest one is taken"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fgsm --image 360", "360 test images, numbered 0 to 359"),
        ("fgsm --target 10", "no such class"),
        ("fgsm --target nine", "no such class"),
        ("fgsm --image 0 --target {label}", "already"),
        ("fgsm --dataset mnits", "mnist"),
        ("fgsm --eps 2", "L∞ radius above 1"),
    ],
)
def test_what_cannot_be_attacked_is_refused_before_a_network_is_trained(
    line: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    label = int(_load.load(DataOptions(dataset="digits")).test.labels[0])
    assert main(["attack", *line.format(label=label).split()]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


class Bomb:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("exploded", "w"))


@pytest.mark.parametrize("option", ["--checkpoint", "--surrogate"])
def test_a_pickle_is_refused_and_never_run(
    option: str, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bomb.safetensors").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weight": Bomb()}, "bomb.pt")
    for file in ("bomb.safetensors", "bomb.pt"):
        victim = [] if option == "--checkpoint" else ["--checkpoint", str(runs / "train" / "small")]
        assert main(["attack", "fgsm", *victim, option, file]) == 2
        printed = capsys.readouterr().err
        assert file in printed
        assert len(printed.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.pt", "bomb.safetensors"]
