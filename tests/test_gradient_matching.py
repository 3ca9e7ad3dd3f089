"""Gradient matching: its distance and slope against autograd, its bounds, and that it succeeds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advlab.cli.main import main
from advlab.data.image_set import Images
from advlab.poisoning import gradient_matching
from advlab.poisoning.gradient_matching import distance_and_slope, matched
from advlab.runs.machine import Machine

CPU = Machine(torch.device("cpu"), "fp32")


def small_network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """A convolution, batch normalisation and a smooth activation."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4)
    )
    network(torch.rand(20, 1, 6, 6))  # statistics of its own
    return network.to(dtype).eval()


def cosine_distance(
    network: nn.Module, images: Tensor, labels: Tensor, aimed: Tensor, target: int
) -> Tensor:
    """The objective of the paper, written out."""
    weights = list(network.parameters())
    poison = functional.cross_entropy(network(images), labels)
    wanted = functional.cross_entropy(network(aimed), torch.tensor([target]))
    ours = torch.autograd.grad(poison, weights, create_graph=True)
    theirs = torch.autograd.grad(wanted, weights)
    products = sum((one * other).sum() for one, other in zip(ours, theirs, strict=True))
    squares = [sum((one**2).sum() for one in slopes) for slopes in (ours, theirs)]
    return 1 - products / (squares[0] * squares[1]) ** 0.5


@pytest.mark.parametrize("together", [128, 3], ids=["one part", "parts"])
def test_the_distance_is_the_papers_and_its_slope_that_of_finite_differences(
    together: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradient_matching, "_AT_A_TIME", together)
    network = small_network()
    random = torch.Generator().manual_seed(1)
    images = torch.rand(8, 1, 6, 6, generator=random, dtype=torch.float64)
    labels, aimed = torch.arange(8) % 4, images[:1] + 0.1
    weights = [weight.detach().requires_grad_() for weight in network.parameters()]
    names = [name for name, _ in network.named_parameters()]

    def loss(inputs: Tensor, classes: Tensor) -> Tensor:
        state = dict(zip(names, weights, strict=True)) | dict(network.named_buffers())
        logits = torch.func.functional_call(network, state, (inputs,))
        return functional.cross_entropy(logits, classes, reduction="sum")

    wanted = torch.autograd.grad(loss(aimed, torch.tensor([2])), weights)
    distance, slope = distance_and_slope(loss, weights, wanted, images, labels)

    def reference(moved: Tensor) -> float:
        return float(cosine_distance(network, moved, labels, aimed, 2).detach())

    assert distance == pytest.approx(reference(images), abs=1e-12)
    for place in [(0, 0, 0, 0), (3, 0, 2, 5), (7, 0, 4, 1)]:
        step = torch.zeros_like(images)
        step[place] = 1e-5
        difference = (reference(images + step) - reference(images - step)) / 2e-5
        assert float(slope[place]) == pytest.approx(difference, rel=1e-5, abs=1e-9)


def test_poison_stays_in_the_ball_and_comes_nearer_with_more_steps() -> None:
    network = small_network(torch.float32)
    for weight in network.parameters():
        weight.requires_grad_(False)
    random = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (8, 1, 6, 6), generator=random, dtype=torch.uint8)
    poison, aimed = Images(pixels[:7], torch.arange(7) % 4), Images(pixels[7:], torch.tensor([0]))

    def distance(steps: int, restarts: int = 1, eps: float = 0.2) -> float:
        found = matched(
            network,
            poison,
            aimed,
            2,
            eps=eps,
            steps=steps,
            restarts=restarts,
            machine=CPU,
            seed=0,
        )
        assert found.pixels.dtype == torch.uint8
        moved = (found.pixels.int() - poison.pixels.int()).abs()
        assert 0 < int(moved.max()) <= round(255 * eps) + 1
        assert found.distance is not None
        rounded = cosine_distance(
            network.requires_grad_(), found.pixels / 255, poison.labels, aimed.pixels / 255, 2
        )
        network.requires_grad_(False)
        assert found.distance == pytest.approx(float(rounded.detach()), abs=0.02)
        return found.distance

    few, many = distance(1), distance(60)
    assert many < few - 0.1
    assert distance(60, restarts=3) <= many
    assert distance(60, eps=0.6) < many
    assert not any(weight.requires_grad for weight in network.parameters())


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    """Three classes, each a pattern of small contrast in noise, which a network has to memorise."""
    random = np.random.default_rng(0)
    labels = np.arange(500) % 3
    patterns = random.normal(0, 1, (3, 8, 8))
    pixels = 0.5 + 0.08 * patterns[labels] + 0.15 * random.normal(0, 1, (500, 8, 8))
    levels = (255 * pixels.clip(0, 1)).round().astype(np.uint8)
    file, (train, test) = tmp_path / "noisy.npz", (slice(0, 300), slice(300, 500))
    np.savez(
        file,
        x_train=levels[train],
        y_train=labels[train],
        x_test=levels[test],
        y_test=labels[test],
    )
    return file


def test_one_test_image_is_taken_for_the_target(noisy: Path, tmp_path: Path) -> None:
    line = f"poison mlp --dataset npz:{noisy} --width 32 --epochs 40 --batch-size 50 --seeds 3"
    line += " --attack gradient-matching --poison-rate 0.5 --poison-eps 0.2 --out"
    success, probability = {}, {}
    for steps in ("1", "100"):
        out = tmp_path / steps
        assert main([*line.split(), str(out), "--matching-steps", steps]) == 0
        files = sorted(out.glob("poison/*/metrics.json"))
        metrics = [json.loads(file.read_text()) for file in files]
        assert len({run["aimed"] for run in metrics}) > 1, "each seed draws its own test image"
        success[steps] = np.mean([run["attack_success"] for run in metrics])
        last = [run["points"][-1] for run in metrics]
        probability[steps] = np.mean([point["target_probability"] for point in last])
        for file, run, point in zip(files, metrics, last, strict=True):
            assert run["target"] == "0"
            assert run["source"] == "1"
            assert run["points"][0]["success_rate"] == 0
            assert (point["target_probability"] > 0.5) == (point["success_rate"] == 1)
            assert run["accuracy_after"] > 0.9, "other images are still classified correctly"
            manifest = [json.loads(row) for row in (file.parent / "manifest.jsonl").open()]
            assert len(manifest) == run["poisoned"] == 45
            assert {row["old"] for row in manifest} == {row["new"] for row in manifest} == {"0"}
            assert (file.parent / "perturbed.png").is_file()
            assert (file.parent / "aimed.png").is_file()
    assert success["100"] == 1
    assert probability["1"] < 0.5 < 0.85 < probability["100"], "random changes do not do it"


def test_without_poison_the_test_image_is_measured_all_the_same(
    noisy: Path, tmp_path: Path
) -> None:
    line = f"poison mlp --dataset npz:{noisy} --width 32 --epochs 10 --seeds 1 --poison-rate 0"
    line += f" --attack gradient-matching --name none --out {tmp_path}"
    assert main(line.split()) == 0
    metrics = json.loads((tmp_path / "poison" / "none" / "metrics.json").read_text())
    assert metrics["poisoned"] == metrics["attack_success"] == 0
    assert metrics["points"][0]["target_probability"] is not None
    assert not (tmp_path / "poison" / "none" / "perturbed.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--repair abl", "--repair: is for backdoors, and --attack gradient-matching puts in no"),
        ("--patch 4", "--patch: goes with --attack patch or label-consistent"),
        ("--source 0", "--source and --target are the same class"),
        ("--poison-eps 0", "--poison-eps: must be greater than 0"),
        ("--poison-eps 8/0", "--poison-eps"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    words: str, message: str, noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"poison mlp --dataset npz:{noisy} --attack gradient-matching {words}"
    assert main([*line.split(), "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err
