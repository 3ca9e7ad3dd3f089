"""``npz:FILE``: images in a NumPy archive."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advlab.cli.main import main
from advlab.config.options.run import LoadOptions
from advlab.data import load_images
from advlab.data.formats import npz
from advlab.data.image_set import ImageSet
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError

RANDOM = np.random.default_rng(0)
BYTES = RANDOM.integers(0, 256, (60, 3, 10, 12), dtype=np.uint8)
LABELS = np.arange(60) % 3


def written(folder: Path, **arrays: Any) -> Path:
    file = folder / "some.npz"
    np.savez(file, **arrays)
    return file


def everything(data: ImageSet) -> set[bytes]:
    parts = (data.train, data.val, data.test)
    return {image.numpy().tobytes() for part in parts for image in part.pixels}


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("bytes, channels first", BYTES),
        ("bytes, channels last", BYTES.transpose(0, 2, 3, 1)),
        ("floats, channels first", BYTES.astype(np.float32) / 255),
        ("floats, channels last", BYTES.transpose(0, 2, 3, 1) / 255),
    ],
)
def test_images_are_read_bit_by_bit_in_every_layout(name: str, array: Any, tmp_path: Path) -> None:
    data = npz.load(written(tmp_path, images=array, labels=LABELS), 0)
    assert everything(data) == {image.tobytes() for image in BYTES}
    assert (data.shape, data.classes, data.remarks) == ((3, 10, 12), ("0", "1", "2"), ())
    assert [len(part) for part in (data.train, data.val, data.test)] == [48, 6, 6]
    by_image = {image.tobytes(): int(label) for image, label in zip(BYTES, LABELS, strict=True)}
    for part in (data.train, data.val, data.test):
        found = [by_image[image.numpy().tobytes()] for image in part.pixels]
        assert part.labels.tolist() == found


def test_grey_images_and_given_parts(tmp_path: Path) -> None:
    grey = BYTES[:, 0]
    arrays = {"x_train": grey[:40], "y_train": LABELS[:40, None]}
    file = written(tmp_path, **arrays, x_test=grey[40:], y_test=LABELS[40:, None])
    data = npz.load(file, 0)
    assert data.shape == (1, 10, 12)
    assert [len(part) for part in (data.train, data.val, data.test)] == [36, 4, 20]
    assert torch.equal(data.test.pixels[:, 0], torch.from_numpy(grey[40:]))
    parts = {"x_val": grey[:3], "y_val": LABELS[:3]}
    file = written(
        tmp_path, **parts, x_train=grey, y_train=LABELS, x_test=grey[:6], y_test=LABELS[:6]
    )
    data = npz.load(file, 0)
    assert [len(part) for part in (data.train, data.val, data.test)] == [60, 3, 6]


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        (np.array(["cat", "dog", "ant"])[LABELS], None, ("ant", "cat", "dog")),
        (np.array([b"cat", b"dog", b"ant"])[LABELS], None, ("ant", "cat", "dog")),
        (LABELS.astype(np.uint8), ["a", "b", "c"], ("a", "b", "c")),
        (np.array(["c", "b", "c"])[LABELS], ["a", "b", "c"], ("a", "b", "c")),
        (LABELS * 2, None, ("0", "1", "2", "3", "4")),
        (LABELS - 1, None, ("-1", "0", "1")),
        (LABELS * 1000 + 7, None, ("7", "1007", "2007")),
    ],
)
def test_labels_and_their_names(
    labels: Any, classes: list[str] | None, names: tuple[str, ...], tmp_path: Path
) -> None:
    extra = {} if classes is None else {"classes": np.array(classes)}
    data = npz.load(written(tmp_path, x=BYTES, y=labels, **extra), 0)
    assert data.classes == names
    by_image = {
        image.tobytes(): label.decode() if isinstance(label, bytes) else str(label)
        for image, label in zip(BYTES, labels.tolist(), strict=True)
    }
    for image, label in zip(data.test.pixels, data.test.labels.tolist(), strict=True):
        wanted = by_image[image.numpy().tobytes()]
        assert names[label] == (names[int(wanted)] if wanted.isdecimal() and classes else wanted)


def test_floats_between_two_levels_are_rounded_with_a_note(tmp_path: Path) -> None:
    array = BYTES.astype(np.float32) / 255
    array[0, 0, 0, 0] = 0.4009
    data = npz.load(written(tmp_path, images=array, labels=LABELS), 0)
    assert data.remarks == ("images was rounded to 256 levels, by 0.0009 at most",)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": BYTES}, "holds a; an archive holds images and labels"),
        ({"x_test": BYTES}, "x_test without y_test"),
        ({"x": BYTES[:, :2], "y": LABELS}, r"x has the shape \(60, 2, 10, 12\)"),
        ({"x": BYTES[0], "y": LABELS[:1]}, r"labels are integers or texts, one for each of the 3"),
        ({"x": BYTES.astype(np.int32), "y": LABELS}, "x holds int32; images are uint8 or floats"),
        ({"x": BYTES * 1.0, "y": LABELS}, r"x holds values outside \[0, 1\]"),
        ({"x": np.full(BYTES.shape, np.nan), "y": LABELS}, r"x holds values outside \[0, 1\]"),
        ({"x": BYTES, "y": LABELS[:5]}, "one for each of the 60 images"),
        ({"x": BYTES, "y": LABELS * 1.0}, "y holds float64"),
        ({"x": BYTES, "y": LABELS, "classes": np.array(["a", "b"])}, "a label is 2, and classes"),
        ({"x": BYTES, "y": np.array(["z"] * 60), "classes": np.array(["a"])}, "label 'z' is not"),
        (
            {"x_train": BYTES, "y_train": LABELS, "x_test": BYTES[:, :1], "y_test": LABELS},
            "several shapes",
        ),
        ({"x": np.array([{}]), "y": LABELS[:1]}, "holds Python objects, which are code"),
    ],
)
def test_what_is_no_data_set_is_refused(arrays: Any, words: str, tmp_path: Path) -> None:
    file = written(tmp_path, **arrays)
    with pytest.raises(UsageError, match=words) as caught:
        npz.load(file, 0)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("npz:", UsageError, "needs a path"),
        ("npz:nowhere.npz", UsageError, "no file at nowhere.npz"),
        ("npz:text.npz", UsageError, "is no archive of NumPy arrays"),
        ("npz:cut.npz", EnvironmentFailure, "is cut off"),
    ],
)
def test_files_that_are_no_archive(
    name: str, kind: type[AdvlabError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.npz").write_text("no archive")
    Path("cut.npz").write_bytes(written(tmp_path, x=BYTES, y=LABELS).read_bytes()[:5000])
    with pytest.raises(kind, match=words):
        load_images.load(LoadOptions(dataset=name))


def test_commands_take_an_archive(
    tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_images.load(LoadOptions(dataset="digits"))
    file = tmp_path / "digits.npz"
    np.savez(file, x_test=digits.test.pixels.numpy(), y_test=digits.test.labels.numpy())
    out = ["--out", str(tmp_path / "samples"), "--device", "cpu"]
    line = ["attack", "fgsm", "--eps", "0.1", "--limit", "50", "--precision", "fp32"]
    found = []
    for number, dataset in enumerate(("digits", f"npz:{file}")):
        target = ["--model", str(runs / "train" / "small"), "--name", f"n{number}"]
        assert main([*line, *target, "--dataset", dataset, *out]) == 0
        folder = tmp_path / "samples/attack" / f"n{number}"
        found.append(json.loads((folder / "metrics.json").read_text())["robust_accuracy"])
    assert found[0] == found[1]
    capsys.readouterr()
    assert main(["train", "mlp", "--dataset", f"npz:{file}", *out]) == 2
    assert "holds test images only" in capsys.readouterr().err
    np.savez(file, images=BYTES, labels=LABELS)
    assert main(["train", "mlp", "--dataset", f"npz:{file}", "--epochs", "1", *out]) == 0
    assert main(["data", "show", f"npz:{file}", "--out", str(tmp_path / "samples")]) == 0
