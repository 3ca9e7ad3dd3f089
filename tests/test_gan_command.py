"""``advlab gan`` through the front door, on few and small images: what it writes, repeats, resumes
and refuses."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from advlab.cli.main import main
from advlab.gan import checkpoint as gan_checkpoint
from advlab.gan import steps as gan_steps
from advlab.gan.interpolate import lerp, slerp, way
from advlab.gan.latent import plane, spread_out
from advlab.gan.networks import latents
from advlab.networks.checkpoint import sha256
from advlab.plots import record
from advlab.runs.results import TIMING

SMALL = {
    "--dataset": "digits",
    "--precision": "fp32",
    "--width": "8",
    "--lr": "0.01",
    "--zdim": "6",
    "--epochs": "3",
    "--batch-size": "64",
    "--train-size": "256",
    "--samples": "100",
    "--evaluation-samples": "50",
    "--evaluate-every": "1",
}
PROMISED = {"fid", "kid", "precision", "recall", "modes", "seconds"}


def gan(out: Path, *words: str) -> int:
    return main(["gan", *words, "--out", str(out)])


def small(*words: str) -> list[str]:
    """A line for a small game: the defaults above, and what ``words`` say instead and as well."""
    return [
        word for flag, value in SMALL.items() if flag not in words for word in (flag, value)
    ] + list(words)


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


@pytest.fixture(scope="module")
def games(runs: Path) -> Path:
    """A ``samples`` folder with a finished game, ``gan/one``."""
    assert (
        gan(runs, *small("--feature-classifier", str(runs / "train" / "small"), "--name", "one"))
        == 0
    )
    return runs


def again(games: Path, out: Path, *words: str) -> int:
    judge = (
        ()
        if "--feature-classifier" in words
        else ("--feature-classifier", str(games / "train" / "small"))
    )
    return gan(out, *small(*judge, *words))


# --- training -------------------------------------------------------------------------------------
@pytest.mark.painted
def test_what_a_game_leaves(games: Path) -> None:
    folder = games / "gan" / "one"
    said = metrics(folder)
    assert said.keys() >= PROMISED
    assert all(math.isfinite(said[key]) and said[key] >= 0 for key in PROMISED - {"kid"})
    assert said["kind"] == "gan-train"
    assert said["real_reference"].keys() == {
        "fid",
        "kid",
        "kid_std",
        "precision",
        "recall",
        "inception_score",
        "fid_inception",
    }
    assert said["fid"] > said["real_reference"]["fid"] > 0
    assert said["examples"] == {"train": 256, "val": 0, "test": 360}
    assert said["measured_images"] == {
        "reference": 100,
        "generated": 100,
        "held_out": 100,
        "generated_for_modes": 100,
    }
    assert (
        said["classifier"]["sha256"]
        == sha256(games / "train" / "small" / "model.safetensors")
        == sha256(folder / "classifier.safetensors")
    )
    assert json.loads((folder / "identity.json").read_text())["contents"] == {
        "data": said["data_sha256"],
        "classifier": said["classifier"]["sha256"],
    }
    assert said["epochs"] == said["checkpoint_epoch"] == 3
    for name in (
        "epoch_0",
        "epoch_1",
        "epoch_2",
        "epoch_3",
        "loss_plot",
        "scores",
        "quality",
        "classes",
    ):
        with Image.open(folder / f"{name}.png") as image:
            assert image.text["Software"] == "advlab"  # type: ignore[attr-defined]
    with Image.open(folder / "epochs.gif") as image:
        assert image.n_frames == 4  # type: ignore[attr-defined]
    history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2, 3]
    steps = (folder / "steps.csv").read_text().splitlines()
    assert steps[0] == "epoch,loss_d,d_real,d_fake,loss_g,grad_g"
    assert len(steps) == 1 + 3 * 4 == 1 + said["steps"]
    assert [line.split(",")[0] for line in steps[1:]] == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    mean = sum(float(line.split(",")[1]) for line in steps[1:5]) / 4
    assert mean == pytest.approx(history[0]["loss_d"], rel=1e-4)
    assert len((folder / "evaluations.jsonl").read_text().splitlines()) == 3
    assert not (folder / "resume.pt").exists()


@pytest.mark.painted
def test_an_evaluation_compares_as_many_images_as_real_ones_are_held_out(
    games: Path, tmp_path: Path
) -> None:
    words = ("--name", "many", "--epochs", "1", "--evaluation-samples", "200", "--samples", "100")
    assert again(games, tmp_path, *words) == 0
    folder = tmp_path / "gan" / "many"
    (line,) = (folder / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(line)["fid_images"] == 100
    drawn = record.drawn_again(folder / ".quality.figure").axes[0]
    assert drawn.get_ylabel() == "FID of 100 images"
    _, labels = drawn.get_legend_handles_labels()
    assert "100 real images" in labels


def test_the_figures_are_those_of_the_file(games: Path) -> None:
    """What is reported is measured on the checkpoint, whose hash is named."""
    folder = games / "gan" / "one"
    assert metrics(folder)["checkpoint_sha256"] == sha256(folder / "generator.safetensors")


@pytest.mark.parametrize(
    "words",
    [
        ("--arch", "mlp", "--loss", "bce", "--label-smoothing", "--ema-decay", "0"),
        ("--loss", "wgan-gp", "--critic-steps", "2", "--packing", "2"),
        ("--loss", "hinge", "--diffaug", "translation", "cutout"),
        ("--loss", "nonsaturating", "--critic-norm", "none", "--penalty", "1"),
        ("--images", "all", "--zdim", "1"),
        ("--dataset", "stacked_digits"),
    ],
    ids=lambda words: " ".join(words),
)
def test_every_kind_of_game(games: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert again(games, tmp_path, "--epochs", "1", "--name", "kind", *words) == 0
    said = metrics(tmp_path / "gan" / "kind")
    assert math.isfinite(said["fid"])
    if "stacked_digits" in words:
        assert said["real_modes"] > 80
        assert said["modes_touched"] >= said["modes"]


@pytest.mark.painted
def test_the_same_line_gives_the_same_bits(games: Path, tmp_path: Path) -> None:
    assert again(games, tmp_path, "--name", "two") == 0
    one, two = games / "gan" / "one", tmp_path / "gan" / "two"
    for name in ("generator.safetensors", "epoch_3.png", "epochs.gif", "steps.csv"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    timeless = [
        {k: v for k, v in metrics(folder).items() if k not in {*TIMING, "images_per_second"}}
        for folder in (one, two)
    ]
    assert timeless[0] == timeless[1]


def test_the_line_typed_again_does_nothing(games: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = games / "gan" / "one"
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != ".lock"}
    assert again(games, games, "--name", "one") == 0
    said = capsys.readouterr().out
    assert "finished already" in said
    assert f"{metrics(folder)['fid']:.3f}" in said
    assert {
        file: file.stat().st_mtime_ns for file in folder.iterdir() if file.name != ".lock"
    } == before


def test_a_game_that_was_stopped_goes_on_to_the_same_bits(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = gan_steps.GanSteps.generate
    calls = 0

    def stop(self: Any, fake: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:  # in the middle of the second epoch
            raise KeyboardInterrupt
        return made(self, fake)

    monkeypatch.setattr(gan_steps.GanSteps, "generate", stop)
    assert again(games, tmp_path, "--name", "cut") == 130
    folder = tmp_path / "gan" / "cut"
    assert not (folder / "metrics.json").exists()
    _, card, _ = gan_checkpoint.load(folder)  # what was kept is whole
    assert card.training["epoch"] == 1
    monkeypatch.undo()
    os.environ["ADVLAB_OFFLINE"] = "1"
    assert again(games, tmp_path, "--name", "cut") == 0
    for name in ("generator.safetensors", "epochs.gif", "steps.csv"):
        assert (folder / name).read_bytes() == (games / "gan" / "one" / name).read_bytes(), name


def test_a_killed_game_goes_on(games: Path, tmp_path: Path) -> None:
    """Whether so short a game collapses depends on the processor's rounding: it is to go on all the
    same."""
    epochs = 12
    settings = {
        "--epochs": str(epochs),
        "--on-collapse": "warn",
        "--feature-classifier": str(games / "train" / "small"),
        "--out": str(tmp_path),
    }
    words = small("--name", "killed", *(word for setting in settings.items() for word in setting))
    process = subprocess.Popen(
        [sys.executable, "-m", "advlab", "gan", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    folder = tmp_path / "gan" / "killed"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (folder / "epoch_4.png").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended by itself"
    assert (folder / "epoch_4.png").exists()
    gan_checkpoint.load(folder)
    assert main(["gan", *words]) == 0
    assert metrics(folder)["epochs"] == epochs
    assert not list(folder.glob(".*.tmp"))


def test_losses_that_are_no_numbers_stop_it(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again(
        games,
        tmp_path,
        "--name",
        "nan",
        "--lr",
        "10",
        "--arch",
        "mlp",
        "--loss",
        "wgan-gp",
        "--critic-norm",
        "none",
    ) in (0, 1)
    out = capsys.readouterr()
    if "stopped being a number" in out.err:
        assert "--lr" in out.err
        assert not (tmp_path / "gan" / "nan" / "metrics.json").exists()


def test_a_collapse_is_heard_marked_and_stopped(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator whose step is a hundred times too long makes one image and stays there."""
    monkeypatch.setattr("advlab.gan.trainer._EARLY_STEPS", 8)
    assert again(games, tmp_path, "--name", "lost", "--epochs", "12", "--lr", "10") == 0
    said = capsys.readouterr().out
    assert "collapse monitor, epoch" in said
    assert "the generator has collapsed" in said
    found = metrics(tmp_path / "gan" / "lost")
    lines = (tmp_path / "gan" / "lost" / "evaluations.jsonl").read_text().splitlines()
    kept = {one["epoch"]: one for one in map(json.loads, lines)}[found["checkpoint_epoch"]]
    # The figures are of the generator that is kept, which may be one before the collapse.
    assert found["collapsed"] is kept["collapsed"]
    assert ("WARNING: the generator has collapsed" in said) == found["collapsed"]
    assert found["stopped"]
    assert found["epochs"] < 12
    assert {indicator["name"] for indicator in found["indicators"]} & {
        "modes",
        "diversity",
        "duplicates",
        "balance",
    }
    monkeypatch.setattr("advlab.gan.trainer._EARLY_STEPS", 8)
    assert (
        again(
            games, tmp_path, "--name", "on", "--epochs", "12", "--lr", "10", "--on-collapse", "warn"
        )
        == 0
    )
    assert metrics(tmp_path / "gan" / "on")["epochs"] == 12
    assert metrics(tmp_path / "gan" / "on")["collapsed"] is True


def test_inception_features_from_a_file(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights will do to see that they are read, used and named; and the smallest images
    that the network takes. The distance is that of the first 64 features: the eigenvalues of 2,048
    take seconds."""
    from torchvision.models import inception_v3

    from advlab.gan.inception import Inception

    monkeypatch.setattr("advlab.gan.inception._SIDE", 75)
    whole = Inception.__call__

    def few(network: Inception, pixels: torch.Tensor) -> torch.Tensor:
        features = whole(network, pixels)
        assert features.shape == (len(pixels), 2048)
        return features[:, :64]

    monkeypatch.setattr(Inception, "__call__", few)
    torch.manual_seed(0)
    file = tmp_path / "inception.pth"
    torch.save(inception_v3(weights=None, init_weights=False).state_dict(), file)
    words = ("--inception", str(file), "--epochs", "1", "--samples", "50", "--name", "i")
    assert again(games, tmp_path, *words) == 0
    said = metrics(tmp_path / "gan" / "i")
    assert said["fid_inception"] > said["real_reference"]["fid_inception"] >= 0
    assert len(said["inception_sha256"]) == 64
    assert "Inception v3" in capsys.readouterr().out
    state = torch.load(file, weights_only=True)
    state["fc.bias"] += 1
    torch.save(state, file)
    assert again(games, tmp_path, *words) == 2
    assert "holds another run (inception weights " in capsys.readouterr().err
    for number, wrong in enumerate((b"no weights", b"")):
        (tmp_path / f"{number}.pth").write_bytes(wrong)
        assert again(games, tmp_path, "--inception", str(tmp_path / f"{number}.pth")) == 2
        assert "does not hold weights of torchvision's Inception v3" in capsys.readouterr().err
    assert (
        again(games, tmp_path, "--inception", str(games / "train" / "small" / "model.safetensors"))
        == 2
    )
    assert again(games, tmp_path, "--inception", "nowhere.pth") == 2
    assert "no file at nowhere.pth" in capsys.readouterr().err
    line = f"gan --dataset digits --epochs 1 --inception {tmp_path}/0.pth --out {tmp_path}/new"
    assert main(line.split()) == 2
    assert not (tmp_path / "new").exists(), "no feature classifier was trained before"


def test_a_study_over_z(games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert again(games, tmp_path, "--epochs", "1", "--zdim", "2", "5", "9") == 0
    out = capsys.readouterr().out
    (folder,) = (tmp_path / "compare").iterdir()
    assert {file.name for file in folder.iterdir() if not file.name.startswith(".")} == {
        "config.yaml",
        "identity.json",
        "table.md",
        "quality.md",
        "metrics.json",
        "comparison.png",
        "losses.png",
        "images.png",
    }
    assert "zdim 2" in out
    said = metrics(folder)
    assert said["figure"] == "fid"
    assert said["lower_is_better"] is True
    assert len(said["settings"]) == 3
    assert gan(tmp_path, "compare", "--name", "side") == 0
    printed = capsys.readouterr().out
    compared = metrics(tmp_path / "gan" / "side")
    assert compared["kind"] == "gan-compare"
    for run in compared["runs"]:
        assert run["quality"]["fid"] == metrics(Path(run["folder"]))["fid"]
        assert run["sha256"] == sha256(Path(run["folder"]) / "generator.safetensors")
    assert gan(tmp_path, "compare", "--name", "side") == 0
    assert capsys.readouterr().out.splitlines()[1:] == printed.splitlines()
    assert {"losses.png", "images.png", "comparison.png", "quality.md"} <= {
        file.name for file in (tmp_path / "gan" / "side").iterdir()
    }
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert "FID" in capsys.readouterr().out
    runs = [run["folder"] for run in compared["runs"]]
    assert gan(tmp_path, "compare", "--runs", runs[0], runs[1], f"{runs[1]}/../{runs[1]}") == 2
    assert gan(tmp_path, "compare", "--runs", runs[0], runs[0]) == 2
    assert "is named twice" in capsys.readouterr().err


def test_distances_that_are_measured_differently_are_not_ranked(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """FID falls with the number of images, whatever the generator."""
    assert again(games, tmp_path, "--epochs", "1", "--samples", "60", "100") == 0
    out = capsys.readouterr().out
    assert "these figures do not compare" in out
    (folder,) = (tmp_path / "compare").iterdir()
    assert metrics(folder)["differ"] == ["examples", "conditions"]
    assert gan(tmp_path, "compare", "--name", "side") == 0
    assert metrics(tmp_path / "gan" / "side")["differ"] == ["examples", "conditions"]
    assert "on different examples and under different conditions" in capsys.readouterr().out
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert "lowest of" not in capsys.readouterr().out


# --- from a generator, without the data -----------------------------------------------------------
@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the data were asked for")

    monkeypatch.setattr("advlab.data.load_images.load", refuse)


@pytest.mark.usefixtures("no_data")
def test_sample(games: Path, tmp_path: Path) -> None:
    words = ["--generator", str(games / "gan" / "one"), "--name", "s"]
    assert gan(tmp_path, "sample", *words, "--count", "5", "--files", "--seed", "3") == 0
    folder = tmp_path / "gan" / "s"
    pixels = load_file(folder / "images.safetensors")["pixels"]
    assert pixels.shape == (5, 1, 28, 28)
    for number in range(5):
        with Image.open(folder / f"image_{number}.png") as image:
            assert np.array_equal(np.asarray(image), pixels[number, 0].numpy())
    assert (folder / "grid.png").exists()
    assert metrics(folder)["count"] == 5


@pytest.mark.usefixtures("no_data")
def test_sample_by_class(games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shares = metrics(games / "gan" / "one")["generated_class_fractions"]
    often = max(range(10), key=shares.__getitem__)
    words = ["--generator", str(games / "gan" / "one" / "generator.safetensors")]
    assert (
        gan(tmp_path, "sample", *words, "--count", "9", "--of-class", str(often), "--name", "one")
        == 0
    )
    assert metrics(tmp_path / "gan" / "one")["of_class"] == str(often)
    assert load_file(tmp_path / "gan" / "one" / "images.safetensors")["pixels"].shape[0] == 9
    assert (
        gan(tmp_path, "sample", *words, "--count", "3", "--of-class", "each", "--name", "each") == 0
    )
    each, images = metrics(tmp_path / "gan" / "each"), tmp_path / "gan" / "each"
    stored = load_file(images / "images.safetensors")["pixels"]
    # Classes that are too rare have fewer images, and no white ones in their place.
    assert each["requested"] == 30
    assert each["count"] == sum(each["counts"].values()) == len(stored)
    assert max(each["counts"].values()) == each["counts"][str(often)] == 3
    assert each["missing"] == [name for name, count in each["counts"].items() if not count]
    assert not (stored == 255).flatten(1).all(1).any()
    said = capsys.readouterr().out
    assert (f"{len(stored)} of 30 images that were asked for" in said) == (len(stored) < 30)
    assert gan(tmp_path, "sample", *words, "--of-class", "ten") == 2
    assert "no such class" in capsys.readouterr().err


@pytest.mark.usefixtures("no_data")
def test_interpolate(games: Path, tmp_path: Path) -> None:
    assert (
        gan(
            tmp_path,
            "interpolate",
            "--generator",
            str(games / "gan" / "one"),
            "--endpoints",
            "4",
            "5",
            "6",
            "--frames",
            "7",
            "--name",
            "i",
        )
        == 0
    )
    folder = tmp_path / "gan" / "i"
    assert (folder / "strip.png").exists()
    for name in ("lerp", "slerp"):
        with Image.open(folder / f"{name}.gif") as image:
            assert 1 < image.n_frames <= 14  # type: ignore[attr-defined]  # equal frames are joined


@pytest.mark.usefixtures("no_data")
def test_latent(games: Path, tmp_path: Path) -> None:
    assert (
        gan(
            tmp_path,
            "latent",
            "--generator",
            str(games / "gan" / "one"),
            "--count",
            "60",
            "--drawn",
            "10",
            "--name",
            "l",
        )
        == 0
    )
    folder = tmp_path / "gan" / "l"
    assert (folder / "latent.png").exists()
    kept = load_file(folder / "latent.safetensors")
    assert kept["z"].shape == (60, 6)
    assert kept["pixels"].shape == (60, 1, 28, 28)
    shares = metrics(folder)["explained_variance"]
    assert 1 >= shares["z"][0] >= shares["z"][1] > 0


def test_the_newest_generator_is_taken(games: Path) -> None:
    assert gan(games, "sample", "--count", "2", "--name", "newest") == 0
    assert metrics(games / "gan" / "newest")["generator"]["path"].startswith(str(games / "gan"))


def test_paths_between_two_z() -> None:
    start, end = latents(1, 1, 50)[0], latents(2, 1, 50)[0]
    share = torch.tensor([0.0, 0.5, 1.0])
    for path in (lerp, slerp):
        points = path(start, end, share)
        torch.testing.assert_close(points[0], start)
        torch.testing.assert_close(points[2], end)
    torch.testing.assert_close(lerp(start, end, share)[1], (start + end) / 2)
    # On the unit sphere every point of the arc has length 1, and equal shares are equal angles.
    a, b = start / start.norm(), end / end.norm()
    arc = slerp(a, b, torch.linspace(0, 1, 5))
    torch.testing.assert_close(arc.norm(dim=1), torch.ones(5))
    angles = torch.acos((arc[1:] * arc[:-1]).sum(dim=1))
    torch.testing.assert_close(angles, angles[:1].expand(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(slerp(a, a, share), a.expand(3, 50))
    assert way(start, end, 7, "slerp").shape == (7, 50)


def test_the_plane_is_that_of_the_most_variance() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randn(500, 2, generator=random) * torch.tensor([5.0, 2.0])
    turned = torch.linalg.qr(torch.randn(6, 6, generator=random))[0][:2]
    places, shares = plane(points @ turned)
    assert sum(shares) == pytest.approx(1)
    assert shares[0] == pytest.approx(25 / 29, abs=0.03)
    distance = torch.cdist(points[:20].double(), points[:20].double())
    torch.testing.assert_close(
        torch.cdist(places[:20], places[:20]), distance, atol=1e-4, rtol=1e-4
    )
    assert plane(torch.arange(5.0)[:, None])[0].shape == (5, 2)
    places, shares = plane(torch.ones(5, 3))  # all in one place
    assert not places.any()
    assert shares == (0.0, 0.0)


def test_places_that_are_drawn_lie_far_apart() -> None:
    grid = torch.cartesian_prod(torch.arange(10.0), torch.arange(10.0)).double()
    chosen = spread_out(grid, 5)
    assert len(set(chosen.tolist())) == 5
    far = torch.cdist(grid[chosen], grid[chosen])
    assert float((far + 100 * torch.eye(5)).min()) > 4
    assert len(spread_out(grid, 1000)) == 100


# --- bad input ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--zdim", "0"], "--zdim: must be at least 1, not '0'"),
        (["--zdim", "-5"], "--zdim: must be at least 1"),
        (["--zdim", "1000000000"], "GB"),
        (["--batch-size", "1"], "--batch-size: must be at least 2"),
        (["--batch-size", "5000"], "there are 256 images to train on"),
        (["--loss", "wgangp"], "did you mean 'wgan-gp'"),
        (["--loss", "wgan", "--beta1", "0"], "--beta1: goes with --loss bce or nonsaturating"),
        (["--loss", "wgan", "--critic-norm", "spectral"], "clipping them changes nothing"),
        (["--arch", "dcgans"], "did you mean 'dcgan'"),
        (["--diffaug", "rotation"], "--diffaug"),
        (["--lr", "nan"], "finite"),
        (["--samples", "0"], "--samples: must be at least 50"),
        (["--feature-classifier", "nowhere"], "--feature-classifier: no checkpoint at nowhere"),
        (["--eps", "0.1"], "belongs to"),
        (["--label-smoothing", "0.6"], "less than 0.5"),
    ],
)
def test_bad_lines(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gan(tmp_path, *small(*words)) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "gan").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "--count", "0"], "--count: must be at least 1"),
        (["sample", "--generator", "nowhere"], "no checkpoint at nowhere"),
        (["sample"], "no finished generator under"),
        (["interpolate", "--endpoints", "1"], "--endpoints: needs"),
        (["latent", "--count", "1"], "--count: must be at least 10"),
        (["compare"], "fewer than two finished trainings"),
        (["compare", "--runs", "a", "b"], "a holds no finished training of a generator"),
        (["train", "--search", "2", "--train-size", "9", "99"], "--train-size: takes one value"),
        (["smaple"], "did you mean 'sample'"),
    ],
)
def test_bad_lines_about_generators(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gan(tmp_path, *words) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_a_classifier_is_no_generator_and_a_generator_no_classifier(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    classifier, generator = games / "train" / "small", games / "gan" / "one"
    assert gan(tmp_path, "sample", "--generator", str(classifier)) == 2
    assert "is an image classifier" in capsys.readouterr().err
    assert gan(tmp_path, "sample", "--generator", str(classifier / "model.safetensors")) == 2
    assert "; a generator is needed" in capsys.readouterr().err
    for place in (generator, generator / "generator.safetensors"):
        assert (
            main(
                [
                    "attack",
                    "fgsm",
                    "--dataset",
                    "digits",
                    "--checkpoint",
                    str(place),
                    "--out",
                    str(tmp_path),
                ]
            )
            == 2
        )
        assert "generator" in capsys.readouterr().err


def test_a_damaged_generator_is_one_line(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (games / "gan" / "one" / "generator.safetensors").read_bytes()
    for number, damaged in enumerate(
        (
            b"",
            content[:100],
            content[:-50],
            content.replace(b'\\"zdim\\":6', b'\\"zdim\\":9'),
            b"PK\x03\x04" + content,
        )
    ):
        file = tmp_path / f"{number}.safetensors"
        file.write_bytes(damaged)
        assert gan(tmp_path, "sample", "--generator", str(file)) == 2, number
        said = capsys.readouterr().err.strip()
        assert str(file) in said
        assert "\n" not in said


def test_a_size_that_cannot_be_made_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for number in range(6):
                Image.new("L", (30, 30), 40 * number).save(
                    tmp_path / "photos" / split / label / f"{number}.png"
                )
    photos = ["--dataset", f"folder:{tmp_path / 'photos'}", "--batch-size", "4"]
    assert (
        gan(
            tmp_path / "out",
            *photos,
            "--image-size",
            "512",
            "--critic-norm",
            "spectral",
            "--zdim",
            "100000000",
        )
        == 2
    )
    assert "GB" in capsys.readouterr().err
    assert gan(tmp_path / "out", *photos, "--batch-size", "128", "--image-size", "30") == 2
    capsys.readouterr()
    assert (
        gan(tmp_path / "out", "--dataset", f"folder:{tmp_path / 'photos'}", "--image-size", "30")
        == 2
    )
    assert "there are 12 images to train on" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.painted
def test_folders_of_photos_in_colour(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("a", "b"):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for number in range(60):
                colour = (4 * number, 90, 200) if label == "a" else (200, 4 * number, 90)
                Image.new("RGB", (30, 20), colour).save(
                    tmp_path / "photos" / split / label / f"{number}.png"
                )
    photos = ["--dataset", f"folder:{tmp_path / 'photos'}", "--image-size", "18"]
    assert (
        main(
            [
                "train",
                "cnn",
                *photos,
                "--epochs",
                "1",
                "--channels",
                "2",
                "--hidden",
                "4",
                "--name",
                "eye",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    words = [
        *photos,
        "--samples",
        "50",
        "--evaluation-samples",
        "50",
        "--feature-classifier",
        str(tmp_path / "train" / "eye"),
    ]
    assert (
        gan(
            tmp_path,
            *words,
            "--epochs",
            "1",
            "--batch-size",
            "16",
            "--width",
            "2",
            "--name",
            "photos",
        )
        == 0
    )
    with Image.open(tmp_path / "gan" / "photos" / "epoch_1.png") as image:
        assert image.mode == "RGBA"
    assert metrics(tmp_path / "gan" / "photos")["examples"]["train"] == 120


# --- the same run, or another one -----------------------------------------------------------------
def flip_a_bit(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    said = capsys.readouterr().err.strip()
    assert said
    assert "\n" not in said
    return said


def test_another_action_under_the_same_name_is_refused(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = ["--generator", str(games / "gan" / "one"), "--name", "same"]
    assert gan(tmp_path, "sample", *generator, "--count", "4") == 0
    pixels = (tmp_path / "gan" / "same" / "images.safetensors").read_bytes()
    assert gan(tmp_path, "latent", *generator, "--count", "20") == 2
    assert "component sample there, latent here" in refused(capsys)
    assert again(games, tmp_path, "--name", "same") == 2
    assert "component sample there, train here" in refused(capsys)
    assert gan(tmp_path, "sample", *generator, "--count", "4", "--weights", "last") == 2
    assert "weights average there, last here" in refused(capsys)
    assert (tmp_path / "gan" / "same" / "images.safetensors").read_bytes() == pixels
    capsys.readouterr()
    assert (
        gan(
            tmp_path,
            "sample",
            "--generator",
            str(games / "gan" / "one" / "generator.safetensors"),
            "--name",
            "same",
            "--count",
            "4",
        )
        == 0
    )
    assert "finished already" in capsys.readouterr().out


def test_another_generator_in_the_same_place_is_refused(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again(games, tmp_path, "--epochs", "1", "--name", "g") == 0
    assert (
        gan(
            tmp_path,
            "sample",
            "--generator",
            str(tmp_path / "gan" / "g"),
            "--name",
            "s",
            "--count",
            "4",
        )
        == 0
    )
    assert again(games, tmp_path, "--epochs", "1", "--seed", "1", "--name", "g", "--overwrite") == 0
    capsys.readouterr()
    assert (
        gan(
            tmp_path,
            "sample",
            "--generator",
            str(tmp_path / "gan" / "g"),
            "--name",
            "s",
            "--count",
            "4",
        )
        == 2
    )
    assert "holds another run (generator " in refused(capsys)
    assert (
        gan(
            tmp_path,
            "sample",
            "--generator",
            str(tmp_path / "gan" / "g"),
            "--name",
            "s",
            "--count",
            "4",
            "--overwrite",
        )
        == 0
    )


def stopped(games: Path, out: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """A training that was interrupted in its second epoch."""
    generate = gan_steps.GanSteps.generate
    calls = 0

    def stop(self: Any, fake: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 7:
            raise KeyboardInterrupt
        return generate(self, fake)

    with monkeypatch.context() as patch:
        patch.setattr(gan_steps.GanSteps, "generate", stop)
        assert again(games, out, *words) == 130


def test_an_interrupted_training_does_not_go_on_with_another_classifier(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judge = tmp_path / "judge.safetensors"
    judge.write_bytes((games / "train" / "small" / "model.safetensors").read_bytes())
    stopped(games, tmp_path, monkeypatch, "--name", "cut", "--feature-classifier", str(judge))
    flip_a_bit(judge, -5)
    capsys.readouterr()
    assert again(games, tmp_path, "--name", "cut", "--feature-classifier", str(judge)) == 2
    assert "holds another run (classifier " in refused(capsys)


def test_an_interrupted_training_does_not_go_on_from_damaged_files(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped(games, tmp_path, monkeypatch, "--name", "cut")
    folder = tmp_path / "gan" / "cut"
    whole = (folder / "resume.pt").read_bytes()
    flip_a_bit(folder / "resume.pt", len(whole) // 2)
    capsys.readouterr()
    assert again(games, tmp_path, "--name", "cut") == 1
    assert "resume.pt is damaged" in refused(capsys)
    assert not (folder / "metrics.json").exists()


def test_a_generator_that_was_damaged_before_it_was_measured_is_refused(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from advlab.experiments.gan.measure import Measurement

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Measurement, "final", stop)
        assert again(games, tmp_path, "--name", "cut") == 130
    file = tmp_path / "gan" / "cut" / "generator.safetensors"
    flip_a_bit(file, -5)
    capsys.readouterr()
    assert again(games, tmp_path, "--name", "cut") == 1
    assert "generator.safetensors is damaged" in refused(capsys)
    flip_a_bit(file, -5)
    assert again(games, tmp_path, "--name", "cut") == 0
    assert file.read_bytes() == (games / "gan" / "one" / "generator.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["generator.safetensors", "classifier.safetensors"])
def test_one_bit_of_a_finished_runs_networks(
    games: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "gan" / "copy"
    shutil.copytree(games / "gan" / "one", folder)
    flip_a_bit(folder / name, -5)
    for words in (["sample", "--of-class", "0"], ["interpolate"], ["latent"]):
        assert gan(tmp_path, *words, "--generator", str(folder)) == 2
        assert f"{folder / name} is not the " in refused(capsys)
    if name == "generator.safetensors":
        assert gan(tmp_path, "compare", "--runs", str(folder), str(games / "gan" / "one")) == 2
        assert f"{folder / name} is not the network of the run there" in refused(capsys)
    assert [path.name for path in (tmp_path / "gan").iterdir()] == ["copy"]


def test_one_bit_of_the_classifier_to_measure_with(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(games / "train" / "small", tmp_path / "train" / "small")
    flip_a_bit(tmp_path / "train" / "small" / "model.safetensors", -5)
    assert again(tmp_path, tmp_path, "--name", "g") == 2
    assert "model.safetensors is not the network of the run there" in refused(capsys)
    assert not (tmp_path / "gan").exists()


def test_another_data_set_of_the_same_name_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "test"):
        for label, level in (("a", 60), ("b", 190)):
            (tmp_path / "photos" / split / label).mkdir(parents=True)
            for number in range(30):
                Image.new("L", (20, 20), level + number).save(
                    tmp_path / "photos" / split / label / f"{number}.png"
                )
    photos = ["--dataset", f"folder:{tmp_path / 'photos'}", "--image-size", "18"]
    eye = [
        "--epochs",
        "1",
        "--channels",
        "2",
        "--hidden",
        "4",
        "--name",
        "eye",
        "--out",
        str(tmp_path),
    ]
    assert main(["train", "cnn", *photos, *eye]) == 0
    words = [
        *photos,
        "--feature-classifier",
        str(tmp_path / "train" / "eye"),
        "--samples",
        "50",
        "--evaluation-samples",
        "50",
    ]
    line = [*words, "--epochs", "1", "--batch-size", "16", "--width", "2", "--precision", "fp32"]

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("advlab.experiments.gan.train.draw", stop)
        assert gan(tmp_path, *line, "--name", "unfinished") == 130
    assert gan(tmp_path, *line, "--name", "finished") == 0
    Image.new("L", (20, 20), 0).save(tmp_path / "photos" / "train" / "a" / "0.png")
    capsys.readouterr()
    for name in ("unfinished", "finished"):
        assert gan(tmp_path, *line, "--name", name) == 2
        assert "holds another run (data " in refused(capsys)


def test_too_few_test_images_are_refused_before_anything_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split, count in (("train", 40), ("test", 1)):
        for label in ("a", "b"):
            folder = tmp_path / "photos" / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("L", (8, 8), number).save(folder / f"{number}.png")
    data = ["--dataset", f"folder:{tmp_path / 'photos'}", "--image-size", "16", "--batch-size", "8"]
    assert gan(tmp_path / "o", *small(*data)) == 2
    said = capsys.readouterr()
    assert (
        "has 2 test images, and a generator is measured with at least 4; --images all holds out "
        "half" in said.err
    )
    assert said.err.count("\n") == 1
    assert "classifier" not in said.out
    assert not (tmp_path / "o").exists()


def test_a_kernel_distance_of_one_subset_has_no_deviation(
    games: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The game compares 100 real images with as many others, which makes a single subset."""
    said = metrics(games / "gan" / "one")
    assert said["kid_std"] is None
    assert said["real_reference"]["kid_std"] is None
    assert (
        gan(games, *small("--feature-classifier", str(games / "train" / "small"), "--name", "one"))
        == 0
    )
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "KID" in line]
    assert "±" not in row
