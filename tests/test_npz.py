"""``npz:FILE``: images in a NumPy archive."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.formats import npz
from advlab.data.image_set import ImageSet
from advlab.data.splits import is_by_class
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


@pytest.mark.parametrize(
    ("of_images", "of_labels"),
    [("x_{}", "y_{}"), ("X_{}", "Y_{}"), ("{}_images", "{}_labels"), ("data_{}", "TARGET_{}")],
)
@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "valid", "testing")])
def test_parts_by_their_other_names(
    of_images: str, of_labels: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    arrays: dict[str, Any] = {"weights": LABELS, "mean_of_test": LABELS[:1]}
    for part, count in zip(parts, (30, 9, 12), strict=True):
        arrays |= {of_images.format(part): BYTES[:count], of_labels.format(part): LABELS[:count]}
    data = npz.load(written(tmp_path, **arrays), 0)
    assert [len(part) for part in (data.train, data.val, data.test)] == [30, 9, 12]
    assert data.remarks == ("arrays that were not read: weights, mean_of_test",)


def test_floats_between_two_levels_are_rounded_with_a_note(tmp_path: Path) -> None:
    array = BYTES.astype(np.float32) / 255
    array[0, 0, 0, 0] = 0.4009
    data = npz.load(written(tmp_path, images=array, labels=LABELS), 0)
    assert data.remarks == ("images was rounded to 256 levels, by 0.0009 at most",)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": BYTES}, "holds a; an archive holds images and labels"),
        ({"x_test": BYTES}, "x_test without its labels"),
        ({"x": BYTES[:, :2], "y": LABELS}, r"x has the shape \(60, 2, 10, 12\)"),
        ({"x": BYTES[0], "y": LABELS[:1]}, r"labels are integers or texts, one for each of the 3"),
        ({"x": BYTES.astype(np.int32), "y": LABELS}, "x holds int32; images are uint8 or floats"),
        ({"x": BYTES * 1.0, "y": LABELS}, r"x holds values outside \[0, 1\]"),
        ({"x": np.full(BYTES.shape, np.nan), "y": LABELS}, "x holds NaN"),
        ({"x": BYTES, "y": LABELS[:5]}, "one for each of the 60 images"),
        ({"x": BYTES, "y": LABELS * 1.0}, "y holds float64"),
        ({"x": BYTES, "y": LABELS, "classes": np.array(["a", "b"])}, "a label is 2, and classes"),
        ({"x": BYTES, "y": np.array(["z"] * 60), "classes": np.array(["a"])}, "label 'z' is not"),
        (
            {"x_train": BYTES, "y_train": LABELS, "x_test": BYTES[:, :1], "y_test": LABELS},
            "several shapes",
        ),
        ({"x": np.array([{}]), "y": LABELS[:1]}, "holds Python objects, which are code"),
        ({"x_train": BYTES, "y_train": LABELS}, "holds x_train, y_train; an archive"),
        ({"y_test": LABELS}, "y_test without its images"),
        ({"x": BYTES, "Images": BYTES, "y": LABELS}, "x and Images both name the images"),
        (
            {"x_val": BYTES, "y_val": LABELS, "valid_images": BYTES, "x_test": BYTES},
            "x_val and valid_images both name the val images",
        ),
        (
            {"x_test": BYTES, "y_test": LABELS, "images": BYTES, "labels": LABELS},
            "holds images, which would be split, and x_test, which is a part already",
        ),
        (
            {"x_train": BYTES, "y_train": LABELS, "x_test": BYTES, "y_test": LABELS.astype(str)},
            "y_train holds integers, and y_test texts",
        ),
        ({"x": BYTES, "y": np.array(["a", "nan", "b"])[LABELS]}, "y holds 'nan', which is no"),
        ({"x": BYTES, "y": np.array([b"a", b"\xe9"] * 30)}, "y holds bytes that are not UTF-8"),
        ({"x": BYTES, "y": LABELS, "classes": np.array(list("aba"))}, "classes holds 'a' twice"),
        ({"x": BYTES, "y": LABELS, "classes": np.eye(3)}, "it names each class once"),
        (
            {"x": BYTES, "y": np.where(np.arange(60) < 2, 7, LABELS % 2)},
            "class '7' has 2 examples; a split into 3 parts needs at least 3 of each class",
        ),
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
        load_images.load(DataOptions(dataset=name))


def _archive(folder: Path, **members: bytes) -> Path:
    """An archive of files with just these names and contents."""
    file = folder / "members.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_npy", ".npy"), content)
    return file


def _as_file(array: Any) -> bytes:
    """An array as NumPy writes it."""
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def test_arrays_without_numpys_ending_are_read(tmp_path: Path) -> None:
    file = _archive(tmp_path, x=_as_file(BYTES), y=_as_file(LABELS), readme=b"no array")
    plain = npz.load(written(tmp_path, x=BYTES, y=LABELS), 0)
    data = npz.load(file, 0)
    assert torch.equal(data.test.pixels, plain.test.pixels)
    assert torch.equal(data.test.labels, plain.test.labels)
    twice = _archive(tmp_path, x=_as_file(BYTES), x_npy=_as_file(BYTES), y=_as_file(LABELS))
    with pytest.raises(UsageError, match="holds two arrays of the name x; leave one out"):
        npz.load(twice, 0)


@pytest.mark.parametrize("name", ["x", "y"])
def test_an_array_that_claims_more_than_there_is_takes_no_memory(name: str, tmp_path: Path) -> None:
    content = {"x": _as_file(BYTES), "y": _as_file(LABELS)}
    claimed = b"(60000000000000" if name == "x" else b"(60000000000000,"
    told = b"(60" if name == "x" else b"(60,"
    head, rest = content[name].split(b"\n", 1)
    longer = head.replace(told, claimed)
    content[name] = longer[: len(head) - len(longer)] + b"\n" + rest  # at the cost of its blanks
    with pytest.raises(EnvironmentFailure, match=f"{name} is cut off"):
        npz.load(_archive(tmp_path, **content), 0)


def test_commands_take_an_archive(
    tmp_path: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = load_images.load(DataOptions(dataset="digits"))
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
    assert main(["data", "show", f"npz:{file}", "--out", str(tmp_path / "samples")]) == 0
    assert "npz, 0 + 360 images" in capsys.readouterr().out
    np.savez(file, images=BYTES, labels=LABELS)
    assert main(["train", "mlp", "--dataset", f"npz:{file}", "--epochs", "1", *out]) == 0
    assert main(["data", "show", f"npz:{file}", "--out", str(tmp_path / "samples")]) == 0


def test_a_class_of_minus_one_is_pointed_out(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8)
    labels = np.arange(60) % 3 - 1
    said = remarks(tmp_path, x=images, y=labels)
    assert any(remark.startswith("'-1' is a class like any other here") for remark in said)
    two = remarks(tmp_path, x=images, y=np.where(labels < 0, -1, 1))
    assert not any("'-1' is a class" in remark for remark in two)


def remarks(folder: Path, **arrays: Any) -> tuple[str, ...]:
    """What is said of an archive whose images are ``BYTES`` unless it has others."""
    given = arrays if "x_test" in arrays else {"x": BYTES, "y": LABELS, **arrays}
    file = written(folder, **given)
    return load_images.load(DataOptions(dataset=f"npz:{file}")).remarks


def test_classes_without_images_are_named(tmp_path: Path) -> None:
    assert remarks(tmp_path, y=LABELS + 1) == ("classes without any image: '0'",)
    names = np.array(list("abcdefgh"))
    (remark,) = remarks(tmp_path, classes=names)
    assert remark == "classes without any image: 'd', 'e', 'f', … (5 classes)"
    train = {"x_train": BYTES[:30], "y_train": LABELS[:30]}
    some = {"x_test": BYTES[30:40], "y_test": LABELS[:10] % 2}
    assert remarks(tmp_path, **train, **some) == ("classes without a test image: '2'",)
    assert remarks(tmp_path, **some) == ()
    for part in ("val", "test"):
        more = {f"x_{part}": BYTES[40:50], f"y_{part}": np.full(10, 3)}
        with pytest.raises(UsageError, match=r"class '3' of the \w+ images is not among the train"):
            remarks(tmp_path, **train, **(some | more))
    with pytest.raises(UsageError, match="all training images are of the class '2'"):
        remarks(tmp_path, y=LABELS * 0 + 2)
    with pytest.raises(UsageError, match="'0' is the only class"):
        remarks(tmp_path, x_test=BYTES, y_test=LABELS * 0)


def test_labels_that_are_nearly_equal_are_pointed_out(tmp_path: Path) -> None:
    (remark,) = remarks(tmp_path, y=np.array(["3", "3 ", "4"])[LABELS])
    assert remark.startswith("labels that are nearly equal are separate classes: '3', '3 '; give")


@pytest.mark.parametrize("largest", [1, 15, 16])
@pytest.mark.parametrize("as_floats", [False, True])
def test_images_that_are_almost_black_are_pointed_out(
    largest: int, as_floats: bool, tmp_path: Path
) -> None:
    dark = BYTES % 17
    dark[dark > largest] = largest
    found = remarks(tmp_path, x=dark / 255 if as_floats else dark)
    assert sum("almost black" in remark and f" is {largest}; if" in remark for remark in found) == 1
    dark[0, 0, 0, 0] = 17
    (few,) = [remark for remark in remarks(tmp_path, x=dark) if "black" in remark]
    count = f"{len(BYTES) - 1} of {len(BYTES)}"
    assert few == f"images that are almost black, without a value above 16 of 255: {count}"
    dark[:, 0, 0, 0] = 17
    assert not any("black" in remark for remark in remarks(tmp_path, x=dark))
    assert "all images are black" in remarks(tmp_path, x=dark * 0)


def test_equal_images_are_counted(tmp_path: Path) -> None:
    """Against a count of all pairs."""
    few = BYTES[np.random.default_rng(1).integers(0, 12, 60)]
    train, test = {"x_train": few[:40], "y_train": LABELS[:40]}, few[40:]
    (remark,) = remarks(tmp_path, **train, x_test=test, y_test=LABELS[40:])
    data = load_images.load(DataOptions(dataset=f"npz:{tmp_path / 'some.npz'}"))
    pixels, labels = (
        torch.cat([getattr(part, name) for part in (data.train, data.val, data.test)])
        for name in ("pixels", "labels")
    )
    same = (pixels[:, None] == pixels[None]).flatten(2).all(2)
    ends = [len(data.train), len(data.train) + len(data.val), 60]
    repeated = int(same.tril(-1).any(1).sum())
    several = int((same & (labels[:, None] != labels[None])).any(1).sum())
    tested = int(same[ends[1] :, : ends[1]].any(1).sum())
    validated = int(same[ends[0] : ends[1], : ends[0]].any(1).sum())
    assert min(repeated, several, tested, validated) > 0
    assert remark.startswith(
        f"equal images, which are all kept: {repeated} images are the same as an earlier one; "
        f"{tested} of 20 test images are training or validation images; {validated} of 4 "
        f"validation images are training images; {several} images are in several classes, such as "
    )


@pytest.mark.parametrize("classes", [None, ["a", "b", "c"]])
def test_labels_may_be_signed_here_and_unsigned_there(
    classes: list[str] | None, tmp_path: Path
) -> None:
    """NumPy would make floating numbers of both together."""
    arrays: dict[str, Any] = {"x_train": BYTES[:40], "x_test": BYTES[40:]}
    arrays |= {"y_train": LABELS[:40].astype(np.uint64), "y_test": LABELS[40:].astype(np.int64)}
    if classes is not None:
        arrays["classes"] = np.array(classes)
    data = npz.load(written(tmp_path, **arrays), 0)
    assert data.classes == (("0", "1", "2") if classes is None else tuple(classes))
    assert data.test.labels.tolist() == LABELS[40:].tolist()


def test_a_label_beyond_all_numbers_is_refused(tmp_path: Path) -> None:
    labels = LABELS.astype(np.uint64)
    labels[0] = 2**64 - 1
    with pytest.raises(UsageError, match="the label 18446744073709551615 is too large"):
        npz.load(written(tmp_path, images=BYTES, labels=labels), 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 64)])
def test_images_too_small_for_a_network_are_refused(
    shape: tuple[int, int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = RANDOM.integers(0, 256, (60, *shape), dtype=np.uint8)
    file = written(tmp_path, images=images, labels=LABELS)
    assert main(["train", "cnn", "--dataset", f"npz:{file}", "--out", str(tmp_path / "out")]) == 2
    size = " × ".join(map(str, (1, *shape)))
    assert f"cnn cannot take images of {size}" in capsys.readouterr().err
    assert not (tmp_path / "out" / "train").exists()


@pytest.mark.parametrize(
    ("labels", "by_class"),
    [
        ([0] * 8 + [1] * 8, True),
        ([1] * 8 + [0] * 8, True),
        (list(range(30)), True),
        (sorted([*range(40), *range(40)]), True),
        ([0] * 6 + [1] * 5, False),  # so few may be so by chance
        ([0] * 40, False),
        ([0, 1] * 20, False),
        ([3, 0, 2, 1, 4, 6, 5, 8, 7, 9, 11, 10, 12], False),
        (np.random.default_rng(0).integers(0, 10, 300).tolist(), False),
        (np.random.default_rng(0).integers(0, 2, 30).tolist(), False),
    ],
)
def test_labels_that_stand_class_by_class_are_told_from_others(
    labels: list[int], by_class: bool
) -> None:
    assert is_by_class(torch.tensor(labels)) == by_class


def test_images_that_are_stored_class_by_class_are_read_in_another_order(tmp_path: Path) -> None:
    """The first ones, which ``--limit`` and ``--check-images`` take, are then of all classes."""
    images = np.random.default_rng(0).integers(0, 256, (90, 8, 8), dtype=np.uint8)
    for by_class in (True, False):
        labels = np.arange(90) // 30 if by_class else np.arange(90) % 3
        parts = {
            f"{name}_{part}": array
            for part in ("train", "val", "test")
            for name, array in (("x", images), ("y", labels))
        }
        file = written(tmp_path, **parts)
        data, again = (load_images.load(DataOptions(dataset=f"npz:{file}")) for _ in range(2))
        assert data.train.labels.tolist() == labels.tolist()
        for part, same in ((data.val, again.val), (data.test, again.test)):
            assert (part.labels.tolist() == labels.tolist()) != by_class
            assert set(part.labels[:15].tolist()) == {0, 1, 2}
            assert torch.equal(part.pixels, same.pixels)
            order = [
                int((images == image.numpy()).all((1, 2)).argmax()) for image in part.pixels[:, 0]
            ]
            assert sorted(order) == list(range(90))
            assert labels[order].tolist() == part.labels.tolist()
        assert any("stored class by class" in remark for remark in data.remarks) == by_class


def test_test_images_alone_need_a_network_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, x_test=BYTES, y_test=LABELS)
    for command in ("attack fgsm --eps 0.1", "evaluate quick", "inspect predict"):
        assert main([*command.split(), "--dataset", f"npz:{file}", "--out", str(tmp_path)]) == 2
        assert "holds test images only" in capsys.readouterr().err


def rewritten(file: Path, name: str, content: bytes) -> Path:
    """The archive with other bytes in place of one array."""
    with zipfile.ZipFile(file) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(file, "w") as archive:
        for member, before in {**members, f"{name}.npy": content}.items():
            archive.writestr(member, content if member == f"{name}.npy" else before)
    return file


def stored_as(array: Any, version: tuple[int, int], padding: int = 0) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    content = stream.getvalue()
    if not padding:
        return content
    head = content[12 : 12 + int.from_bytes(content[8:12], "little")].rstrip(b"\n")
    head += b" " * padding + b"\n"
    whole: bytes = content[:8] + len(head).to_bytes(4, "little") + head + array.tobytes()
    return whole


def test_arrays_of_every_version_are_read(tmp_path: Path) -> None:
    file = tmp_path / "some.npz"
    np.savez(file, x=BYTES, y=LABELS)
    expected = npz.load(file, 0).sha256()
    for version in ((1, 0), (2, 0), (3, 0)):
        rewritten(file, "x", stored_as(BYTES, version))
        assert npz.load(file, 0).sha256() == expected


def test_arrays_that_nobody_reads_may_be_anything(tmp_path: Path) -> None:
    """Objects, fields beyond Latin-1 and bytes that are no array among them."""
    file = tmp_path / "some.npz"
    fields = np.zeros(2, dtype=[("Grad °", "f4"), ("№", "i4")])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.savez(file, x=BYTES, y=LABELS, more=fields, code=np.array([{}]), readme=np.zeros(1))
    rewritten(file, "readme", b"This is no array.")
    data = npz.load(file, 0)
    assert data.remarks == ("arrays that were not read: more, code, readme",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (stored_as(BYTES, (2, 0), 20_000), "Header info length"),
        (stored_as(BYTES, (1, 0)).replace(b"(", b"(-", 1), "images have"),
        (stored_as(BYTES, (1, 0)).replace(b"(60, 3, ", b"(True, 3, ", 1), "has the shape"),
        (b"\x93NUMPY\x09\x00" + stored_as(BYTES, (2, 0))[8:], "the unknown version 9.0"),
    ],
)
def test_heads_that_are_odd_are_called_what_they_are(
    content: bytes, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "some.npz"
    np.savez(file, x=BYTES, y=LABELS)
    with pytest.raises(AdvlabError, match=words):
        npz.load(rewritten(file, "x", content), 0)
