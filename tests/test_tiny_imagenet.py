"""Tiny ImageNet's two layouts, in folders made like it, whole and damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import ImageSet
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError

# A colour by which an image's class can be seen, whatever its file is called.
COLOURS = {
    "n01443537": (250, 0, 0),
    "n01629819": (0, 250, 0),
    "n02012849": (0, 0, 250),
    "n03126707": (120, 120, 0),
}
WORDS = {
    "n01443537": "goldfish, Carassius auratus",
    "n01629819": "European fire salamander, Salamandra salamandra",
    "n02012849": "crane",
    "n03126707": "crane",
    "n00001740": "entity",
}


def picture(path: Path, colour: tuple[int, int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 64), colour).save(path, "JPEG", quality=95)


@pytest.fixture
def handed_out(tmp_path: Path) -> Path:
    """As the archive unpacks: 20 training and 3 validation images of each of four classes, in an
    order that is not theirs."""
    root = tmp_path / "tiny-imagenet-200"
    lines = []
    for place, (wnid, colour) in enumerate(COLOURS.items()):
        for number in range(20):
            picture(root / "train" / wnid / "images" / f"{wnid}_{number}.JPEG", colour)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t63\t63\n")
        for number in range(3):
            name = f"val_{4 * number + 3 - place}.JPEG"
            picture(root / "val" / "images" / name, colour)
            lines.append(f"{name}\t{wnid}\t0\t0\t63\t63")
    (root / "val" / "val_annotations.txt").write_text("\n".join(reversed(lines)) + "\n")
    picture(root / "test" / "images" / "test_0.JPEG", (0, 0, 0))
    (root / "wnids.txt").write_text("\n".join(reversed(COLOURS)) + "\n")
    (root / "words.txt").write_text("".join(f"{wnid}\t{words}\n" for wnid, words in WORDS.items()))
    return root


def sort_validation(root: Path, inner: str) -> None:
    """Bring ``val/`` into folders by class, as scripts that people share do."""
    for line in (root / "val" / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (root / "val" / wnid / inner).mkdir(parents=True, exist_ok=True)
        (root / "val" / "images" / name).rename(root / "val" / wnid / inner / name)
    (root / "val" / "images").rmdir()
    (root / "val" / "val_annotations.txt").unlink()


def load(root: Path, split_seed: int = 0) -> ImageSet:
    return load_images.load(DataOptions(dataset=f"folder:{root}", split_seed=split_seed))


def check_colours(data: ImageSet) -> None:
    for part in (data.train, data.val, data.test):
        for pixels, label in zip(part.pixels, part.labels.tolist(), strict=True):
            wanted = list(COLOURS.values())[label]
            assert all(
                abs(int(value) - right) < 8
                for value, right in zip(pixels[:, 32, 32], wanted, strict=True)
            )


def test_as_it_is_handed_out(handed_out: Path) -> None:
    data = load(handed_out)
    assert (len(data.train), len(data.val), len(data.test)) == (72, 8, 12)
    assert data.shape == (3, 64, 64)
    assert data.classes == (
        "goldfish",
        "European fire salamander",
        "crane (n02012849)",
        "crane (n03126707)",
    )
    assert data.test.labels.bincount().tolist() == [3, 3, 3, 3]
    assert data.val.labels.bincount().tolist() == [2, 2, 2, 2]
    check_colours(data)
    other = load(handed_out, split_seed=1)
    assert other.test.pixels.equal(data.test.pixels)


@pytest.mark.parametrize("inner", ["", "images"])
@pytest.mark.parametrize("named", [True, False])
def test_sorted_by_class(handed_out: Path, inner: str, named: bool) -> None:
    sort_validation(handed_out, inner)
    shutil.rmtree(handed_out / "test")
    if not named:
        (handed_out / "words.txt").unlink()
        (handed_out / "wnids.txt").unlink()
    data = load(handed_out)
    assert (len(data.train), len(data.val), len(data.test)) == (72, 8, 12)
    check_colours(data)
    if not named:
        assert data.classes == tuple(COLOURS)


def rewrite(root: Path, change: Callable[[str], str]) -> None:
    file = root / "val" / "val_annotations.txt"
    file.write_text(change(file.read_text()))


def twice(text: str) -> str:
    return text + text.splitlines()[0] + "\n"


def leave_one_class(root: Path) -> None:
    for name in list(COLOURS)[1:]:
        shutil.rmtree(root / "train" / name)


DAMAGED: list[tuple[Callable[[Path], object], type[AdvlabError], str]] = [
    (
        lambda root: (root / "val/val_annotations.txt").unlink(),
        UsageError,
        r"val_annotations\.txt is missing",
    ),
    (
        lambda root: (root / "val/val_annotations.txt").write_bytes(b"\xff\xfe\x00"),
        EnvironmentFailure,
        "not UTF-8 text",
    ),
    (
        lambda root: rewrite(root, lambda text: ""),
        EnvironmentFailure,
        r"12 images without a class, such as val_0\.JPEG",
    ),
    (
        lambda root: rewrite(root, lambda text: text.split("\n", 1)[1]),
        EnvironmentFailure,
        r"1 images without a class",
    ),
    (
        lambda root: rewrite(root, lambda text: text.replace("\t", " ")),
        EnvironmentFailure,
        r"val_annotations\.txt:1: expected a file name and",
    ),
    (
        lambda root: rewrite(root, lambda text: text.replace("n02012849", "n9")),
        EnvironmentFailure,
        r"txt:\d+: the class 'n9' is not",
    ),
    (
        lambda root: rewrite(root, twice),
        EnvironmentFailure,
        r"txt:13: 'val_8.JPEG' is not in images/, or is listed twice",
    ),
    (
        lambda root: rewrite(root, lambda text: text.replace("n02012849", "n03126707")),
        EnvironmentFailure,
        "no image of the class n02012849",
    ),
    (
        lambda root: (root / "val/images/val_3.JPEG").unlink(),
        EnvironmentFailure,
        r"'val_3\.JPEG' is not in images/",
    ),
    (lambda root: shutil.rmtree(root / "val"), UsageError, "but no val/"),
    (
        lambda root: shutil.rmtree(root / "val/images"),
        UsageError,
        r"val: neither images/ with val_annotations\.txt, nor a folder",
    ),
    (
        lambda root: shutil.rmtree(root / "train/n01443537/images"),
        UsageError,
        "n01443537: a class without images",
    ),
    (
        lambda root: (root / "train/n01443537/images/x.txt").write_text("x"),
        UsageError,
        r"x\.txt: not an image",
    ),
    (
        lambda root: picture(root / "train/n01443537/x.JPEG", (0, 0, 0)),
        UsageError,
        r"x\.JPEG: only a file of bounding boxes",
    ),
    (leave_one_class, UsageError, r"1 class\(es\); at least two are needed"),
]


@pytest.mark.parametrize(("spoil", "kind", "words"), DAMAGED)
def test_what_is_damaged_is_one_line(
    handed_out: Path, spoil: Callable[[Path], object], kind: type[AdvlabError], words: str
) -> None:
    spoil(handed_out)
    with pytest.raises(kind, match=words) as caught:
        load(handed_out)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("named", [True, False])
def test_a_labelled_test_folder_is_the_test_set(handed_out: Path, named: bool) -> None:
    sort_validation(handed_out, "images")
    shutil.rmtree(handed_out / "test")
    for wnid, colour in COLOURS.items():
        for number in range(5):
            picture(handed_out / "test" / wnid / "images" / f"{number}.JPEG", colour)
    if not named:
        (handed_out / "wnids.txt").unlink()
    data = load(handed_out)
    assert (len(data.train), len(data.val), len(data.test)) == (80, 12, 20)
    check_colours(data)


def test_annotations_are_read_beside_a_sorted_test_folder(handed_out: Path) -> None:
    shutil.rmtree(handed_out / "test")
    for wnid, colour in COLOURS.items():
        picture(handed_out / "test" / wnid / "images" / "0.JPEG", colour)
    data = load(handed_out)
    assert (len(data.train), len(data.val), len(data.test)) == (72, 8, 12)
    assert any("1 file (test)" in remark for remark in data.remarks)
