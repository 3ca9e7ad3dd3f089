"""``advlab attack patch`` beside SciPy, finite differences, closed forms, and its own files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

import advlab
from advlab.attacks import patch
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.config.threats import PatchAnywhere
from advlab.data import load_images
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.perturbation.goal import Goal
from advlab.perturbation.patch import (
    check_fits,
    disc,
    drawn,
    gradient_of,
    noise,
    pictures,
    placed,
    radius_of,
)
from advlab.perturbation.randomness import ImageRandom
from advlab.perturbation.victim import Victim
from advlab.plots.record import words_of
from advlab.results.attack import PatchAttackResult
from advlab.runs import results

PLACEMENTS = [(0, 1, 0, 0), (20, 1.2, 1.5, -0.75), (-75, 0.8, -2, 2), (180, 1, 0.25, 3)]


def made(*shape: int, seed: int = 0) -> Tensor:
    """Random pixels in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


def curved() -> nn.Sequential:
    """A small network in float64, of images (2, 9, 9)."""
    torch.manual_seed(0)
    layers = (nn.Flatten(), nn.Linear(162, 12), nn.Tanh(), nn.Linear(12, 4))
    return nn.Sequential(*layers).double().eval()


# --- the patch on an image ------------------------------------------------------------------------
@pytest.mark.parametrize(("height", "width"), [(9, 9), (12, 11)])
def test_a_placed_patch_is_that_of_scipy_pixel_by_pixel(height: int, width: int) -> None:
    """Which pixels are covered follows from their distance to the middle of the disc alone."""
    images, square, radius = made(len(PLACEMENTS), 2, height, width), made(1, 2, 6, 6, seed=1), 2.7
    ours = placed(images, square, torch.tensor(PLACEMENTS, dtype=torch.float64), radius)
    covered = 0
    for image, (degrees, scale, down, right), result in zip(images, PLACEMENTS, ours, strict=True):
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        for row in range(height):
            for column in range(width):
                y = row - (height - 1) / 2 - down
                x = column - (width - 1) / 2 - right
                if math.hypot(x, y) > radius * scale:
                    assert torch.equal(result[:, row, column], image[:, row, column])
                    continue
                covered += 1
                # Turned back and shrunk, in pixels of the square, whose side is the diameter
                place = np.array([x * sine + y * cosine, x * cosine - y * sine])
                place = place * 6 / (2 * radius * scale) + 2.5
                for channel in range(2):
                    expected = ndimage.map_coordinates(
                        square[0, channel].numpy(), place[:, None], order=1, mode="nearest"
                    )
                    assert abs(float(result[channel, row, column]) - expected[0]) < 1e-12
    assert covered > 15 * len(PLACEMENTS)


def test_placements_fill_their_range_within_the_image_and_depend_on_the_image_alone() -> None:
    threat = PatchAnywhere(size=0.1, location="random", degrees=30, scale=0.3)
    rows = drawn(ImageRandom(0, torch.arange(400)), threat, 20, 30)
    radius = radius_of(0.1, 20, 30) * rows[:, 1]
    for values, limit in ((rows[:, 0], 30.0), ((rows[:, 1] - 1), 0.3)):
        assert values.abs().max() <= limit
        assert values.min() < -0.95 * limit
        assert values.max() > 0.95 * limit
    for values, side in ((rows[:, 2], 20), (rows[:, 3], 30)):
        room = side / 2 - radius
        assert (values.abs() <= room + 1e-12).all()
        assert (values / room).min() < -0.95
        assert (values / room).max() > 0.95
    assert torch.equal(drawn(ImageRandom(0, torch.tensor([7])), threat, 20, 30)[0], rows[7])


def test_a_fixed_place_touches_the_edges_and_the_size_is_the_area() -> None:
    threat = PatchAnywhere(size=0.2, location="bottom-left", degrees=0, scale=0.1)
    rows = drawn(ImageRandom(0, torch.arange(9)), threat, 200, 100)
    radius = radius_of(0.2, 200, 100) * rows[:, 1]
    assert torch.allclose(rows[:, 2], 100 - radius)
    assert torch.allclose(rows[:, 3], radius - 50)
    black = placed(
        torch.zeros(9, 1, 200, 100), torch.ones(1, 1, 8, 8), rows, radius_of(0.2, 200, 100)
    )
    area = black.flatten(1).mean(1).double()
    assert torch.allclose(area, 0.2 * rows[:, 1].square(), rtol=0.02)


def test_the_largest_size_that_fits_is_named_and_does_fit() -> None:
    def threat(size: float) -> PatchAnywhere:
        return PatchAnywhere(size=size, location="random", degrees=0, scale=0.2)

    with pytest.raises(UsageError, match=r"at most 0\.545 at --scale 0\.2"):
        check_fits(threat(0.6), 28, 28)
    check_fits(threat(0.545), 28, 28)
    with pytest.raises(UsageError, match="does not fit"):
        check_fits(threat(0.546), 28, 28)


# --- how it is made -------------------------------------------------------------------------------
@pytest.mark.parametrize("targeted", [False, True])
def test_the_gradient_points_where_that_of_the_expected_log_probability_does(
    targeted: bool,
) -> None:
    """By finite differences in float64; untargeted it is the log of 1 - p(label)."""
    network, images, square = curved(), made(4, 2, 9, 9), made(1, 2, 5, 5, seed=1)
    classes = torch.tensor([0, 1, 2, 3])
    places = torch.tensor(PLACEMENTS, dtype=torch.float64)

    def value(pixels: Tensor) -> float:
        shown = placed(images, pixels, places, 2.5)
        own = network(shown).detach().softmax(1).gather(1, classes[:, None])
        return float((own if targeted else 1 - own).log().sum())

    expected = torch.zeros_like(square)
    for place in range(square.numel()):
        step = torch.zeros_like(square)
        step.view(-1)[place] = 1e-6
        expected.view(-1)[place] = (value(square + step) - value(square - step)) / 2e-6
    ours = gradient_of(Victim(network), images, square, places, 2.5, Goal(classes, targeted))
    assert float(functional.cosine_similarity(ours.flatten(), expected.flatten(), dim=0)) > 1 - 1e-8


def test_a_network_so_sure_that_its_probability_is_0_in_float32_has_a_direction() -> None:
    layer = nn.Linear(64, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[9.0] * 64, [-9.0] * 64]))
    network = nn.Sequential(nn.Flatten(), layer).eval()
    images, square = torch.full((3, 1, 8, 8), 0.5), torch.full((1, 1, 4, 4), 0.5)
    assert float(network(images).detach().softmax(1)[0, 1]) == 0
    places = torch.tensor([[0.0, 1, 0, 0]] * 3)
    goal = Goal(torch.zeros(3, dtype=torch.int64))
    ours = gradient_of(Victim(network), images, square, places, 2.0, goal)
    assert (ours[0, 0][disc(4)] < 0).all()


@pytest.mark.parametrize("target", [None, 1])
def test_against_a_linear_network_in_a_fixed_place_it_is_the_best_there_is(
    target: int | None,
) -> None:
    """Of two classes, every pixel under the disc is white or black, by the sign of its slope."""
    torch.manual_seed(2)
    layer = nn.Linear(64, 2)
    network = nn.Sequential(nn.Flatten(), layer).eval()
    images = Images(made(9, 1, 8, 8).float(), torch.zeros(9, dtype=torch.int64))
    size = math.pi * 9 / 64  # a radius of 3 pixels, so that pixels of patch and image coincide
    options = patch.Options(
        size=size, location="centre", degrees=0, scale=0, steps=40, batch_size=4, eot=2
    )
    ours = patch.made(Victim(network), images, target, options)
    assert ours.shape == (1, 1, 6, 6)
    slope = (layer.weight[1] - layer.weight[0]).detach().view(8, 8)[1:7, 1:7]
    assert torch.equal(ours[0, 0][disc(6)], (slope > 0).float()[disc(6)])
    assert torch.equal(ours[0, 0][~disc(6)], torch.full((36 - int(disc(6).sum()),), 0.5))


def test_training_pictures_are_of_the_target_class_and_noise_is_uniform() -> None:
    pixels = torch.arange(6).view(6, 1, 1, 1).expand(6, 1, 8, 8).to(torch.uint8) * 40
    images = Images(pixels, torch.tensor([0, 1, 2, 0, 1, 2]))
    shown = pictures(images, 2, 4, 20, seed=0)
    assert shown.shape == (20, 1, 4, 4)
    assert torch.allclose(shown.flatten().unique(), torch.tensor([80.0, 200.0]) / 255)
    assert len(pictures(images, None, 4, 60, seed=0).flatten().unique().round(decimals=4)) == 6
    drawn_noise = noise(3, 40, 10, seed=0)
    assert abs(float(drawn_noise.mean()) - 0.5) < 0.01
    assert abs(float(drawn_noise.std()) - 12**-0.5) < 0.01
    assert len(drawn_noise.flatten().unique()) > 40_000


# --- through the front door -----------------------------------------------------------------------
LINE = "attack patch --dataset digits --size 0.3 --steps 30 --batch-size 100 --target 3"


@pytest.fixture(scope="module")
def folder(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an attack towards a class on a trained network."""
    out = tmp_path_factory.mktemp("patch")
    model = str(runs / "train" / "small")
    line = [*LINE.split(), "--limit", "120", "--model", model, "--out", str(out)]
    assert main(line) == 0
    (folder,) = out.glob("attack/*")
    return folder


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_images.load(DataOptions(dataset="digits"))


def test_the_figures_are_those_of_the_saved_patch_in_the_saved_places(
    folder: Path, digits: ImageSet, runs: Path
) -> None:
    result = results.read_as(PatchAttackResult, folder)
    saved, square = (
        load_file(folder / "images.safetensors"),
        load_file(folder / "patch.safetensors"),
    )
    network, _ = checkpoint.load(runs / "train" / "small")
    images, labels = digits.test.tensors(120)
    others, radius = labels != 3, radius_of(0.3, 28, 28)
    assert torch.equal(saved["index"], others.nonzero()[:, 0])
    threat = result.threat
    with torch.no_grad():
        clean = is_correct(network(images), labels)
        shown = placed(images[others], square["patch"], saved["placements"], radius)
        predicted = network(shown).argmax(1)
    assert torch.equal(shown, saved["perturbed"])
    assert result.success_rate == pytest.approx(float((predicted == 3).double().mean()))
    assert result.attacked == int(others.sum())
    right = clean.clone()
    right[others] &= predicted == labels[others]
    assert result.robust_accuracy == pytest.approx(float(right.double().mean()))
    assert result.training_images == int((digits.train.labels != 3).sum())
    side, rates = square["patch"].shape[-1], []
    with torch.no_grad():
        for one in noise(1, side, result.noise.draws, seed=0):
            shown = placed(images[others], one[None], saved["placements"], radius)
            rates.append(float((network(shown).argmax(1) == 3).double().mean()))
    assert result.noise.success_rate == pytest.approx(sum(rates) / len(rates))
    assert result.success_rate > result.training_image.success_rate + 0.2
    assert result.success_rate > result.noise.success_rate + 0.2
    assert threat.text() == "30 % of the image, random place, ±22.5°, scale ±20 %"
    assert result.summary().endswith(f"under adversarial patch towards 3, {threat.text()}")
    for picture in ("patches", "flipped", "confusion"):
        assert (folder / f"{picture}.png").is_file()
    caption = words_of(folder / "confusion.png")
    assert f"{int(others.sum())} of 120 test images, those that are not of class 3" in caption


def test_the_png_holds_the_patch_and_is_transparent_outside_the_disc(folder: Path) -> None:
    square = load_file(folder / "patch.safetensors")["patch"][0, 0]
    with Image.open(folder / "patch.png") as opened:
        pixels = torch.from_numpy(np.asarray(opened).copy())
    assert pixels.shape == (*square.shape, 4)
    for channel in range(3):
        assert torch.equal(pixels[:, :, channel], (square * 255).round().to(torch.uint8))
    assert torch.equal(pixels[:, :, 3] == 255, disc(len(square)))
    assert torch.equal(pixels[:, :, 3] == 0, ~disc(len(square)))


def test_test_images_do_not_shape_it_the_seed_does_and_an_interrupted_run_goes_on_with_it(
    folder: Path, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    line = [*LINE.split(), "--model", str(runs / "train" / "small")]
    line += ["--out", str(tmp_path), "--limit", "7", "--name"]
    with monkeypatch.context() as patched:
        patched.setattr("advlab.experiments.attack.patch._save", stop)
        assert main([*line, "few"]) == 130
    assert main([*line, "other", "--seed", "1"]) == 0
    monkeypatch.setattr("advlab.attacks.patch.made", stop)
    assert main([*line, "few"]) == 0
    ours = load_file(folder / "patch.safetensors")["patch"]
    for name, same in (("few", True), ("other", False)):
        theirs = load_file(tmp_path / "attack" / name / "patch.safetensors")["patch"]
        assert torch.equal(theirs, ours) == same


def test_a_comparison_with_a_ball_is_refused(
    folder: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(folder.parent.parent)]
    line = "attack fgsm --dataset digits --eps 0.1 --limit 120 --name ball"
    assert main([*line.split(), "--model", str(runs / "train" / "small"), *out]) == 0
    capsys.readouterr()
    both = ["compare", str(folder), str(folder.parent / "ball"), *out]
    assert main(both) == 2
    refusal = capsys.readouterr().err
    assert "robust accuracy under adversarial patch towards 3" in refusal
    assert "the figures do not compare; --anyway shows them" in refusal
    assert main([*both, "--anyway"]) == 0, "both have a robust accuracy"
    assert "| robust accuracy |" in capsys.readouterr().out
    assert results.read_as(PatchAttackResult, folder).threat_model() == (
        "adversarial patch for all images towards a class"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "each"], "--target: each"),
        (["--eps", "0.1"], "--eps: patch has no ε; its size is --size"),
        (["--size", "0.9", "--dataset", "digits"], "does not fit"),
        (["--model", "torchvision:resnet18", "--image", "cat.jpg"], "photo has none"),
    ],
)
def test_what_it_has_no_use_for_is_refused(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    runs: Path,
    tmp_path: Path,
) -> None:
    if "--model" not in words:
        words = [*words, "--model", str(runs / "train" / "small")]
    assert main(["attack", "patch", *words, "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.strip().splitlines()) == 1


def test_success_on_no_image_is_no_figure(
    digits: ImageSet, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, _ = checkpoint.load(runs / "train" / "small")
    images, labels = digits.test.tensors()
    with torch.no_grad():
        wrong = int((~is_correct(network(images), labels)).nonzero()[0])
    where = [
        "--image",
        str(wrong),
        "--model",
        str(runs / "train" / "small"),
        "--out",
        str(tmp_path),
    ]
    for attack in ("patch --steps 1 --train-size 20", "fgsm", "colour"):
        line = f"attack {attack} --dataset digits --name {attack[:5]}"
        assert main([*line.split(), *where]) == 0
        assert "|       – |" in capsys.readouterr().out  # under "success"
    result = results.read_as(PatchAttackResult, tmp_path / "attack" / "patch")
    assert result.summary() == "–"
    with safe_open(tmp_path / "attack" / "patch" / ".patches.figure", framework="np") as opened:
        assert "success –" in opened.metadata()["advlab-figure"]


def test_python_points_to_the_command_line() -> None:
    images, labels = torch.rand(2, 1, 3, 3), torch.zeros(2, dtype=torch.int64)
    with pytest.raises(UsageError, match=r"advlab\.run\('attack patch"):
        advlab.attack(nn.Flatten().eval(), images, labels, "patch")
