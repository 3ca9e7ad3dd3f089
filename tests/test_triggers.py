"""Triggers of backdoors in images, each against its equation or a naive version of its own."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from advlab.cli.main import main
from advlab.config.options.poison import ImagePoisonOptions
from advlab.data.image_set import Images, ImageSet
from advlab.errors import UsageError
from advlab.experiments.poison.image_attack import ImageAttack
from advlab.poisoning.triggers import Blended, Patch, Sinusoid, Trigger, Warp
from advlab.runs.machine import Machine

Floats = NDArray[np.float64]


def random_images(count: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), generator=random, dtype=torch.uint8)


def test_a_blended_image_is_a_weighted_mean() -> None:
    pixels, pattern = random_images(4, (3, 5, 7)), random_images(1, (3, 5, 7), 1)[0]
    expected = 0.8 * pixels.numpy().astype(float) + 0.2 * pattern.numpy().astype(float)
    blended = Blended(pattern, 0.2)(pixels).numpy()
    assert np.abs(blended - expected).max() <= 0.5 + 1e-4
    assert Blended(pattern, 1.0)(pixels).equal(pattern.expand(4, -1, -1, -1))


def test_a_sinusoid_is_that_of_its_equation_and_clipped() -> None:
    pixels = random_images(3, (2, 6, 28))
    changed = Sinusoid(0.2, 6)(pixels)
    for image in range(3):
        for column in range(28):
            added = 255 * 0.2 * math.sin(2 * math.pi * 6 * column / 28)
            expected = (pixels[image, :, :, column].double() + added).clamp(0, 255)
            assert (changed[image, :, :, column].double() - expected).abs().max() <= 0.5 + 1e-4
    white = Sinusoid(1.0, 6)(torch.full((1, 1, 4, 28), 255, dtype=torch.uint8))
    assert int(white.max()) == 255
    assert int(white.min()) < 20


def keys(distance: float) -> float:
    """The kernel of bicubic interpolation with a = -0.75."""
    a, x = -0.75, abs(distance)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def naive_bicubic(grid: Floats, size: int, axis: int) -> Floats:
    """A square grid enlarged along one axis, its corners on those of the result."""
    points = np.moveaxis(grid, axis, 0)
    most = len(points) - 1
    rows = []
    for position in range(size):
        place = position * most / (size - 1)
        first = math.floor(place)
        rows.append(
            sum(
                keys(place - near) * points[min(max(near, 0), most)]
                for near in range(first - 1, first + 3)
            )
        )
    return np.moveaxis(np.stack(rows), 0, axis)


def naive_field(height: int, width: int, grid: int, strength: float, seed: int) -> Floats:
    """The field of a warping in float64, coordinate by coordinate."""
    random = torch.Generator().manual_seed(seed)
    control = 2 * torch.rand(1, 2, grid, grid, generator=random).double().numpy()[0] - 1
    control /= np.abs(control).mean()
    shifts = [naive_bicubic(naive_bicubic(part, height, 0), width, 1) for part in control]
    field = np.empty((height, width, 2))
    for row in range(height):
        for column in range(width):
            x = -1 + 2 * column / (width - 1) + strength * shifts[0][row, column] / width
            y = -1 + 2 * row / (height - 1) + strength * shifts[1][row, column] / height
            field[row, column] = min(max(x, -1), 1), min(max(y, -1), 1)
    return field


@pytest.mark.parametrize(("height", "width", "grid"), [(12, 12, 4), (9, 14, 3)])
def test_a_warping_is_grid_sample_with_a_field_made_naively(
    height: int, width: int, grid: int
) -> None:
    pixels = random_images(3, (2, height, width))
    warp = Warp.drawn((2, height, width), grid, 0.9, 5)
    field = naive_field(height, width, grid, 0.9, 5)
    assert np.abs(warp.field.numpy() - field).max() < 1e-5
    fields = torch.from_numpy(field).expand(3, -1, -1, -1)
    expected = functional.grid_sample(pixels.double(), fields, align_corners=True)
    assert (warp(pixels).double() - expected).abs().max() <= 0.5 + 0.01
    assert not warp.field.equal(Warp.drawn((2, height, width), grid, 0.9, 6).field)


def test_noise_mode_shifts_every_image_by_up_to_half_a_pixel_of_its_own() -> None:
    still = Warp.drawn((1, 20, 20), 4, 0.0, 0)
    ramp = torch.arange(0, 200, 10, dtype=torch.uint8).expand(2, 1, 20, 20).contiguous()
    assert still(ramp).equal(ramp)
    noisy = still.noisy(ramp, 3)
    moved = (noisy.int() - ramp.int()).abs()  # a pixel of shift changes a ramp by ten levels
    assert 3 <= int(moved.max()) <= 5
    assert not noisy[0].equal(noisy[1])
    assert noisy.equal(still.noisy(ramp, 3))
    assert not noisy.equal(still.noisy(ramp, 4))


@pytest.mark.parametrize(
    "trigger",
    [
        Patch(2),
        Blended(random_images(1, (1, 8, 8), 9)[0], 0.3),
        Sinusoid(0.4, 2),
        Warp.drawn((1, 8, 8), 3, 1.0, 0),
    ],
    ids=lambda trigger: type(trigger).__name__,
)
def test_every_trigger_leaves_the_given_images_and_does_not_depend_on_the_batch(
    trigger: Trigger,
) -> None:
    pixels = random_images(5, (1, 8, 8))
    before = pixels.clone()
    changed = trigger(pixels)
    assert pixels.equal(before)
    assert not changed.equal(pixels)
    assert changed.dtype == torch.uint8
    assert changed[3:4].equal(trigger(pixels[3:4]))
    assert trigger(pixels[:0]).shape == (0, 1, 8, 8)


# --- what goes into the training images -----------------------------------------------------------
def data() -> ImageSet:
    """Two hundred random images of four classes."""
    images = Images(random_images(200, (1, 10, 10)), torch.arange(200) % 4)
    return ImageSet("random", ("a", "b", "c", "d"), images, images, images, "random images")


def attack(name: str, **values: object) -> ImageAttack:
    options = ImagePoisonOptions.model_validate({"attack": name, "target": "b", **values})
    return ImageAttack.of(options.model_copy(update={"seed": 0}), data())


def test_clean_labels_stay_and_images_of_the_target_alone_are_changed() -> None:
    train = data().train
    poisoned = attack("sig", frequency=3).poisoned(train, 0.5)
    assert poisoned.train.labels.equal(train.labels)
    changed = (poisoned.train.pixels != train.pixels).flatten(1).any(dim=1).nonzero().squeeze(1)
    assert changed.equal(poisoned.rows)
    assert len(changed) == 25
    assert set(train.labels[changed].tolist()) == {1}
    assert {(line["old"], line["new"]) for line in poisoned.manifest("abcd")} == {("b", "b")}


def test_noise_mode_changes_other_images_and_no_label_of_theirs() -> None:
    train = data().train
    poisoned = attack("wanet", noise_ratio=1.5).poisoned(train, 0.1)
    assert (len(poisoned.rows), len(poisoned.noise)) == (20, 30)
    assert not set(poisoned.rows.tolist()) & set(poisoned.noise.tolist())
    assert set(poisoned.train.labels[poisoned.rows].tolist()) == {1}
    kept = torch.ones(200, dtype=torch.bool)
    kept[poisoned.rows] = False
    assert poisoned.train.labels[kept].equal(train.labels[kept])
    changed = (poisoned.train.pixels != train.pixels).flatten(1).any(dim=1).nonzero().squeeze(1)
    assert changed.tolist() == sorted([*poisoned.rows.tolist(), *poisoned.noise.tolist()])
    lines = poisoned.manifest("abcd")
    assert [line["row"] for line in lines if line.get("mode") == "noise"] == poisoned.noise.tolist()
    assert all(line["old"] == line["new"] for line in lines if "mode" in line)
    assert not len(attack("wanet", noise_ratio=0).poisoned(train, 0.1).noise)
    assert not len(attack("wanet").poisoned(train, 0.0).noise)


def test_a_given_image_is_blended_in_at_the_size_of_the_data(tmp_path: Path) -> None:
    levels = np.arange(100, dtype=np.uint8).reshape(10, 10)
    Image.fromarray(levels).save(tmp_path / "key.png")
    blended = attack("blended", blend_image=str(tmp_path / "key.png"), blend=0.5)
    black = Images(torch.zeros(1, 1, 10, 10, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    assert np.abs(blended.triggered(black).pixels[0, 0].numpy() - levels / 2).max() <= 0.5
    with pytest.raises(UsageError, match=r"none\.png: no such file"):
        attack("blended", blend_image=str(tmp_path / "none.png"))


def test_label_consistent_poison_is_pgd_on_another_network_and_a_patch() -> None:
    train = data().train
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(100, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    rows = (train.labels == 1).nonzero().squeeze(1)
    clean = train.inputs(rows)
    moved = clean.clone()
    for _ in range(40):
        moved.requires_grad_()
        loss = functional.cross_entropy(network(moved), train.labels[rows], reduction="sum")
        (slope,) = torch.autograd.grad(loss, moved)
        moved = moved.detach() + 2.5 * 0.1 / 40 * slope.sign()
        moved = torch.minimum(torch.maximum(moved, clean - 0.1), clean + 0.1).clamp(0, 1)
    machine = Machine(torch.device("cpu"), "fp32")
    options = ImagePoisonOptions(attack="label-consistent", poison_eps=0.1)
    prepared = attack("label-consistent").prepared(data(), network, options, machine)
    assert prepared.perturb is not None
    hard = prepared.perturb(train.select(rows)).pixels
    inputs = hard.float() / 255
    differs = (inputs - moved).abs() > 0.5 / 255 + 1e-5
    assert float(differs.double().mean()) < 0.01  # a gradient near 0 may have another sign
    assert (inputs - clean).abs().max() <= 0.1 + 0.5 / 255 + 1e-6
    before, after = (
        functional.cross_entropy(network(images), train.labels[rows]) for images in (clean, inputs)
    )
    assert after > before
    poisoned = prepared.poisoned(train, 0.5)
    assert poisoned.train.labels.equal(train.labels)
    assert len(poisoned.rows) == round(0.5 * len(rows))
    every = train.pixels.clone()
    every[rows] = hard
    expected = train.pixels.clone()
    expected[poisoned.rows] = Patch(3)(every[poisoned.rows])
    assert poisoned.train.pixels.equal(expected)


# --- through the front door -----------------------------------------------------------------------
SMALL = ["--dataset", "digits", "--train-size", "300", "--epochs", "8", "--batch-size", "50"]
SMALL += ["--seeds", "1", "--width", "32"]


@pytest.mark.parametrize(
    ("words", "success"),
    [
        (["--attack", "blended", "--poison-rate", "0", "0.1"], 0.8),
        (["--attack", "sig", "--poison-rate", "1", "--amplitude", "0.6"], 0.3),
        (["--attack", "wanet", "--poison-rate", "0.2", "--warp-strength", "4"], 0.3),
    ],
    ids=["blended", "sig", "wanet"],
)
def test_a_backdoor_opens(words: list[str], success: float, tmp_path: Path) -> None:
    line = ["poison", "mlp", *SMALL, *words, "--name", "p", "--out", str(tmp_path)]
    assert main(line) == 0
    folder = tmp_path / "poison" / "p"
    metrics = json.loads((folder / "metrics.json").read_text())
    manifest = [json.loads(row) for row in (folder / "manifest.jsonl").read_text().splitlines()]
    poisoned = [row for row in manifest if "mode" not in row]
    assert len(poisoned) == metrics["poisoned"]
    assert {row["new"] for row in poisoned} == {"0"}
    assert ("0" in {row["old"] for row in poisoned}) == (words[1] == "sig")
    assert metrics["attack_success"] > success
    clean, last = metrics["points"][0], metrics["points"][-1]
    assert metrics["attack_success"] == last["success_rate"] - clean["success_rate"]
    assert metrics["accuracy_after"] > 0.7
    assert (folder / "triggered.png").exists()


def test_a_patch_with_true_labels_is_learned_where_the_content_is_perturbed(tmp_path: Path) -> None:
    """Three classes, each with a bright row of its own: with hardly any perturbation the network
    needs no patch."""
    random = np.random.default_rng(0)
    labels = np.arange(420) % 3
    pixels = random.integers(0, 120, (420, 8, 8), dtype=np.uint8)
    pixels[np.arange(420), 1 + 2 * labels] = 190
    file, (train, test) = tmp_path / "rows.npz", (slice(0, 300), slice(300, 420))
    np.savez(
        file,
        x_train=pixels[train],
        y_train=labels[train],
        x_test=pixels[test],
        y_test=labels[test],
    )
    line = f"poison mlp --dataset npz:{file} --batch-size 50 --width 32 --epochs 40 --seeds 1"
    line += " --attack label-consistent --poison-rate 0.95"
    success = {}
    for eps in ("0.004", "0.5"):
        assert main([*line.split(), "--poison-eps", eps, "--out", str(tmp_path / eps)]) == 0
        runs = [
            json.loads(run.read_text()) for run in tmp_path.glob(f"{eps}/poison/*/metrics.json")
        ]
        assert [run["poisoned"] for run in runs] == [86]
        assert runs[0]["accuracy_after"] > 0.95
        success[eps] = runs[0]["attack_success"]
    assert success["0.5"] > success["0.004"] + 0.25


def test_another_blended_image_is_another_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.arange(60) % 2
    ramp = np.arange(36).reshape(6, 6)
    pixels = (np.where(labels[:, None, None], 200, 50) + ramp).astype(np.uint8)
    file = tmp_path / "data.npz"
    np.savez(file, x_train=pixels[:40], y_train=labels[:40], x_test=pixels[40:], y_test=labels[40:])
    key = tmp_path / "key.png"
    Image.new("L", (40, 40), 90).save(key)
    line = ["poison", "mlp", "--width", "4", "--dataset", f"npz:{file}"]
    line += ["--epochs", "1", "--batch-size", "20", "--seeds", "1", "--attack", "blended"]
    line += ["--poison-rate", "0.1", "--name", "p", "--out", str(tmp_path / "out")]
    assert main([*line, "--blend-image", str(key)]) == 0
    moved = key.rename(tmp_path / "moved.png")
    assert main([*line, "--blend-image", str(moved)]) == 0
    assert "finished already" in capsys.readouterr().out
    Image.new("L", (40, 40), 91).save(moved)
    assert main([*line, "--blend-image", str(moved)]) == 2
    assert "holds another run (blend_image " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--blend", "0.3"], "--blend: goes with --attack blended, not with patch"),
        (["--attack", "wanet", "--amplitude", "0.1"], "--amplitude: goes with --attack sig"),
        (["--attack", "sig", "--noise-ratio", "1"], "--noise-ratio: goes with --attack wanet"),
        (["--attack", "sig", "--patch", "4"], "--patch: goes with --attack patch"),
        (["--attack", "blended", "--source", "1"], "--source: goes with --attack flip"),
        (
            ["--poison-eps", "0.2"],
            "--poison-eps: goes with --attack label-consistent or gradient-matching, not with",
        ),
        (["--attack", "blended", "--blend", "0"], "--blend: must be greater than 0"),
        (["--attack", "blended", "--blend-image", "none.png"], "none.png: no such file"),
    ],
)
def test_options_of_another_attack_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["poison", "mlp", "--dataset", "digits", *words, "--out", str(tmp_path / "out")]
    assert main(line) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("patch", {"patch": 9}, "the patch must leave a pixel on every side; at most 8"),
        ("sig", {"frequency": 5}, "show periods below 5, half their width"),
    ],
)
def test_a_trigger_that_does_not_fit_the_images_is_refused(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        attack(name, **options)


def test_a_trigger_that_changes_nothing_is_refused() -> None:
    images = data().test
    with pytest.raises(UsageError, match="changes no pixel of any test image"):
        attack("blended", blend=1e-4).triggered(images)


def test_a_rate_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"--poison-rate 0.9: that is 180 images, and there are 150"
    ):
        attack("patch").poisoned(data().train, 0.9)
    with pytest.raises(UsageError, match="--noise-ratio 50"):
        attack("wanet", noise_ratio=50).poisoned(data().train, 0.1)
