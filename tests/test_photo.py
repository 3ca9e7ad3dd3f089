"""A photo on a classifier of torchvision's: what is read, what the network gets, what the attack
saves."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from photos import CLASSES, NETWORK, fitted, pixels, write
from PIL import Image
from safetensors.torch import save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torchvision import models

from advlab.cli.main import main
from advlab.components import class_number
from advlab.data.formats import photos as formats_photos
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.experiments import pretrained
from advlab.experiments.attack import photo as experiment
from advlab.logs import collected
from advlab.networks import class_names
from advlab.networks import torchvision as networks_torchvision
from advlab.networks.preprocessing import Framing
from advlab.networks.weights import read_state
from advlab.perturbation.geometry import round_to_bytes
from advlab.results.attack import PhotoAttackResult

# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "ppm"])
def test_a_photo_comes_back_bit_by_bit_from_a_format_without_loss(
    tmp_path: Path, ending: str
) -> None:
    photo = formats_photos.read(write(tmp_path / f"a.{ending}", 1, 5))
    assert photo.pixels.dtype == torch.uint8
    assert np.array_equal(photo.pixels.permute(1, 2, 0).numpy(), pixels(1, 5))
    assert photo.notes == ()


@pytest.mark.parametrize("ending", ["jpg", "webp", "gif"])
def test_a_photo_comes_back_nearly_so_from_one_with_loss(tmp_path: Path, ending: str) -> None:
    photo = formats_photos.read(write(tmp_path / f"a.{ending}", 2))
    assert photo.pixels.shape == (3, 72, 96)
    assert np.abs(photo.pixels.permute(1, 2, 0).numpy() - pixels(2, 100).astype(float)).mean() < 12


def test_modes_other_than_rgb_become_rgb_and_it_is_said(tmp_path: Path) -> None:
    grey = np.full((40, 50), 1000, dtype=np.uint16) * 40
    Image.fromarray(grey).save(tmp_path / "deep.png")
    deep = formats_photos.read(tmp_path / "deep.png")
    assert deep.pixels.unique().tolist() == [40_000 // 257]
    assert "16-bit" in deep.origin

    clear = np.zeros((40, 50, 4), dtype=np.uint8)
    clear[:, 25:] = (200, 10, 10, 255)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    photo = formats_photos.read(tmp_path / "clear.png")
    assert (photo.pixels[:, 0, 0].tolist(), photo.pixels[:, 0, 49].tolist()) == (
        [255, 255, 255],
        [200, 10, 10],
    )
    assert "white" in photo.origin

    Image.new("CMYK", (50, 40), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg", quality=100)
    cmyk = formats_photos.read(tmp_path / "cmyk.jpg")
    assert cmyk.pixels.float().mean((1, 2)).tolist() == pytest.approx([255, 0, 0], abs=3)
    assert "CMYK" in cmyk.origin

    Image.fromarray(pixels(1, 1)).quantize(16).save(tmp_path / "palette.png")
    assert formats_photos.read(tmp_path / "palette.png").pixels.shape == (3, 72, 96)


def deep_png(path: Path, values: np.ndarray[Any, Any]) -> Path:
    """A PNG of 16 bits: greys (H, W), grey and alpha (H, W, 2) or colours (H, W, 3 or 4)."""
    kind = 0 if values.ndim == 2 else {2: 4, 3: 2, 4: 6}[values.shape[2]]
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name: bytes, data: bytes) -> bytes:
        ends = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + ends

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("factor", "warned"), [(1, True), (16, True), (257, False), (0, None)], ids=str
)
def test_values_of_few_bits_in_a_deep_file_are_pointed_out(
    channels: int, factor: int, warned: bool | None, tmp_path: Path
) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (10, 12)) * factor
    values = levels if channels == 1 else np.stack([levels] * channels, 2)
    if channels in (2, 4):
        values[..., -1] = 65_535
    file = deep_png(tmp_path / "deep.png", values)
    with collected() as lines:
        photo = formats_photos.read(file)
    # Pillow cuts off the lower bits of colours, to which it counts greys with an alpha channel.
    expected = levels // (257 if channels == 1 else 256)
    assert torch.equal(photo.pixels[0], torch.from_numpy(expected).to(torch.uint8))
    kind = "greys" if channels == 1 else "colours"
    assert f"16-bit {kind} brought to 8 bits" in photo.notes
    # A black image is black for whatever reason; of colours only the upper bits can be read.
    warned = channels > 1 if warned is None else warned
    assert ("almost black" in photo.notes) == warned
    said = [line for line in lines if line.startswith(f"WARNING: {file}: the photo is almost bl")]
    assert len(said) == warned


def test_a_transparent_grey_of_a_deep_file_becomes_white(tmp_path: Path) -> None:
    grey = np.full((10, 12), 1000, np.uint16)
    grey[:, :6] = 50_000
    Image.fromarray(grey).save(tmp_path / "clear.png", transparency=1000)
    photo = formats_photos.read(tmp_path / "clear.png")
    assert photo.pixels[0, 0].tolist() == [50_000 // 257] * 6 + [255] * 6
    assert "transparency laid on white" in photo.notes
    opaque = np.zeros((10, 12, 4), np.uint8) + 255
    Image.fromarray(opaque).save(tmp_path / "opaque.png")
    assert formats_photos.read(tmp_path / "opaque.png").notes == ()


def test_a_photo_is_turned_as_its_note_says(tmp_path: Path) -> None:
    picture = np.zeros((40, 60, 3), dtype=np.uint8)
    picture[:, :30] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter to the right: what is on the left comes to the top
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    photo = formats_photos.read(tmp_path / "a.png")
    assert photo.pixels.shape == (3, 60, 40)
    assert (int(photo.pixels[0, 0, 20]), int(photo.pixels[0, 59, 20])) == (255, 0)
    assert "turned" in photo.origin


def huge_png(side: int) -> bytes:
    """The head of a PNG that claims a size, with next to nothing behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def bad(folder: Path, what: str) -> Path:
    """A file that cannot be taken for a photo."""
    path = folder / f"{what.replace(' ', '-')}.png"
    if what == "no image":
        path.write_text("not a picture, but a letter")
    elif what == "empty":
        path.touch()
    elif what == "folder":
        path.mkdir()
    elif what in ("cut png", "cut jpeg"):
        whole = write(folder / ("whole.png" if what == "cut png" else "whole.jpg")).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    elif what == "tiny":
        Image.new("RGB", (1, 1)).save(path)
    elif what == "thin":
        Image.new("RGB", (40, 4000)).save(path)
    elif what in ("20,000", "9,500"):
        path.write_bytes(huge_png(int(what.replace(",", ""))))
    elif what == "animated":
        path = folder / "animated.gif"
        frames = [Image.fromarray(pixels(kind, 0)) for kind in range(3)]
        frames[0].save(path, save_all=True, append_images=frames[1:])
    return path


BAD = [
    ("absent", UsageError, "no such file"),
    ("folder", UsageError, "a folder, not a photo"),
    ("no image", UsageError, "not an image"),
    ("empty", UsageError, "not an image"),
    ("cut png", EnvironmentFailure, "truncated"),
    ("cut jpeg", EnvironmentFailure, "truncated"),
    ("tiny", UsageError, "1 × 1 pixels; a photo needs at least 8 × 8"),
    ("thin", UsageError, "50 times"),
    ("9,500", UsageError, "9,500 × 9,500 pixels; at most 80,000,000"),
    ("20,000", UsageError, "80,000,000"),
    ("animated", UsageError, "3 pictures"),
]


@pytest.mark.parametrize(("what", "kind", "words"), BAD, ids=[what for what, _, _ in BAD])
def test_what_is_no_photo_is_refused_in_a_line(
    tmp_path: Path, what: str, kind: type[AdvlabError], words: str
) -> None:
    path = bad(tmp_path, what)
    with pytest.raises(kind) as caught:
        formats_photos.read(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_front_door_refuses_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("attack pgd", "inspect"):
        for what, status in (("absent", 2), ("tiny", 2), ("cut jpeg", 1), ("20,000", 2)):
            line = [
                *command.split(),
                "--model",
                f"torchvision:{NETWORK}",
                "--image",
                str(bad(tmp_path, what)),
                "--out",
                str(tmp_path),
            ]
            assert main(line) == status
            assert len(capsys.readouterr().err.splitlines()) == 1


# --- the network ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state dict of a network that tells four kinds of photos apart."""
    return fitted(tmp_path_factory.mktemp("weights") / "fitted.pth")


@pytest.fixture(scope="module")
def network(weights: Path) -> nn.Sequential:
    body = networks_torchvision.build(NETWORK, read_state(weights), weights)
    return nn.Sequential(*networks_torchvision.preprocessing(NETWORK).layers(), body).eval()


def plain(kind: int, seed: int, height: int = 72, width: int = 96) -> Tensor:
    return torch.from_numpy(pixels(kind, seed, height, width)).permute(2, 0, 1)


@pytest.mark.parametrize("size", [(72, 96), (300, 500), (612, 251), (224, 224)])
def test_a_photo_goes_in_as_torchvision_puts_it_in(
    network: nn.Sequential, size: tuple[int, int]
) -> None:
    """Against torchvision's own transformations: alike for floats; for bytes, but for its rounding
    after scaling."""
    photo = plain(3, 7, *size)
    recipe = networks_torchvision.default_weights(NETWORK).transforms()
    with torch.no_grad():
        ours = network(photo[None].float() / 255)
        of_floats, of_bytes = (
            network[-1](recipe(given)[None]) for given in (photo.float() / 255, photo)
        )
    assert torch.allclose(ours, of_floats, atol=1e-4)
    assert torch.allclose(ours, of_bytes, atol=0.06)
    seen = network[:2](photo[None].float() / 255)
    assert float((seen - recipe(photo)).abs().max()) <= 0.5 / 255 / 0.224 + 1e-4


def test_a_cubic_is_cut_off_as_that_of_bytes_is() -> None:
    name = "efficientnet_b0"
    recipe = networks_torchvision.default_weights(name).transforms()
    framing = Framing(recipe.resize_size[0], recipe.crop_size[0], recipe.interpolation.value)
    checked = torch.from_numpy(
        np.kron(np.indices((20, 30)).sum(0) % 2, np.ones((9, 9)))[None].repeat(3, 0) * 255
    ).to(torch.uint8)
    theirs = recipe(checked) * torch.tensor(recipe.std).view(3, 1, 1) + torch.tensor(
        recipe.mean
    ).view(3, 1, 1)
    ours = framing(checked[None].float() / 255)[0]
    assert float(ours.min()) >= 0
    assert float((ours - theirs).abs().max()) <= 0.5 / 255 + 1e-5


def test_every_classifier_tells_the_number_of_its_classes() -> None:
    """One of each family: the layer whose rows are the classes is the last one, whatever the family
    calls it."""
    for name in (
        "alexnet",
        "densenet121",
        "googlenet",
        "inception_v3",
        "regnet_y_400mf",
        "squeezenet1_0",
        "swin_t",
        "vit_b_16",
    ):
        last = networks_torchvision._last_layer(name)
        with torch.device("meta" if "regnet" not in name else "cpu"):
            body = networks_torchvision._fresh(name, 7, auxiliary=False)
        assert body.get_parameter(f"{last}.weight").shape[0] == 7, name


def test_pixels_beside_the_crop_are_not_seen() -> None:
    framing = Framing(64, 56, "bilinear")
    seen = framing.seen(128, 256)[0, 0]
    photo = torch.rand(1, 3, 128, 256, generator=torch.Generator().manual_seed(0))
    other = torch.where(seen, photo, 1 - photo)
    assert 0.3 < float(seen.float().mean()) < 0.5
    assert torch.equal(framing(photo), framing(other))
    row, column = seen.nonzero()[0].tolist()
    other = photo.clone()
    other[..., row, column + 20] = 1 - other[..., row, column + 20]
    assert not torch.equal(framing(photo), framing(other))


def test_old_names_of_densenet_are_understood(tmp_path: Path) -> None:
    state = models.densenet121(num_classes=3).state_dict()
    old = {
        key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): value
        for key, value in state.items()
    }
    assert old.keys() != state.keys()
    network = networks_torchvision.build("densenet121", old, tmp_path / "x.pth")
    torch.testing.assert_close(dict(network.state_dict()), dict(state))


# --- weights and classes --------------------------------------------------------------------------


class Evil:
    """Runs code where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("ran"),)


def wrong_weights(folder: Path, kind: str) -> Path:
    path = folder / "w.pth"
    if kind == "other network":
        torch.save(models.mobilenet_v3_small(num_classes=4).state_dict(), path)
    elif kind == "other depth":
        torch.save(models.resnet34(num_classes=4).state_dict(), path)
    elif kind == "pickle":
        torch.save({"fc.weight": Evil()}, path)
    elif kind == "text":
        path.write_text("weights")
    elif kind == "list":
        torch.save([torch.zeros(3)], path)
    elif kind == "safetensors":
        path = path.with_suffix(".safetensors")
        save_file({"fc.weight": torch.zeros(4, 512)}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("other network", "no fc.weight"),
        ("other depth", "does not hold weights of torchvision's resnet18"),
        ("pickle", "without running code"),
        ("text", "without running code"),
        ("list", "no state dict"),
        ("safetensors", "does not hold weights"),
        ("absent", "no file at"),
    ],
)
def test_wrong_weights_are_refused_in_a_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    photo, file = write(tmp_path / "a.png"), wrong_weights(tmp_path, kind)
    assert (
        main(
            [
                "attack",
                "fgsm",
                "--model",
                "torchvision:resnet18",
                "--weights",
                str(file),
                "--image",
                str(photo),
            ]
        )
        == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert str(file) in line
    assert not Path("ran").exists()


def test_weights_that_are_not_there_cannot_be_had_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "cache"))
    photo = str(write(tmp_path / "a.png"))
    assert (
        main(
            [
                "attack",
                "fgsm",
                "--model",
                f"torchvision:{NETWORK}",
                "--image",
                photo,
                "--out",
                str(tmp_path),
            ]
        )
        == 1
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "ADVLAB_OFFLINE" in line
    assert "--weights FILE" in line
    # Where they lie in the cache they are taken from there; a damaged file is the world's fault,
    # not the user's.
    name = networks_torchvision.default_weights(NETWORK).url.rpartition("/")[2]
    (tmp_path / "cache" / "checkpoints").mkdir(parents=True)
    (tmp_path / "cache" / "checkpoints" / name).write_bytes(b"half of it")
    assert (
        main(
            [
                "attack",
                "fgsm",
                "--model",
                f"torchvision:{NETWORK}",
                "--image",
                photo,
                "--out",
                str(tmp_path),
            ]
        )
        == 1
    )
    assert "remove it" in capsys.readouterr().err


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


class Elsewhere:
    """Weights of torchvision's, but that they lie at another address."""

    def __init__(self, entry: Any, url: str) -> None:
        self.entry, self.url = entry, url

    def __getattr__(self, name: str) -> Any:
        return getattr(self.entry, name)


def test_weights_are_downloaded_once_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    plain = tmp_path / "served" / "plain.pth"
    plain.parent.mkdir()
    torch.save(models.get_model(NETWORK, num_classes=1000).state_dict(), plain)
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    good, bad = (plain.parent / f"{NETWORK}-{stamp}.pth" for stamp in (digest[:8], "0" * 8))
    good.write_bytes(plain.read_bytes())
    bad.write_bytes(plain.read_bytes())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(plain.parent)))
    Thread(target=server.serve_forever, daemon=True).start()
    real = networks_torchvision.default_weights(NETWORK)
    monkeypatch.setenv("ADVLAB_OFFLINE", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "cache"))

    def load() -> pretrained.Pretrained:
        return pretrained.load(f"torchvision:{NETWORK}")

    def lying_at(file: Path) -> None:
        url = f"http://127.0.0.1:{server.server_address[1]}/{file.name}"
        monkeypatch.setattr(
            networks_torchvision, "default_weights", lambda name: Elsewhere(real, url)
        )

    try:
        lying_at(bad)
        with pytest.raises(EnvironmentFailure, match=r"cannot be downloaded .*hash"):
            load()
        assert not list((tmp_path / "cache" / "checkpoints").iterdir()), (
            "what is not whole leaves nothing behind"
        )
        lying_at(good)
        assert load().record.sha256 == digest
    finally:
        server.shutdown()
        server.server_close()
    again = load()
    assert again.classes is not None
    assert (again.record.sha256, again.classes.names[504]) == (digest, "coffee mug")


def test_class_names_are_read_from_lines_and_from_indices(tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("ant\n bee \n\ncow\n")
    (tmp_path / "index.json").write_text(
        json.dumps({"0": ["n1", "ant"], "1": ["n2", "bee"], "2": ["n3", "cow"]})
    )
    (tmp_path / "list.json").write_text(json.dumps(["ant", "bee", "cow"]))
    for name in ("lines.txt", "index.json", "list.json"):
        assert class_names.read(tmp_path / name, 3).names == ("ant", "bee", "cow")
    (tmp_path / "bad.json").write_text('{"0": {"a": 1}}')
    for name, words in (
        ("lines.txt", "names 3 classes, and the network has 4"),
        ("bad.json", "neither"),
        ("none", "no file"),
    ):
        with pytest.raises(UsageError, match=words):
            class_names.read(tmp_path / name, 4)


def test_a_class_is_found_by_name_or_number() -> None:
    imagenet = networks_torchvision.default_weights(NETWORK).meta["categories"]
    assert class_number("bucket", imagenet, "--target") == 463
    assert class_number("Giant_Panda", imagenet, "--target") == 388
    assert class_number("388", imagenet, "--target") == 388
    for typed, words in (
        ("buckett", "did you mean 'bucket'"),
        ("panda", "lesser panda (387), giant panda (388)"),
        ("1000", "0 to 999"),
    ):
        with pytest.raises(UsageError) as caught:
            class_number(typed, imagenet, "--target")
        assert words in str(caught.value)
    with pytest.raises(
        UsageError, match=r"2 classes are called so; give the number of one: twin \(1\), Twin \(3\)"
    ):
        class_number("TWIN", ["one", "twin", "two", "Twin"], "--target")


# --- the attack -----------------------------------------------------------------------------------


@pytest.fixture
def given(weights: Path, tmp_path: Path) -> Callable[[str], int]:
    """Types a line about the fitted network and a photo of a red house, ``a.jpg``, in an empty
    folder."""
    return typist(tmp_path, "--weights", str(weights))


@pytest.fixture(scope="module")
def few_pixels(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options of a network that sees photos at 64 × 64 pixels, which takes a fifth of the
    time."""
    weights = fitted(tmp_path_factory.mktemp("few") / "fitted.pth", side=64)
    return ["--weights", str(weights), "--resize", "64", "--crop", "64"]


@pytest.fixture
def quick(few_pixels: list[str], tmp_path: Path) -> Callable[[str], int]:
    """``given``, about the network that sees few pixels."""
    return typist(tmp_path, *few_pixels)


def typist(folder: Path, *network: str) -> Callable[[str], int]:
    write(folder / "a.jpg")
    (folder / "names.txt").write_text("\n".join(CLASSES))

    def typed(line: str) -> int:
        known = ["--model", f"torchvision:{NETWORK}", *network]
        known += ["--classes", str(folder / "names.txt")]
        given = [*known, *(["--image", str(folder / "a.jpg")] if "--image" not in line else [])]
        return main([*line.split(), *given, "--out", str(folder / "samples")])

    return typed


def result(folder: Path) -> tuple[Path, dict[str, Any]]:
    (file,) = folder.glob("samples/attack/*/metrics.json")
    return file.parent, json.loads(file.read_text())


@pytest.mark.painted
def test_what_is_saved_fools_as_the_figures_say(
    given: Callable[[str], int],
    network: nn.Sequential,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert given("attack pgd --eps 0.001 0.3 0.35 --steps 10 --target 3 --device cpu") == 0
    assert "broken at ε or less" not in capsys.readouterr().out
    folder, metrics = result(tmp_path)
    assert metrics["before"][0]["name"] == "red house"
    assert (metrics["target_class"]["number"], metrics["target_class"]["name"]) == (3, "grey road")
    clean = formats_photos.read(tmp_path / "a.jpg").pixels
    with torch.no_grad():
        before = network(clean[None].float() / 255).softmax(1)[0]
    assert metrics["before"][0]["probability"] == pytest.approx(float(before[0]), abs=1e-5)
    small, large, larger = metrics["points"]
    assert (small["success"], large["success"], metrics["success"]) == (False, True, True)
    assert metrics["images_made_at"] == "each eps"
    assert (folder / large["file"]).read_bytes() != (folder / larger["file"]).read_bytes()
    for point in metrics["points"]:
        saved = np.asarray(Image.open(folder / point["file"])).transpose(
            2, 0, 1
        )  # decoded by itself, not by us
        moved = saved.astype(int) - clean.numpy()
        assert saved.shape == clean.shape
        assert np.abs(moved).max() <= point["eps"] * 255
        assert np.abs(moved).max() / 255 == pytest.approx(point["linf"], abs=1e-6)
        assert np.sqrt(np.square(moved / 255).sum()) == pytest.approx(point["l2"], abs=1e-5)
        with torch.no_grad():
            after = network(torch.from_numpy(saved.copy())[None].float() / 255).softmax(1)[0]
        assert [entry["number"] for entry in point["after"]] == after.argsort(
            descending=True
        ).tolist()
        assert point["after"][0]["probability"] == pytest.approx(float(after.max()), abs=1e-5)
        assert point["success"] == (int(after.argmax()) == 3)
        both = saved.transpose(1, 2, 0), clean.permute(1, 2, 0).numpy()
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        similar = structural_similarity(*both, channel_axis=2, data_range=255, **settings)
        assert point["ssim"] == pytest.approx(similar, abs=1e-5)
        if point is small:  # less than half a grey level, so that the file is the photo itself
            assert not moved.any()
            assert point["psnr"] is None
            continue
        assert point["psnr"] == pytest.approx(peak_signal_noise_ratio(both[1], both[0]), abs=1e-3)
    assert (folder / "attacked.png").stat().st_size > 10_000
    assert (
        given("attack pgd --eps 0.001 0.3 0.35 --steps 10 --target 3") == 0
    )  # finds itself finished


def test_every_eps_of_a_sweep_makes_the_photo_that_it_makes_alone(
    quick: Callable[[str], int], tmp_path: Path
) -> None:
    """Neighbouring radii, of which %g would have made one name."""
    radii = ["0.3", "0.3000001"]
    assert quick(f"attack pgd --eps {' '.join(radii)} --steps 5 --target 3 --name together") == 0
    together = tmp_path / "samples/attack/together"
    assert {file.name for file in together.glob("photo-*")} == {
        f"photo-eps{eps}.png" for eps in radii
    }
    for eps in radii:
        assert quick(f"attack pgd --eps {eps} --steps 5 --target 3 --name alone{eps}") == 0
        alone = tmp_path / f"samples/attack/alone{eps}" / f"photo-eps{eps}.png"
        assert alone.read_bytes() == (together / alone.name).read_bytes()


def test_a_photo_that_broke_is_kept_where_it_is_asked_for(
    quick: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quick("attack pgd --eps 0.3 0.35 --steps 10 --target 3 --keep-broken") == 0
    folder, metrics = result(tmp_path)
    assert metrics["images_made_at"] == "the smallest eps that breaks"
    assert (folder / "photo-eps0.3.png").read_bytes() == (folder / "photo-eps0.35.png").read_bytes()
    said = capsys.readouterr().out
    assert "broken at ε or less (L∞)" in said
    assert "of the smallest ε that breaks the photo" in said


def test_bisection_finds_the_smallest_number_that_holds() -> None:
    """Against a linear search, in about log2 as many questions."""
    for largest in range(1, 41):
        for smallest in range(1, largest + 2):
            asked: list[int] = []

            def reaches(level: int, asked: list[int] = asked, smallest: int = smallest) -> bool:
                asked.append(level)
                return level >= smallest

            expected = smallest if smallest <= largest else None
            assert experiment.smallest_level(reaches, largest) == expected
            assert len(asked) == len(set(asked)) <= 1 + largest.bit_length()
            assert set(asked) <= set(range(1, largest + 1))


def test_bisection_ends_where_one_number_less_does_not_hold() -> None:
    holds = {2, 5, 6, 8}
    found = experiment.smallest_level(holds.__contains__, 8)
    assert found in holds
    assert found - 1 not in holds


LINEAR = """
import torch

class Linear(torch.nn.Module):
    def forward(self, images):
        signs = torch.ones(3, 40, 40)
        signs[:, ::2, 1::2] = -1
        logit = 200 * (signs * images).mean(dim=(1, 2, 3)) - 50.6
        return torch.stack([torch.zeros_like(logit), logit], dim=1)

def make():
    return Linear()
"""
"""A step of one grey level raises its logit of class 1 by 200 / 255."""


def searched(folder: Path, line: str) -> tuple[Path, dict[str, Any], float]:
    """The folder and the metrics of a search on the linear network, and the logit of its photo."""
    (folder / "linear.py").write_text(LINEAR)
    grey = np.random.default_rng(0).integers(60, 196, (40, 40, 3), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    network = ["--model", f"{folder}/linear.py:make", "--image", str(folder / "grey.png")]
    assert main([*line.split(), *network, "--smallest-eps", "--out", str(folder / "samples")]) == 0
    return *result(folder), logit(folder / "grey.png")


def logit(file: Path) -> float:
    """Of class 1, for a photo that is decoded and judged without advlab."""
    signs = np.ones((40, 40, 3))
    signs[::2, 1::2] = -1
    return float(200 * (signs * np.asarray(Image.open(file)) / 255).mean() - 50.6)


GREY = """import torch

def make():
    torch.manual_seed(0)
    layers = [torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten()]
    return torch.nn.Sequential(*layers, torch.nn.Linear(4 * 10 * 10, 3))
"""


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_network_of_one_channel_takes_the_photo_in_grey(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grey.py").write_text(GREY)
    colours = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    photo = Image.fromarray(colours).convert(mode)
    photo.save(tmp_path / "a.png")
    line = f"attack pgd --eps 0.1 --model {tmp_path}/grey.py:make --image {tmp_path}/a.png"
    assert main([*line.split(), "--out", str(tmp_path / "samples")]) == 0
    printed = capsys.readouterr().out
    assert ("colours brought to grey" in printed) == (mode == "RGB")
    assert "grey.py:make takes the photo for class" in printed
    folder, metrics = result(tmp_path)
    (point,) = metrics["points"]
    saved = Image.open(folder / point["file"])
    assert saved.mode == "L"
    moved = np.asarray(saved, dtype=int) - np.asarray(photo.convert("L"), dtype=int)
    assert 0 < np.abs(moved).max() <= 25
    assert np.abs(moved).max() / 255 == pytest.approx(point["linf"], abs=1e-6)


def test_a_photo_that_fits_neither_in_colour_nor_in_grey_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "grey.py").write_text(GREY)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    assert (
        main(
            [
                *["attack", "fgsm", "--model", f"{tmp_path}/grey.py:make"],
                *["--image", str(tmp_path / "a.png"), "--out", str(tmp_path / "samples")],
            ]
        )
        == 2
    )
    (line,) = capsys.readouterr().err.splitlines()
    assert "cannot take images of (3, 20, 20)" in line
    assert "in grey it cannot take images of (1, 20, 20)" in line


def test_the_smallest_eps_is_that_of_the_closed_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A linear network reaches probability 0.95 where its logit is log 19."""
    folder, metrics, before = searched(tmp_path, "attack pgd --target 1")
    level = math.ceil((math.log(19) - before) * 255 / 200)
    assert metrics["smallest"] == {"eps": level / 255, "largest": 8 / 255}
    assert level == 5
    found = PhotoAttackResult.model_validate(metrics)
    assert found.summary() == "class 0 → class 1 at ε = 5/255 (L∞)"
    assert found.context() == "up to ε = 8/255"
    said = capsys.readouterr().out
    assert "reaches the goal with 95 % confidence: 5/255 (L∞)" in said
    assert "below 95 %" in said
    points = {round(point["eps"] * 255): point for point in metrics["points"]}
    assert list(points) == [4, 5, 6, 8]
    assert [point["success"] for point in points.values()] == [True] * 4
    assert [point["confident"] for point in points.values()] == [False, True, True, True]
    assert [point["file"] for point in points.values() if point["file"]] == [points[5]["file"]]
    (file,) = folder.glob("photo-*.png")
    assert file.name == points[5]["file"]
    assert logit(file) == pytest.approx(before + 5 * 200 / 255)


def test_a_search_says_where_no_eps_reaches_the_goal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, metrics, _ = searched(tmp_path, "attack pgd --target 1 --eps 4.5/255")
    assert metrics["smallest"] == {"eps": None, "largest": 4 / 255}
    assert not metrics["success"]
    (point,) = metrics["points"]
    assert (point["eps"], point["confident"]) == (4 / 255, False)
    assert (folder / point["file"]).is_file()
    assert "no ε up to 4/255 reached the goal with 95 % confidence" in capsys.readouterr().out


def test_a_search_without_confidence_ends_where_the_class_changes(tmp_path: Path) -> None:
    _, metrics, before = searched(tmp_path, "attack fgsm")
    level = math.floor(-before * 255 / 200) + 1
    assert metrics["smallest"]["eps"] == level / 255
    assert metrics["confidence"] is None


@pytest.mark.parametrize(
    "line",
    [
        "fgsm --eps 0.3",
        "lp --p 3 --eps 3 --steps 10",
        "noise --eps 0.02",
        "square --eps 0.3 --queries 20",
    ],
)
def test_every_kind_of_attack_takes_a_photo(
    quick: Callable[[str], int], tmp_path: Path, line: str
) -> None:
    assert quick(f"attack {line}") == 0
    folder, metrics = result(tmp_path)
    saved, clean = (
        formats_photos.read(folder / metrics["points"][0]["file"]).pixels,
        formats_photos.read(tmp_path / "a.jpg").pixels,
    )
    assert saved.shape == clean.shape
    assert not torch.equal(saved, clean)
    assert metrics["target_class"] is None


def test_what_rounding_undoes_is_tried_again_and_said(
    quick: Callable[[str], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A rounding that gives the clean photo back undoes any attack, and after it has run out of
    patience, that is what is said."""
    monkeypatch.setattr(experiment, "round_to_bytes", lambda perturbed, clean, eps, p: clean)
    assert quick("attack pgd --eps 0.3 --steps 5") == 0
    _, metrics = result(tmp_path)
    assert (metrics["points"][-1]["success_before_rounding"], metrics["success"]) == (True, False)
    assert metrics["points"][0]["tries_to_survive_rounding"] == experiment._TRIES
    assert "rounding to 8 bits undoes it" in capsys.readouterr().out


def test_an_attack_that_rounds_as_it_goes_mends_it(
    quick: Callable[[str], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def once(perturbed: Tensor, clean: Tensor, eps: float, p: float) -> Tensor:
        calls.append(p)
        return clean if len(calls) == 1 else round_to_bytes(perturbed, clean, eps, p)

    monkeypatch.setattr(experiment, "round_to_bytes", once)
    assert quick("attack pgd --eps 0.3 --steps 5") == 0
    _, metrics = result(tmp_path)
    assert (metrics["success"], metrics["points"][0]["tries_to_survive_rounding"]) == (True, 1)


@pytest.mark.parametrize("attack", ["pgd --steps 40", "apgd --steps 20"])
def test_an_attack_goes_on_for_confidence(
    quick: Callable[[str], int], tmp_path: Path, attack: str
) -> None:
    found = {}
    for confidence in ("0", "0.9"):
        line = (
            f"attack {attack} --eps 0.1 --target 3 --confidence {confidence} --name c{confidence}"
        )
        assert quick(line) == 0
        file = tmp_path / "samples/attack" / f"c{confidence}" / "metrics.json"
        metrics = json.loads(file.read_text())
        assert metrics["confidence"] == float(confidence)
        assert metrics["success"]
        reached = metrics["points"][0]["before_rounding"][0]
        assert reached["number"] == 3
        found[confidence] = reached["probability"]
    assert found["0"] < 0.9 <= found["0.9"]


def test_a_class_that_is_reached_without_the_confidence_asked_for_is_told(
    quick: Callable[[str], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "attack pgd --steps 20 --eps 0.1 --target 3 --confidence 0.9999999"
    assert quick(line) == 0
    _, metrics = result(tmp_path)
    (point,) = metrics["points"]
    assert (point["success"], point["confident"]) == (True, False)
    assert "| yes, below 100 % " not in (printed := capsys.readouterr().out)
    assert "| yes, below 99.99999 % |" in printed


def test_a_photo_has_a_confidence_by_default(quick: Callable[[str], int], tmp_path: Path) -> None:
    assert quick("attack pgd --eps 0.35 --steps 20 --target 3") == 0
    _, metrics = result(tmp_path)
    assert metrics["confidence"] == 0.95
    assert metrics["points"][0]["before_rounding"][0]["probability"] >= 0.95


def test_the_same_line_gives_the_same_file(quick: Callable[[str], int], tmp_path: Path) -> None:
    contents = []
    for _ in range(2):
        assert quick("attack pgd --eps 0.02 --steps 3 --overwrite --name same") == 0
        contents.append((tmp_path / "samples/attack/same/photo-eps0.02.png").read_bytes())
    assert contents[0] == contents[1]


REFUSED = [
    ("attack pgd --image 3", "--image must name the photo"),
    ("attack pgd --target purple", "--target purple: no such class"),
    ("attack pgd --target house", "red house (0)"),
    ("attack pgd --target 0", "takes the photo for red house already"),
    ("attack pgd --target each", "one class at a time"),
    ("attack pgd --dataset digits", "--dataset digits"),
    ("attack pgd --limit 5", "--limit 5"),
    ("attack pgd --surrogate x", "--surrogate"),
    ("attack pgd --eps 2", "above 1"),
    ("attack pgd --image 3 --smallest-eps", "--smallest-eps: is for one photo"),
    ("attack pgd --smallest-eps --eps 1/255 2/255", "takes one --eps"),
    ("attack pgd --smallest-eps --eps 0.003", "below 1/255"),
    ("attack pgd --smallest-eps --norm l2", "the norm here is L2"),
    ("attack pgd --smallest-eps --keep-broken", "leave out --keep-broken"),
]


@pytest.mark.parametrize(("line", "words"), REFUSED, ids=[line for line, _ in REFUSED])
def test_what_makes_no_sense_for_a_photo_is_refused(
    given: Callable[[str], int], capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    assert given(line) == 2
    (refusal,) = capsys.readouterr().err.splitlines()
    assert words in refusal


def test_networks_are_not_mixed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photo = str(write(tmp_path / "a.png"))
    for line, words in (
        (["--model", "torchvision:resnet81", "--image", photo], "did you mean 'resnet18'"),
        (["--model", "torchvision:", "--image", photo], "no classifier of that name"),
        (
            ["--model", "cnn", "--dataset", "digits", "--image", photo],
            "goes with --model torchvision:NAME",
        ),
        (["--model", "cnn", "--weights", "w.pth"], "--weights: goes with --model torchvision:NAME"),
        (
            ["--model", f"torchvision:{NETWORK}", "--checkpoint", "x", "--image", photo],
            "--checkpoint and --model each name a network; leave one of them out",
        ),
    ):
        assert main(["attack", "pgd", *line, "--out", str(tmp_path)]) == 2
        (refusal,) = capsys.readouterr().err.splitlines()
        assert words in refusal
