"""Test examples that a network was trained on are seen, whatever way they came there."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from advlab.cli.main import main
from advlab.networks.metadata import IMAGE_CLASSIFIER, read_metadata
from advlab.networks.sketch import SIZE, Sketch
from advlab.results.attack import AttackResult
from advlab.runs import results


def contents(numbers: range) -> list[bytes]:
    return [f"example {number}".encode() for number in numbers]


# --- the sketch -----------------------------------------------------------------------------------
def test_a_small_sketch_counts_exactly() -> None:
    sketch = Sketch.of(contents(range(1000)))
    assert sketch.whole
    for seen in (0, 3, 40, 100):
        assert sketch.count(contents(range(1000 - seen, 1100 - seen))) == seen


def test_a_large_sketch_estimates() -> None:
    sketch = Sketch.of(contents(range(40_000)))
    assert (len(sketch.hashes), sketch.whole) == (SIZE, False)
    assert len(sketch.text()) < 50_000
    for seen in (0, 2000, 5000, 10_000):
        count = sketch.count(contents(range(40_000 - seen, 50_000 - seen)))
        assert abs(count - seen) <= 900  # six standard deviations of about 500 that are asked for


def test_copies_of_other_examples_are_left_out() -> None:
    sketch = Sketch.of(contents(range(1000)))
    assert sketch.count(contents(range(900, 1100)), besides=contents(range(860, 960))) == 40
    assert sketch.count(contents(range(900, 1100)), besides=contents(range(998))) == 0


def test_a_few_examples_are_a_coincidence() -> None:
    sketch = Sketch.of(contents(range(1000)))
    assert sketch.count(contents(range(998, 1020))) == 0
    assert sketch.count(contents(range(990, 1990))) == 0  # 10 of 1,000
    assert sketch.count(contents(range(980, 1980))) == 20


@pytest.mark.parametrize(("first", "second"), [(50, 60), (50, 30_000), (20_000, 30_000)])
def test_joined_sketches_are_that_of_all_examples(first: int, second: int) -> None:
    one, other = (
        Sketch.of(contents(range(start, start + size)))
        for start, size in ((0, first), (40, second))
    )
    every = Sketch.of(contents(range(0, max(first, 40 + second))))
    for joined in (one.joined(other), other.joined(one)):
        assert joined.whole == every.whole
        assert np.array_equal(joined.hashes, every.hashes[: len(joined.hashes)])
        assert len(joined.hashes) > 0.9 * len(every.hashes)


def test_a_sketch_is_read_as_it_was_written() -> None:
    for count in (0, 1, 50, 5000):
        sketch = Sketch.of(contents(range(count)))
        again = Sketch.read(sketch.text())
        assert again.whole == sketch.whole
        assert np.array_equal(again.hashes, sketch.hashes)
    assert Sketch.read("").count(contents(range(10))) == 0
    for text in ("some:AAAA", "all:A", "all:é"):
        with pytest.raises(ValueError, match=r"sketch|base64|padd|ASCII|multiple"):
            Sketch.read(text)


def test_a_checkpoint_with_a_damaged_sketch_is_refused() -> None:
    kind = IMAGE_CLASSIFIER.metadata
    values: dict[str, Any] = {"model": "mlp", "architecture": {}, "shape": (1, 8, 8), "data": {}}
    values |= {"classes": ("a", "b"), "dataset": "digits"}
    assert kind(**values).examples == ""
    with pytest.raises(ValidationError):
        kind(**values, examples="all:?")


# --- through the front door -----------------------------------------------------------------------
@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two classes in one part, and a network that was trained on a split of its own."""
    root = tmp_path_factory.mktemp("trained-on")
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (200, 16, 16), dtype=np.uint8)
    labels = np.arange(200) % 2
    images[labels == 0, :8] //= 3
    np.savez(root / "some.npz", images=images, labels=labels)
    order = draw.permutation(200)
    np.savez(root / "moved.npz", images=images[order], labels=labels[order])
    line = f"train mlp --width 8 --epochs 2 --dataset npz:{root}/some.npz --split-seed 3 --name a"
    assert main([*line.split(), "--out", f"{root}/s"]) == 0
    return root


def test_a_checkpoint_says_what_it_was_trained_on(place: Path) -> None:
    metadata = read_metadata(place / "s/train/a/model.safetensors", IMAGE_CLASSIFIER)
    assert len(Sketch.read(metadata.examples).hashes) == 160


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ("", False),  # as the network was trained
        ("--dataset npz:some.npz --split-seed 3", False),
        ("--dataset npz:some.npz", True),
        ("--dataset npz:moved.npz --split-seed 3", True),
    ],
)
def test_an_attack_on_training_images_is_not_believed(
    options: str,
    seen: bool,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    line = f"attack fgsm --model s/train/a {options} --eps 0.1 --out {tmp_path}"
    assert main(line.split()) == 0
    (run,) = (tmp_path / "attack").iterdir()
    failed = results.read_as(AttackResult, run).checks_failed
    assert list(failed) == ["trained on the test set"] * seen
    assert ("NOT TO BE BELIEVED (trained on the test set)" in listed(tmp_path, capsys)) == seen
    if options.endswith("some.npz"):
        text = failed["trained on the test set"]
        assert text.startswith("the network was trained on ")
        assert " of the 20 test images; it was trained with --split-seed 3, which leaves" in text


def listed(out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["list", "--out", str(out)]) == 0
    return " ".join(capsys.readouterr().out.replace("|", " ").split())


def test_a_threshold_from_training_images_is_not_believed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    line = "evaluate detection --model s/train/a --dataset npz:some.npz --limit 4 --steps 1"
    line += f" --restarts 1 --attacks fgsm --out {tmp_path}"
    for split, failed in {"3": set[str](), "0": {"validation", "test"}}.items():
        assert main([*line.split(), "--split-seed", split, "--name", split]) == 0
        (file,) = tmp_path.glob(f"*/{split}/metrics.json")
        checks = json.loads(file.read_text())["checks_failed"]
        seen = {name.split()[-2] for name in checks if name.startswith("trained on the ")}
        assert seen == failed


@pytest.mark.parametrize(
    "line",
    [
        "evaluate corruptions --model s/train/a --corruptions shot_noise --severities 1",
        "evaluate certification --model s/train/a --samples 20 --alpha 0.1 --limit 4",
    ],
)
def test_so_are_other_figures_of_test_images(
    line: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    given = ["--dataset", "npz:some.npz", "--out", str(tmp_path)]
    assert main([*line.split(), *given]) == 0
    (file,) = tmp_path.glob("*/*/metrics.json")
    assert "trained on the test set" in json.loads(file.read_text())["checks_failed"]


@pytest.mark.parametrize(
    "line",
    [
        "train s/train/a --epochs 1",
        "defend fast --model s/train/a --epochs 1",
        "poison mlp --width 8 --weights s/train/a --epochs 1 --seeds 1",
    ],
)
def test_no_training_starts_from_weights_that_know_the_test_images(
    line: str,
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    given = ["--dataset", "npz:some.npz", "--out", str(tmp_path)]
    assert main([*line.split(), *given]) == 2
    said = capsys.readouterr().err
    assert "the network was trained on " in said
    assert "it was trained with --split-seed 3" in said
    assert main([*line.split(), *given, "--split-seed", "3"]) == 0


def test_data_with_copies_are_trained_on_again(place: Path, tmp_path: Path) -> None:
    """Test images that are training images too, which every training on these data meets."""
    draw = np.random.default_rng(2)
    images, labels = draw.integers(0, 256, (90, 16, 16), dtype=np.uint8), np.arange(90) % 2
    parts = {"train": slice(0, 60), "val": slice(60, 70), "test": slice(50, 90)}
    arrays: dict[str, Any] = {f"x_{part}": images[rows] for part, rows in parts.items()}
    arrays |= {f"y_{part}": labels[rows] for part, rows in parts.items()}
    np.savez(tmp_path / "some.npz", **arrays)
    out = ["--epochs", "1", "--dataset", f"npz:{tmp_path}/some.npz", "--out", str(tmp_path / "s")]
    assert main(["train", "mlp", "--width", "8", "--name", "a", *out]) == 0
    assert main(["train", f"{tmp_path}/s/train/a", "--name", "b", *out]) == 0
    line = ["attack", "fgsm", "--model", f"{tmp_path}/s/train/a", "--eps", "0.1"]
    assert main([*line, "--out", str(tmp_path / "s"), "--name", "c"]) == 0
    result = results.read_as(AttackResult, tmp_path / "s/attack/c")
    assert "trained on the test set" not in result.checks_failed


def test_validation_images_choose_nothing_that_was_trained_on_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--dataset", "digits", "--epochs", "1", "--out", str(tmp_path)]
    assert main(["train", "mlp", "--width", "8", "--name", "a", *out]) == 0
    again = ["train", f"{tmp_path}/train/a", "--name", "b", *out]
    assert main([*again, "--split-seed", "1"]) == 2
    assert "of the 180 validation images; it was trained with --split-seed 0" in (
        capsys.readouterr().err
    )
    assert main(again) == 0


def test_an_encoder_says_what_it_was_trained_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    line = "contrast --width 2 --epochs 1 --batch-size 64 --no-supervised --dataset npz:some.npz"
    line += f" --out {tmp_path}"
    assert main([*line.split(), "--split-seed", "3", "--name", "a"]) == 0
    again = [*line.replace("--width 2 ", "").split(), "--name", "b", "--encoder"]
    for encoder in (f"{tmp_path}/contrast/a", "s/train/a"):
        capsys.readouterr()
        assert main([*again, encoder, "--split-seed", "0"]) == 2
        assert f"--encoder {encoder}" in (said := capsys.readouterr().err)
        assert "it was trained with --split-seed 3" in said


@pytest.mark.parametrize("line", ["--split-seed 5", "--image-size 8"])
def test_options_of_the_data_go_with_a_data_set(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    attack = "attack fgsm --model s/train/a --eps 0.1 --limit 3"
    assert main([*attack.split(), *line.split()]) == 2
    assert f"{line.split()[0]}: goes with --dataset" in capsys.readouterr().err


def test_what_a_network_was_trained_on_before_counts(place: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    images, labels = draw.integers(0, 256, (80, 16, 16), dtype=np.uint8), np.arange(80) % 2
    np.savez(tmp_path / "other.npz", images=images, labels=labels)
    line = f"train {place}/s/train/a --epochs 1 --dataset npz:{tmp_path}/other.npz --name b"
    assert main([*line.split(), "--out", str(tmp_path)]) == 0
    metadata = read_metadata(tmp_path / "train/b/model.safetensors", IMAGE_CLASSIFIER)
    assert len(Sketch.read(metadata.examples).hashes) == 160 + 64


def test_texts_that_a_network_was_trained_on_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words, numbers = random.Random(0), ["one", "two", "three", "four", "five", "six"]
    rows = [
        f"{' '.join(words.choices(numbers, k=6))} {mood},{mood}" for mood in ("good", "bad") * 60
    ]
    Path("some.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    line = "train nbow --dataset csv:some.csv --epochs 2 --split-seed 3 --name a"
    assert main(line.split()) == 0
    attack = "attack deepwordbug --model samples/train/a --dataset csv:some.csv --limit 3"
    capitals = [f"{text.upper()}  ,{label}" for text, label in (row.split(",") for row in rows)]
    other = "\n".join(["text,label", *capitals])
    Path("some.csv").write_text(other + "\n")  # the same words in capitals
    for split, seen in (("3", False), ("0", True)):
        assert main([*attack.split(), "--split-seed", split, "--name", f"s{split}"]) == 0
        failed = json.loads(Path(f"samples/attack/s{split}/metrics.json").read_text())
        assert list(failed["checks_failed"]) == ["trained on the test set"] * seen
    assert "NOT TO BE BELIEVED (trained on the test set)" in listed(Path("samples"), capsys)
