"""``folder:PATH``: images as people have them, and folders as people lay them out."""

from __future__ import annotations

import io
import shutil
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.formats import image_folder
from advlab.data.image_set import ImageSet
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def load(root: Path, image_size: int | None = None, split_seed: int = 0) -> ImageSet:
    return load_images.load(
        DataOptions(dataset=f"folder:{root}", image_size=image_size, split_seed=split_seed)
    )


def picture(
    path: Path, color: tuple[int, int, int] = RED, size: tuple[int, int] = (40, 30)
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def two_classes(root: Path, count: int = 10, ending: str = "png") -> Path:
    for number in range(count):
        picture(root / "cat" / f"{number}.{ending}", (number, 0, 0))
        picture(root / "dog" / f"{number}.{ending}", (number, 255, 0))
    return root


def color_of(image: torch.Tensor) -> tuple[int, ...]:
    _, height, width = image.shape
    return tuple(image[:, height // 2, width // 2].tolist())


# --- layouts --------------------------------------------------------------------------------------
def test_a_seeded_split(tmp_path: Path) -> None:
    data = load(two_classes(tmp_path / "pets"))
    assert (len(data.train), len(data.val), len(data.test)) == (16, 2, 2)
    assert data.classes == ("cat", "dog")
    assert data.shape == (3, 64, 64)
    assert data.name == f"folder:{tmp_path / 'pets'}"
    assert data.origin == "pets, 18 + 2 images from a folder"
    seen = [color_of(image) for part in (data.train, data.val, data.test) for image in part.pixels]
    assert len(set(seen)) == 20
    assert all(
        (color[1] == 255) == bool(label)
        for part in (data.train, data.val, data.test)
        for color, label in zip(
            [color_of(image) for image in part.pixels], part.labels, strict=True
        )
    )
    assert load(tmp_path / "pets").sha256() == data.sha256()
    assert load(tmp_path / "pets", split_seed=1).sha256() != data.sha256()


def first_cat(data: ImageSet) -> Tensor:
    """The one test image of the first class, uint8 (C, H, W)."""
    return data.test.pixels[int((data.test.labels == 0).nonzero()[0])]


def test_the_first_test_images_are_of_all_classes(tmp_path: Path) -> None:
    """Sorted by class, the first half would be of one class."""
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=20)
    labels = load(tmp_path, image_size=8).test.labels
    assert 0.25 < float(labels[:20].double().mean()) < 0.75
    assert torch.equal(labels, load(tmp_path, image_size=8).test.labels)


def test_a_folder_is_a_test_set_for_a_network_of_a_library(tmp_path: Path) -> None:
    whole = image_folder.load_as_test(two_classes(tmp_path, count=20), 8, None)
    assert [len(part) for part in (whole.train, whole.val, whole.test)] == [0, 0, 40]
    assert "all images of the folder are test images for this network" in whole.remarks
    some = image_folder.load_as_test(tmp_path, 8, 10)
    assert torch.equal(some.test.pixels, whole.test.pixels[:10])
    assert "10 of 40 images" in some.origin
    one = load_images.load_for_testing(DataOptions(dataset=f"folder:{tmp_path}"), 1)
    assert not any("without any image" in remark for remark in one.remarks)
    assert image_folder.holds_classes(tmp_path)
    for name in ("train", "Testing"):
        two_classes(tmp_path / f"with {name}" / name, count=1)
        assert not image_folder.holds_classes(tmp_path / f"with {name}")


def test_the_smallest_split(tmp_path: Path) -> None:
    data = load(two_classes(tmp_path, count=3), image_size=8)
    for part in (data.train, data.val, data.test):
        assert sorted(part.labels.tolist()) == [0, 1]


def test_train_and_test_given(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=4)
    data = load(tmp_path, image_size=8)
    assert (len(data.train), len(data.val), len(data.test)) == (18, 2, 8)
    assert torch.equal(data.test.pixels, load(tmp_path, image_size=8, split_seed=5).test.pixels)


def test_train_val_and_test_given(tmp_path: Path) -> None:
    for part, count in (("train", 5), ("val", 2), ("test", 3)):
        two_classes(tmp_path / part, count)
    data = load(tmp_path, image_size=8)
    assert (len(data.train), len(data.val), len(data.test)) == (10, 4, 6)


@pytest.mark.parametrize(
    "names", [("Train", "Val", "Test"), ("training", "valid", "testing"), ("TRAIN", "dev", "test")]
)
def test_parts_by_their_other_names(names: tuple[str, str, str], tmp_path: Path) -> None:
    for name, count in zip(names, (5, 2, 3), strict=True):
        two_classes(tmp_path / name, count)
    data = load(tmp_path, image_size=8)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.val), len(data.test)) == (10, 4, 6)
    two_classes(tmp_path / "validation", 1)
    with pytest.raises(UsageError, match=f"{names[1]} and validation both name the val part"):
        load(tmp_path)


def test_all_splits_are_one_tensor(tmp_path: Path) -> None:
    data = load(two_classes(tmp_path), image_size=8)
    assert (
        data.train.pixels.untyped_storage().data_ptr()
        == data.test.pixels.untyped_storage().data_ptr()
    )


def test_junk_is_passed_over(tmp_path: Path) -> None:
    two_classes(tmp_path)
    for junk in (
        "Thumbs.db",
        ".DS_Store",
        "cat/.hidden",
        "cat/Thumbs.db",
        "dog/desktop.ini",
        ".git/config",
        "__MACOSX/x",
    ):
        (tmp_path / junk).parent.mkdir(exist_ok=True)
        (tmp_path / junk).write_bytes(b"junk")
    assert len(load(tmp_path, image_size=8).classes) == 2


# --- images ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "tif", "webp", "ppm"])
def test_any_format(tmp_path: Path, ending: str) -> None:
    two_classes(tmp_path, count=3)
    picture(tmp_path / "blue" / f"a.{ending}", BLUE)
    picture(tmp_path / "blue" / f"b.{ending}", BLUE)
    picture(tmp_path / "blue" / f"c.{ending}", BLUE)
    data = load(tmp_path, image_size=8)
    red, green, blue = color_of(data.train.pixels[data.train.labels == 0][0])
    assert red < 5
    assert green < 5
    assert blue > 250


def test_an_image_without_an_ending(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / "0")
    assert len(load(tmp_path, image_size=8).train) == 16


@pytest.mark.parametrize("size", [(200, 40), (40, 200), (3, 3), (1, 1), (8, 8)])
def test_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    two_classes(tmp_path)
    picture(tmp_path / "cat/0.png", (0, 0, 0), size)
    assert load(tmp_path, image_size=8).shape == (3, 8, 8)


def test_only_the_middle_of_a_long_image_is_kept(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=1)
    stripe = Image.new("RGB", (90, 30), RED)
    stripe.paste(BLUE, (30, 0, 60, 30))
    stripe.save(tmp_path / "test/cat/0.png")
    image = first_cat(load(tmp_path, image_size=8)).int()
    # The filter reaches a little over the cut, so the outermost column holds a trace of red.
    assert (image[:, :, 1:-1] == torch.tensor(BLUE)[:, None, None]).all()
    assert image[0].max() < 30


def test_scaling_down_is_antialiased(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=1)
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).convert("RGB").save(tmp_path / "test/cat/0.png")
    middle = first_cat(load(tmp_path, image_size=16))
    assert (middle.float() - 127.5).abs().max() < 4


def test_exif_rotation_is_honoured(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=1)
    halves = Image.new("RGB", (32, 32), RED)
    halves.paste(
        BLUE, (16, 0, 32, 32)
    )  # right half blue; turned by 90° clockwise, the lower half is
    exif = Image.Exif()
    exif[0x0112] = 6
    halves.save(tmp_path / "test/cat/0.jpg", exif=exif, quality=95)
    (tmp_path / "test/cat/0.png").unlink()
    image = first_cat(load(tmp_path, image_size=16)).int()
    assert image[0, 2].min() > 200
    assert image[2, -3].min() > 200


def test_grey_stays_grey_where_all_are(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.new("L", (10, 10), 100 + number).save(tmp_path / name / f"{number}.png")
    data = load(tmp_path, image_size=8)
    assert data.shape == (1, 8, 8)
    assert {
        int(image.unique()) for part in (data.train, data.val, data.test) for image in part.pixels
    } == {100, 101, 102}
    picture(tmp_path / "a/0.png")
    assert load(tmp_path, image_size=8).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.fromarray(np.full((9, 9), 257 * 200, np.uint16)), (200, 200, 200)),
        (Image.new("1", (9, 9), 1), (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (0, 0, 0, 0)), (255, 255, 255)),
        (Image.new("RGBA", (9, 9), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("P", (9, 9), 0), (0, 0, 0)),
    ],
    ids=["16 bits", "1 bit", "transparent", "opaque", "palette"],
)
def test_pixel_formats(tmp_path: Path, image: Image.Image, expected: tuple[int, ...]) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=1)
    image.save(tmp_path / "test/cat/0.png")
    assert color_of(first_cat(load(tmp_path, image_size=8))) == expected


# --- refusals -------------------------------------------------------------------------------------
def bomb(path: Path, width: int, height: int) -> None:
    """A PNG of a few bytes that claims a huge size."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def cut(path: Path) -> None:
    """Replace the file by the first half of a JPEG."""
    out = io.BytesIO()
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)).save(
        out, "JPEG"
    )
    path.write_bytes(out.getvalue()[: len(out.getvalue()) // 2])


def empty_class(root: Path) -> None:
    (root / "eel").mkdir()


def one_class(root: Path) -> None:
    for path in (root / "dog").iterdir():
        path.unlink()
    (root / "dog").rmdir()


def no_images(root: Path) -> None:
    one_class(root)
    for path in (root / "cat").iterdir():
        path.unlink()


BROKEN: list[tuple[Callable[[Path], object], type[AdvlabError], str]] = [
    (
        lambda root: cut(root / "cat/x.jpg"),
        EnvironmentFailure,
        r"cat/x\.jpg: cannot be read as an image \(.*truncated",
    ),
    (
        lambda root: (root / "cat/x.jpg").write_bytes(b""),
        EnvironmentFailure,
        r"cat/x\.jpg: cannot be read",
    ),
    (
        lambda root: (root / "cat/x.png").write_bytes(b"garbage"),
        EnvironmentFailure,
        r"cat/x\.png: cannot be read",
    ),
    (lambda root: bomb(root / "cat/x.png", 20_000, 20_000), UsageError, r"cat/x\.png: .*allowed"),
    (
        lambda root: bomb(root / "cat/x.png", 9_200, 9_200),
        UsageError,
        r"cat/x\.png: 9,200x9,200 pixels.*allowed",
    ),
    (lambda root: picture(root / "x.png"), UsageError, r"x\.png: an image outside of the folders"),
    (empty_class, UsageError, "eel: a class without images"),
    (one_class, UsageError, "'cat' is the only class"),
    (no_images, UsageError, "no images"),
    (lambda root: picture(root / "eel/x.png"), UsageError, r"eel: 1 image\(s\).*at least 3"),
    (lambda root: two_classes(root / "train"), UsageError, "train/ but no test/"),
    (
        lambda root: [two_classes(root / "train"), two_classes(root / "test")],
        UsageError,
        "cat: only train/, test/ and val/",
    ),
]


def test_other_files_are_skipped_and_named_and_sub_folders_read(tmp_path: Path) -> None:
    two_classes(tmp_path)
    plain = load(tmp_path, image_size=16)
    (dark,) = plain.remarks
    assert "10 of 20" in dark
    (tmp_path / "readme.md").write_text("x")
    (tmp_path / "cat/notes.txt").write_text("x")
    (tmp_path / "cat/x.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    (tmp_path / "cat/.hidden.png").write_bytes(b"garbage")
    (tmp_path / "cat/._0.png").write_bytes(b"garbage")
    (tmp_path / "__MACOSX").mkdir()
    data = load(tmp_path, image_size=16)
    assert data.remarks == (
        "skipped, since only images in the folders of classes are read: 3 files (cat/notes.txt, "
        "cat/x.eps, readme.md)",
        dark,
    )
    assert data.sha256() == plain.sha256()
    assert data.introduction().splitlines()[1] == f"note: {data.remarks[0]}"
    picture(tmp_path / "cat/more/deeper/X.PNG")
    deeper = load(tmp_path, image_size=16)
    counts = [sum(map(len, (one.train, one.val, one.test))) for one in (data, deeper)]
    assert counts[1] == counts[0] + 1


def test_files_that_are_not_shown_as_they_are_are_counted(tmp_path: Path) -> None:
    two_classes(tmp_path, count=9)
    frames = [Image.new("RGB", (12, 12), color) for color in ("white", "red", "blue")]
    for ending in ("gif", "png", "webp", "tif"):
        frames[0].save(tmp_path / f"cat/a.{ending}", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "dog/still.gif")  # one picture is no animation
    frames[0].save(tmp_path / "dog/phone.mpo", save_all=True, append_images=frames[1:])
    Image.new("RGBA", (12, 12), (0, 0, 0, 255)).save(tmp_path / "dog/opaque.png")
    Image.new("RGBA", (12, 12), (0, 0, 0, 254)).save(tmp_path / "dog/clear.png")
    grey = np.full((12, 12), 200)
    for name, values in (("eight", grey), ("twelve", grey * 16), ("sixteen", grey * 257)):
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / f"dog/{name}.png")
    Image.fromarray(grey.astype(np.int32)).save(tmp_path / "dog/thirty-two.tif")
    data = load(tmp_path, image_size=8)
    several, clear, deep, dark, *_ = data.remarks
    total = 18 + 4 + 2 + 2 + 4
    assert several.startswith("files with several pictures (animations or pages), of which the")
    # The example is the first one in the order of reading, which the split decides.
    assert f"is read: 4 of {total} images, such as cat/a." in several
    assert clear == f"transparency laid on white: 1 of {total} images, such as dog/clear.png"
    assert deep.startswith(f"almost black at 8 bits: 3 of {total} images, such as dog/")
    assert "save them as 8-bit files, 12-bit values divided by 16" in deep
    # The classes of cats are almost black, and so are one opaque image and those of few bits.
    assert dark.endswith(f": {9 + 2 + 3} of {total}")
    everything = torch.cat([data.train.pixels, data.val.pixels, data.test.pixels])
    assert int((everything.flatten(1).amin(1) == 255).sum()) == 6, "the first pictures are white"
    tested = load_images.load_for_testing(DataOptions(dataset=f"folder:{tmp_path}"), None)
    assert f"4 of {total} images" in tested.remarks[0]


def test_a_file_beside_given_splits_is_named(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test", count=4)
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / "test/cat/notes.txt").write_text("x")
    assert (
        load(tmp_path, image_size=8).remarks[0].endswith("2 files (README.txt, test/cat/notes.txt)")
    )


def test_copies_of_training_images_and_classes_of_one_name_are_pointed_out(tmp_path: Path) -> None:
    two_classes(tmp_path / "train", count=5)
    two_classes(tmp_path / "test", count=6)
    for part in ("train", "test"):
        shutil.copytree(tmp_path / part / "cat", tmp_path / part / "Cat")
    near, dark, equal = load(tmp_path, image_size=8).remarks
    assert near == (
        "labels that are nearly equal are separate classes: 'Cat', 'cat'; give the images of one "
        "class one name"
    )
    assert dark == "images that are almost black, without a value above 16 of 255: 22 of 33"
    assert "15 of 18 test images are training or validation images" in equal
    assert equal.endswith("22 images are in several classes, such as 'Cat' and 'cat'")
    some = load_images.load_for_testing(DataOptions(dataset=f"folder:{tmp_path / 'test'}"), None)
    assert some.remarks[-1] == (
        "equal images, which are all kept: 6 images are the same as an earlier one; 12 images are "
        "in several classes, such as 'Cat' and 'cat'"
    )


def test_a_link_to_a_folder_above_is_refused(tmp_path: Path) -> None:
    two_classes(tmp_path)
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    with pytest.raises(UsageError, match=r"again: is a link to a folder above it"):
        load(tmp_path, image_size=16)


@pytest.mark.parametrize(("spoil", "kind", "words"), BROKEN)
def test_a_spoiled_folder_is_one_line(
    tmp_path: Path, spoil: Callable[[Path], object], kind: type[AdvlabError], words: str
) -> None:
    spoil(two_classes(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(kind, match=words) as caught:
            load(tmp_path, image_size=8)
    assert "\n" not in str(caught.value)


def test_classes_that_differ_between_parts(tmp_path: Path) -> None:
    two_classes(tmp_path / "train")
    two_classes(tmp_path / "test")
    picture(tmp_path / "test/eel/0.png")
    with pytest.raises(UsageError, match="'eel' is not in both"):
        load(tmp_path)
    for missing in ("eel", "dog"):
        shutil.rmtree(tmp_path / "test" / missing)
    with pytest.raises(UsageError, match="'dog' is not in both train/ and test/"):
        load(tmp_path)


def test_no_such_folder_and_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        load(tmp_path / "nowhere")
    picture(tmp_path / "x.png")
    with pytest.raises(UsageError, match=r"x\.png is a file"):
        load(tmp_path / "x.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        load(tmp_path / "empty")
    with pytest.raises(UsageError, match="needs a path"):
        load_images.load(DataOptions(dataset="folder:"))
