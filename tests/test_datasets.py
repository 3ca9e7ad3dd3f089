"""Every data set that there is: what it says of itself, what it loads from well-formed files, what
it refuses."""

from __future__ import annotations

import gzip
import pickle
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

from advlab.config.options.run import DataOptions
from advlab.data import catalogue, load_images, splits
from advlab.data.image_set import Images, ImageSet, take
from advlab.data.images import digits
from advlab.data.pixels import to_unit
from advlab.errors import EnvironmentFailure, UsageError

Bytes = NDArray[np.uint8]


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")


# --- small sets in the real sets' formats ---------------------------------------------------------
def idx(array: Bytes) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def labels_of(count: int, classes: int = 10) -> Bytes:
    return (np.arange(count) % classes).astype(np.uint8)


def noise(*shape: int) -> Bytes:
    return np.random.RandomState(0).randint(0, 256, shape).astype(np.uint8)


def fake_mnist(folder: Path, gzipped: bool = False) -> None:
    folder.mkdir(parents=True)
    for part, count in (("train", 120), ("t10k", 20)):
        for name, array in (
            (f"{part}-images-idx3-ubyte", noise(count, 28, 28)),
            (f"{part}-labels-idx1-ubyte", labels_of(count)),
        ):
            content = idx(array)
            if gzipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)


def fake_cifar_binary(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / f"{name}.bin").write_bytes(
            np.concatenate([labels_of(40)[:, None], noise(40, 3072)], axis=1).tobytes()
        )


def fake_cifar_pickled(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        content = {
            b"data": noise(40, 3072),
            b"labels": labels_of(40).tolist(),
            b"filenames": [b"x.png"] * 40,
        }
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def fake_svhn(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 100), ("test", 20)):
        digits = labels_of(count)
        digits[digits == 0] = 10
        savemat(folder / f"{part}_32x32.mat", {"X": noise(32, 32, 3, count), "y": digits[:, None]})


def fake_flowers(folder: Path) -> None:
    (folder / "jpg").mkdir(parents=True)
    count = 3 * 102
    for number in range(1, count + 1):
        Image.fromarray(np.full((9, 12, 3), number % 256, np.uint8)).save(
            folder / "jpg" / f"image_{number:05d}.jpg"
        )
    numbers = np.arange(1, count + 1)
    savemat(folder / "imagelabels.mat", {"labels": (numbers - 1) % 102 + 1})
    savemat(
        folder / "setid.mat",
        {"trnid": numbers[:102], "valid": numbers[102:204], "tstid": numbers[204:]},
    )


FAKES: dict[str, Callable[[Path], None]] = {
    "mnist": lambda root: fake_mnist(root / "MNIST/raw"),
    "fashion_mnist": lambda root: fake_mnist(root / "FashionMNIST/raw", gzipped=True),
    "cifar10": lambda root: fake_cifar_binary(root / "cifar-10-batches-bin"),
    "svhn": fake_svhn,
    "flowers102": lambda root: fake_flowers(root / "flowers-102"),
    "digits": lambda root: None,
    "stacked_digits": lambda root: None,
    "stacked_mnist": lambda root: fake_mnist(root / "MNIST/raw"),
}


def load(name: str, root: Path, split_seed: int = 0, image_size: int | None = None) -> ImageSet:
    return load_images.load(
        DataOptions(dataset=name, data_dir=str(root), split_seed=split_seed, image_size=image_size)
    )


def loaded(name: str, root: Path, split_seed: int = 0) -> ImageSet:
    FAKES[name](root)
    return load(name, root, split_seed)


# --- the contract of every set --------------------------------------------------------------------
def test_every_set_has_a_fake_here() -> None:
    assert sorted(FAKES) == catalogue.dataset_names()


@pytest.mark.parametrize("name", catalogue.dataset_names())
def test_info_is_complete(name: str) -> None:
    module = catalogue.dataset_module(name)
    info = module.INFO
    assert info.title
    assert info.noun
    assert info.licence
    assert info.source.startswith("http")
    assert all(count > 0 for count in info.counts)
    assert len(info.shape) == 3
    assert len(set(info.classes)) == len(info.classes) >= 2
    for file in info.files:
        assert file.urls
        assert len(file.md5) == 32
        assert file.size > 0
        assert file.outputs
        assert all(url.endswith(file.name) for url in file.urls)
    first = (sys.modules[module.__name__].__doc__ or "").splitlines()[0]  # type: ignore[attr-defined]
    assert 10 < len(first) < 110


def test_modules_leave_heavy_libraries_out() -> None:
    names = ", ".join(f"advlab.data.images.{name}" for name in catalogue.dataset_names())
    code = (
        f"import sys, {names}; print([m for m in ('torch', 'torchvision', 'sklearn', 'scipy', "
        "'numpy', 'PIL') if m in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", catalogue.dataset_names())
def test_what_is_loaded(name: str, tmp_path: Path) -> None:
    info = catalogue.dataset_module(name).INFO
    assert catalogue.dataset_module(name).present(tmp_path) == (
        name in ("digits", "stacked_digits")
    )
    data = loaded(name, tmp_path)
    assert catalogue.dataset_module(name).present(tmp_path)
    assert data.name == name
    assert data.classes == info.classes
    assert data.shape == info.shape
    assert data.origin.startswith(info.title)
    for part in (data.train, data.val, data.test):
        assert part.pixels.dtype == torch.uint8
        assert part.labels.dtype == torch.int64
        assert len(part.pixels) == len(part.labels) > 0
        assert part.pixels.is_contiguous()
        assert part.labels.min() >= 0
        assert part.labels.max() < len(info.classes)
    for part in (data.train, data.val):
        if not data.stacked_of:  # whose thousand classes are what chance makes of ten
            assert set(part.labels.tolist()) == set(range(len(info.classes)))
    floats = data.train.inputs(slice(0, 4))
    assert floats.dtype == torch.float32
    assert floats.min() >= 0
    assert floats.max() <= 1


@pytest.mark.parametrize("name", catalogue.dataset_names())
def test_the_split_follows_its_seed_and_leaves_the_test_images(name: str, tmp_path: Path) -> None:
    first = loaded(name, tmp_path)
    again, other = load(name, tmp_path), load(name, tmp_path, split_seed=1)
    assert first.sha256() == again.sha256()
    assert torch.equal(first.test.pixels, other.test.pixels)
    assert torch.equal(first.test.labels, other.test.labels)
    if name != "flowers102":  # its split is the official one
        assert first.sha256() != other.sha256()
    if first.stacked_of:
        return
    both = torch.cat([first.train.labels, first.val.labels])
    assert torch.equal(
        both.bincount(), torch.cat([other.train.labels, other.val.labels]).bincount()
    )


@pytest.mark.parametrize("base", ["digits", "mnist"])
def test_a_stacked_set_holds_images_of_its_base_in_its_channels(base: str, tmp_path: Path) -> None:
    flat, stacked = loaded(base, tmp_path), load(f"stacked_{base}", tmp_path)
    assert stacked.stacked_of == base
    assert stacked.classes[372] == "372"
    for one, three in (
        (flat.train, stacked.train),
        (flat.val, stacked.val),
        (flat.test, stacked.test),
    ):
        assert len(one) == len(three)
        known = {
            pixels.numpy().tobytes(): int(label)
            for pixels, label in zip(one.pixels[:, 0], one.labels, strict=True)
        }
        for pixels, label in zip(three.pixels[:30], three.labels[:30], strict=True):
            assert int("".join(str(known[channel.numpy().tobytes()]) for channel in pixels)) == int(
                label
            )


@pytest.mark.parametrize(
    "name",
    [name for name in catalogue.dataset_names() if catalogue.dataset_module(name).INFO.files],
)
def test_a_missing_set_is_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        EnvironmentFailure, match=f"{name} is not in .*advlab data get {name}"
    ) as caught:
        load(name, tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in catalogue.dataset_names()
        if not catalogue.dataset_module(name).INFO.resizable
    ],
)
def test_a_size_is_refused_where_it_is_fixed(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--image-size") as caught:
        load(name, tmp_path, image_size=16)
    listed = str(caught.value).partition("; only ")[2]
    assert listed == (
        "flowers102, folder:PATH, parquet:PATH, hf:NAME and torchvision:NAME can be resized"
    )


def test_the_sets_that_help_says_can_be_resized_are_those_that_can() -> None:
    described = DataOptions.model_fields["image_size"].description or ""
    kinds = ("folder:PATH", "npz:FILE", "parquet:PATH", "hf:NAME", "torchvision:NAME")
    for name in (*catalogue.dataset_names(), *kinds):
        resizable = load_images.is_resizable(DataOptions(dataset=name))
        assert (name in described) == resizable, name


# --- digits ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", [digits._FILE, ("nowhere",)], ids=["its file", "its function"])
def test_the_originals_of_digits_are_scikit_learns(
    place: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digits, "_FILE", place)
    images, labels = digits._original()
    theirs = load_digits()
    assert np.array_equal(images, theirs.images)
    assert np.array_equal(labels, theirs.target)


def test_digits_counts_and_looks(tmp_path: Path) -> None:
    data = load("digits", tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (1257, 180, 360)
    assert torch.equal(data.val.labels.bincount(), torch.full((10,), 18))
    pixels = data.train.inputs(slice(None))
    assert (
        pixels[:, :, :4].sum()
        == pixels[:, :, -4:].sum()
        == pixels[..., :4].sum()
        == pixels[..., -4:].sum()
        == 0
    )
    assert pixels.max() == 1
    assert 0.1 < pixels.mean() < 0.2
    flat = torch.cat([data.train.pixels, data.val.pixels, data.test.pixels]).flatten(1)
    assert len(np.unique(flat.numpy(), axis=0)) == 1797


# --- MNIST's files, broken ------------------------------------------------------------------------
def test_mnist_keeps_each_label_with_its_image(tmp_path: Path) -> None:
    data = loaded("mnist", tmp_path)
    pixels, labels = noise(120, 28, 28), labels_of(120)
    where = {image.tobytes(): int(label) for image, label in zip(pixels, labels, strict=True)}
    for part in (data.train, data.val):
        assert [where[image.numpy().tobytes()] for image in part.pixels] == part.labels.tolist()
    assert (len(data.train), len(data.val), len(data.test)) == (100, 20, 20)
    assert data.origin == "MNIST, 120 + 20 handwritten digits"


def test_gzipped_and_plain_are_the_same(tmp_path: Path) -> None:
    fake_mnist(tmp_path / "a/MNIST/raw")
    fake_mnist(tmp_path / "b/MNIST/raw", gzipped=True)
    assert load("mnist", tmp_path / "a").sha256() == load("mnist", tmp_path / "b").sha256()


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (IMAGES, b"", "not an IDX file"),
        (IMAGES, b"\0\0\x08\x03\0\0", "truncated within its header"),
        (IMAGES, b"<html>nothing here", "not an IDX file"),
        (IMAGES, idx(noise(120, 28, 28))[:-1], "its header states 94,080"),
        (IMAGES, idx(noise(120, 28, 28)) + b"x", "holds more bytes"),
        (IMAGES, struct.pack(">BBBB3I", 0, 0, 8, 3, 2**31, 2**31, 4), "its header states"),
        (IMAGES, idx(noise(120, 27, 28)), "27x28 pixels"),
        (LABELS, idx(labels_of(119)), "119 labels for 120 images"),
        (LABELS, idx(np.full(120, 10, np.uint8)), "label 10 of image 0 is out of range"),
        (LABELS, idx(labels_of(120, 9)), "no image of class 9"),
        (LABELS, idx(np.zeros(120, np.uint8)), "no image of class 1"),
    ],
)
def test_a_broken_file_of_mnist_is_named(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    fake_mnist(tmp_path / "MNIST/raw")
    (tmp_path / "MNIST/raw" / name).write_bytes(content)
    with pytest.raises(EnvironmentFailure, match=words) as caught:
        load("mnist", tmp_path)
    assert name in str(caught.value)
    assert "data get mnist --overwrite" in str(caught.value)


def test_a_broken_gz_is_named(tmp_path: Path) -> None:
    fake_mnist(tmp_path / "MNIST/raw", gzipped=True)
    path = tmp_path / "MNIST/raw" / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EnvironmentFailure, match=rf"{IMAGES}\.gz: cannot be read"):
        load("mnist", tmp_path)


# --- the colour sets ------------------------------------------------------------------------------
def test_cifar_is_the_same_in_both_versions(tmp_path: Path) -> None:
    fake_cifar_binary(tmp_path / "a/cifar-10-batches-bin")
    fake_cifar_pickled(tmp_path / "b/cifar-10-batches-py")
    binary, pickled = load("cifar10", tmp_path / "a"), load("cifar10", tmp_path / "b")
    assert binary.sha256() == pickled.sha256()
    assert (len(binary.train), len(binary.val), len(binary.test)) == (180, 20, 40)
    assert torch.equal(binary.test.pixels, torch.from_numpy(noise(40, 3072).reshape(40, 3, 32, 32)))


class _Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    fake_cifar_pickled(tmp_path / "cifar-10-batches-py")
    (tmp_path / "cifar-10-batches-py/data_batch_2").write_bytes(
        pickle.dumps({b"data": _Evil(tmp_path / "ran"), b"labels": []})
    )
    with pytest.raises(EnvironmentFailure, match="data_batch_2"):
        load("cifar10", tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0" * 3072, "truncated"),
        (b"", "no images"),
        (b"\x0b" + b"\0" * 3072, "label 11 of image 0"),
        (b"\x01" + b"\0" * 3072, "no image of class 0"),
    ],
)
def test_a_broken_batch_of_cifar_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    fake_cifar_binary(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "cifar-10-batches-bin/data_batch_3.bin").write_bytes(content)
    with pytest.raises(EnvironmentFailure, match=rf"data_batch_3\.bin: .*{words}"):
        load("cifar10", tmp_path)


def test_svhn_turns_axes_and_its_ten(tmp_path: Path) -> None:
    data = loaded("svhn", tmp_path)
    assert torch.equal(
        data.test.pixels, torch.from_numpy(noise(32, 32, 3, 20).transpose(3, 2, 0, 1).copy())
    )
    assert torch.equal(data.test.labels, torch.from_numpy(labels_of(20).astype(np.int64)))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"X": noise(32, 32, 3, 50)}, "no numeric array named 'y'"),
        ({"X": noise(32, 32, 50), "y": labels_of(50)}, "shape"),
        ({"X": noise(32, 32, 3, 50), "y": labels_of(49)}, "labels for 50 images"),
        ({"X": noise(32, 32, 3, 50), "y": labels_of(50) + 2}, "label 11 of image 9"),
    ],
)
def test_a_broken_file_of_svhn_is_named(
    tmp_path: Path, content: dict[str, Bytes], words: str
) -> None:
    fake_svhn(tmp_path)
    savemat(tmp_path / "train_32x32.mat", content)
    with pytest.raises(EnvironmentFailure, match=rf"train_32x32\.mat: .*{words}"):
        load("svhn", tmp_path)


def test_a_mat_file_of_garbage_is_named(tmp_path: Path) -> None:
    fake_svhn(tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(b"garbage" * 100)
    with pytest.raises(EnvironmentFailure, match=r"test_32x32\.mat"):
        load("svhn", tmp_path)


def test_flowers_size_and_missing_photo(tmp_path: Path) -> None:
    fake_flowers(tmp_path / "flowers-102")
    assert load("flowers102", tmp_path, image_size=16).shape == (3, 16, 16)
    (tmp_path / "flowers-102/jpg/image_00007.jpg").unlink()
    with pytest.raises(EnvironmentFailure, match=r"image_00007\.jpg"):
        load("flowers102", tmp_path)


# --- which set ------------------------------------------------------------------------------------
def test_auto_is_mnist_where_it_lies(tmp_path: Path) -> None:
    fake_mnist(tmp_path / "MNIST/raw")
    images = load_images.load(DataOptions(data_dir=str(tmp_path)))
    assert images.name == "mnist"
    sizes = [len(split) for split in (images.train, images.val, images.test)]
    assert sum(sizes[:2]) == 120
    assert images.introduction() == (
        f"data set: MNIST, 120 + 20 handwritten digits; split into {sizes[0]} for training, "
        f"{sizes[1]} for validation and 20 for testing"
    )


def test_auto_falls_back_on_digits_with_one_line(tmp_path: Path) -> None:
    images = load_images.load(DataOptions(data_dir=str(tmp_path / "data")))
    assert images.name == "digits"
    line = images.introduction()
    assert "\n" not in line
    assert "ADVLAB_OFFLINE" in line
    assert "MNIST is not in" in line
    assert "1,437 + 360 handwritten digits" in line
    assert not (tmp_path / "data").exists()


def test_auto_gives_up_soon_on_a_network_that_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import urllib.request

    from advlab.data.download import mirrors
    from advlab.data.download.connection import Patience

    tried = []

    def silence(request: urllib.request.Request, timeout: float) -> None:
        tried.append(request.full_url)
        time.sleep(5)

    monkeypatch.setenv("ADVLAB_OFFLINE", "0")
    monkeypatch.setattr(urllib.request, "urlopen", silence)
    monkeypatch.setattr(mirrors, "QUICK", Patience(connect=0.1, stall=0.1, total=0.5, tries=1))
    begun = time.monotonic()
    options = DataOptions(data_dir=str(tmp_path / "data"))
    name, reason = load_images.resolve_name(options)
    assert name == "digits"
    assert load_images.resolve_name(options) == (name, reason)
    assert time.monotonic() - begun < 3
    assert len(tried) == len(catalogue.dataset_module("mnist").INFO.files[0].urls)
    assert "no response" in reason


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("mnits", "mnist"),
        ("cifar-10", "cifar10"),
        ("fashion-mnist", "fashion_mnist"),
        ("aut", "auto"),
        ("photos", "folder:photos"),
        ("digits.npz", "npz:digits.npz"),
    ],
)
def test_an_unknown_name_is_guessed(
    typed: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    Path("digits.npz").touch()
    with pytest.raises(UsageError, match=f"did you mean '{meant}'"):
        load(typed, tmp_path)


# --- drawing by class -----------------------------------------------------------------------------
@pytest.mark.parametrize("total", [10, 11, 57, 500, 990])
def test_a_draw_is_in_proportion_and_complete(total: int) -> None:
    labels = (
        np.random.RandomState(1)
        .choice(10, 1000, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.03, 0.02])
        .astype(np.int64)
    )
    stay, drawn = splits.stratified_draw(labels, total, seed=3)
    assert sorted([*stay, *drawn]) == list(range(1000))
    assert len(drawn) == total
    counts = np.bincount(labels)
    given = np.bincount(labels[drawn], minlength=10)
    assert (given >= 1).all()
    assert (given < counts).all()
    if 100 <= total <= 900:
        assert (np.abs(given - counts * total / 1000) < 1).all()


def images(count: int, classes: int = 10) -> Images:
    return Images.from_arrays(noise(count, 4, 4), labels_of(count, classes))


@pytest.mark.parametrize("count", [0, -1])
def test_no_images_are_no_batch(count: int, tmp_path: Path) -> None:
    test = load_images.load(DataOptions(dataset="digits", data_dir=str(tmp_path))).test
    images, labels = test.tensors(3)
    assert (len(images), len(labels)) == (3, 3)
    with pytest.raises(UsageError, match=f"tensors\\({count}\\): the number of images must be at"):
        test.tensors(count)


def test_take_is_by_class_and_seeded() -> None:
    part = take(images(1000), 100, seed=0)
    assert torch.equal(part.labels.bincount(), torch.full((10,), 10))
    assert torch.equal(part.pixels, take(images(1000), 100, seed=0).pixels)
    assert not torch.equal(part.pixels, take(images(1000), 100, seed=1).pixels)
    assert len(take(images(1000), 1000, seed=0)) == 1000
    assert sorted(take(images(1000), 10, seed=0).labels.tolist()) == list(range(10))


@pytest.mark.parametrize("count", [9, 1001])
def test_take_refuses_what_cannot_be(count: int) -> None:
    with pytest.raises(UsageError, match="cannot train on"):
        take(images(1000), count, seed=0)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_level_is_the_same_float_on_every_device(device: str) -> None:
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    levels = torch.arange(256, dtype=torch.uint8)
    expected = torch.from_numpy(np.arange(256, dtype=np.float32) / np.float32(255))
    assert torch.equal(to_unit(levels.to(device)).cpu(), expected)
    assert torch.equal(to_unit(levels.float().to(device)).cpu(), expected)
