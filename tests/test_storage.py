"""Pixels of data sets that are larger than a quarter of the memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from advlab.config.options.run import DataOptions
from advlab.data import load_images, storage
from advlab.data.formats import npz
from advlab.data.image_set import ImageSet
from advlab.errors import EnvironmentFailure
from advlab.logs import collected

COLOUR = np.random.default_rng(0).integers(0, 256, (60, 8, 10, 3), dtype=np.uint8)
LABELS = np.arange(60) % 3


@pytest.fixture
def on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where pixels are kept, on a machine with hardly any memory."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setattr(storage, "memory", lambda: 4096.0)
    monkeypatch.setattr(storage, "folder", lambda: place)
    monkeypatch.setattr(storage, "_CHUNK", 1000)
    monkeypatch.setattr(npz, "_CHUNK", 1000)
    return place


def archive(place: Path) -> str:
    np.savez(place / "set.npz", images=COLOUR, labels=LABELS)
    return f"npz:{place}/set.npz"


def compressed_floats(place: Path) -> str:
    images = COLOUR.transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.savez_compressed(place / "set.npz", images=images, labels=LABELS)
    return f"npz:{place}/set.npz"


def column_by_column(place: Path) -> str:
    np.savez(place / "set.npz", images=np.asfortranarray(COLOUR[..., 0]), labels=LABELS)
    return f"npz:{place}/set.npz"


def class_by_class(place: Path) -> str:
    order = np.argsort(LABELS, kind="stable")
    images, labels = COLOUR[order], LABELS[order]
    np.savez(place / "set.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    return f"npz:{place}/set.npz"


def photos(place: Path, grey: bool = False) -> str:
    for number, (image, label) in enumerate(zip(COLOUR, LABELS, strict=True)):
        (place / "photos" / f"class{label}").mkdir(parents=True, exist_ok=True)
        photo = Image.fromarray(image).convert("L" if grey else "RGB")
        photo.save(place / "photos" / f"class{label}" / f"{number}.png")
    return f"folder:{place}/photos"


def grey_photos(place: Path) -> str:
    return photos(place, grey=True)


def table(place: Path) -> str:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    photos(place)
    files = sorted((place / "photos").rglob("*.png"))
    columns = {
        "image": [file.read_bytes() for file in files],
        "label": [file.parent.name for file in files],
    }
    parquet.write_table(pyarrow.table(columns), place / "set.parquet")
    return f"parquet:{place}/set.parquet"


def loaded(name: str) -> ImageSet:
    side = 8 if name.startswith(("folder:", "parquet:")) else None
    return load_images.load(DataOptions(dataset=name, image_size=side))


@pytest.mark.parametrize(
    "make",
    [
        archive,
        compressed_floats,
        column_by_column,
        class_by_class,
        photos,
        grey_photos,
        table,
    ],
)
def test_a_set_on_disk_is_the_one_in_memory(
    make: Callable[[Path], str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name = make(tmp_path)
    in_memory = loaded(name)
    place: Path = request.getfixturevalue("on_disk")
    with collected() as lines:
        on_disk = loaded(name)
    assert on_disk.sha256() == in_memory.sha256()
    assert on_disk.remarks == in_memory.remarks
    some = torch.tensor([3, 0, 3])
    assert torch.equal(on_disk.train.inputs(some), in_memory.train.inputs(some))
    assert any(f"are kept in a file in {place}" in line for line in lines)
    assert list(place.iterdir()) == [], "the files have no names, and end with the process"


def test_what_does_not_fit_on_the_disk_is_refused(
    tmp_path: Path, on_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(EnvironmentFailure, match="TMPDIR names another folder"):
        loaded(archive(tmp_path))


@pytest.mark.parametrize(
    ("groups", "limits", "known"),
    [
        ("0::/job\n", {"job/memory.max": "5000\n"}, 5000),
        ("0::/job\n", {"job/memory.max": "max\n"}, math.inf),
        ("0::/job\n", {"memory.max": "6000\n"}, 6000),
        (
            "9:cpu:/a\n4:memory:/a/b\n",
            {"memory/a/b/memory.limit_in_bytes": "7000\n", "memory.max": "max\n"},
            7000,
        ),
        ("", {}, math.inf),
    ],
)
def test_the_memory_is_what_the_process_may_use(
    groups: str,
    limits: dict[str, str],
    known: float,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In both versions of Linux's control groups, of a container or of a job."""
    for name, text in limits.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(groups)
    monkeypatch.setattr(storage, "_GROUPS", tmp_path)
    monkeypatch.setattr(storage, "_OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr("os.sysconf", lambda _: (_ for _ in ()).throw(ValueError))
    assert storage.memory() == known


def test_the_folder_is_the_one_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert storage.folder() == tmp_path
