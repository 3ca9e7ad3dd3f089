"""Detectors of adversarial images beside independent versions; ``advlab evaluate detection``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy import ndimage
from sklearn.covariance import EmpiricalCovariance
from sklearn.metrics import roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve
from torch import Tensor, nn

from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.data.image_set import Images
from advlab.errors import UsageError
from advlab.evaluation import squeezers
from advlab.evaluation.class_gaussians import Mahalanobis, gaussians
from advlab.evaluation.detection import Detector, DetectorEvidence, scored, threshold_of
from advlab.evaluation.detectors import mahalanobis
from advlab.evaluation.evasion import Evasion
from advlab.evaluation.squeezers import Squeezing
from advlab.evaluation.suites import detection
from advlab.experiments.evaluate import detection as experiment
from advlab.metrics.classification import is_correct
from advlab.metrics.detection import auroc, roc_curve
from advlab.networks import checkpoint
from advlab.perturbation.geometry import P, norm
from advlab.perturbation.randomness import ImageRandom

CPU = torch.device("cpu")


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def network(classes: int = 4, side: int = 6) -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(side * side, 7), nn.Tanh(), nn.Linear(7, classes)
    ).eval()


# --- squeezers ------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_median_filter_is_scipys(size: int) -> None:
    images = drawn(3, 2, 9, 7)
    expected = ndimage.median_filter(images.numpy(), size=(1, 1, size, size), mode="reflect")
    assert np.array_equal(squeezers.median(images, size).numpy(), expected)


def slow_means(
    image: NDArray[np.float64], window: int, patch: int, strength: float
) -> NDArray[np.float64]:
    """Of one image (C, H, W), pixel by pixel."""
    reach, border = window // 2, patch // 2
    pad = reach + border
    wide = np.pad(image, ((0, 0), (pad, pad), (pad, pad)), mode="symmetric")
    result = np.zeros_like(image)
    for row in range(image.shape[1]):
        for column in range(image.shape[2]):
            y, x = row + pad, column + pad
            here = wide[:, y - border : y + border + 1, x - border : x + border + 1]
            total = np.zeros(len(image))
            weights = 0.0
            for v in range(y - reach, y + reach + 1):
                for u in range(x - reach, x + reach + 1):
                    there = wide[:, v - border : v + border + 1, u - border : u + border + 1]
                    weight = math.exp(-np.mean((255 * (here - there)) ** 2) / strength**2)
                    total += weight * wide[:, v, u]
                    weights += weight
            result[:, row, column] = total / weights
    return result


def test_non_local_means_average_similar_patches() -> None:
    image = drawn(1, 3, 6, 5).double() / 20 + 0.5
    expected = slow_means(image[0].numpy(), 5, 3, 4.0)
    found = squeezers.non_local_means(image, 5, 3, 4.0)[0].numpy()
    np.testing.assert_allclose(found, expected)
    assert np.abs(found - image[0].numpy()).max() > 0.005


def test_non_local_means_have_the_gradient_of_finite_differences() -> None:
    image = (drawn(1, 1, 4, 4).double() / 20 + 0.5).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: squeezers.non_local_means(x, 3, 3, 4.0), image)


# --- detectors ------------------------------------------------------------------------------------
def test_squeezing_scores_are_the_largest_change_of_the_probabilities() -> None:
    model, images = network(), drawn(9, 1, 6, 6)
    logits, scores = Squeezing(model, ["bits", "median"], 1, 2)(images)
    squeezed = [
        torch.round(images),
        torch.from_numpy(ndimage.median_filter(images.numpy(), size=(1, 1, 2, 2), mode="reflect")),
    ]
    with torch.no_grad():
        before = model(images).softmax(1).numpy()
        after = [model(one).softmax(1).numpy() for one in squeezed]
    distances = np.stack([np.abs(before - one).sum(1) for one in after])
    np.testing.assert_allclose(scores.detach().numpy(), distances.max(0), rtol=1e-5)
    assert set(distances.argmax(0)) == {0, 1}
    assert torch.equal(logits, model(images))


def test_squeezing_passes_grey_levels_backwards_as_the_identity() -> None:
    """The gradient is that of both probabilities at their own images, as if one shift moved
    them."""
    model, images = network().double(), drawn(3, 1, 6, 6, seed=1).double()
    inputs = images.float().double().requires_grad_(True)
    (found,) = torch.autograd.grad(Squeezing(model, ["bits"], 1, 2)(inputs)[1].sum(), inputs)
    shift = torch.zeros_like(inputs, requires_grad=True)
    rounded = inputs.detach().round()
    apart = model(rounded + shift).softmax(1) - model(inputs.detach() + shift).softmax(1)
    (expected,) = torch.autograd.grad(apart.abs().sum(), shift)
    torch.testing.assert_close(found, expected)
    assert float(found.abs().max()) > 0


def test_mahalanobis_is_scikit_learns_distance_to_the_nearest_class() -> None:
    features, labels = drawn(60, 5), torch.arange(60) % 3
    features[:, 1] += features[:, 0] * labels
    means, whitening = gaussians(features, labels)
    x = features.double().numpy()
    expected_means = np.stack([x[labels.numpy() == one].mean(0) for one in range(3)])
    covariance = EmpiricalCovariance(assume_centered=True).fit(x - expected_means[labels.numpy()])
    new = drawn(8, 5, seed=4).double()
    expected = np.stack(
        [covariance.mahalanobis(new.numpy() - mean) for mean in expected_means]
    ).min(0)
    guard = Mahalanobis(
        nn.Sequential(nn.Flatten(), nn.Linear(5, 3)).double(), nn.Flatten(), means, whitening
    )
    np.testing.assert_allclose(guard(new.view(8, 1, 1, 5))[1].detach().numpy(), expected)


def test_mahalanobis_leaves_out_features_that_do_not_vary() -> None:
    """As the pseudo-inverse of the covariance does."""
    labels = torch.arange(60) % 2
    features = torch.cat([drawn(60, 4), torch.full((60, 2), 0.3)], dim=1)
    whitening = gaussians(features, labels)[1].numpy()
    assert whitening.shape == (4, 6)
    x = features.double().numpy()
    centred = np.concatenate([x[labels == one] - x[labels == one].mean(0) for one in (0, 1)])
    inverse = np.linalg.pinv(np.cov(centred.T, bias=True), rcond=1e-6)
    np.testing.assert_allclose(whitening.T @ whitening, inverse, rtol=1e-6, atol=1e-9)


def test_mahalanobis_has_the_gradient_of_finite_differences() -> None:
    """Through the features of the last layer's input."""
    model, images = network(), drawn(40, 1, 6, 6)
    evidence = DetectorEvidence(model, "it", Images(images, torch.arange(40) % 4), CPU)
    guard = mahalanobis.fitted(evidence, detection.Options(detector="mahalanobis")).double()
    inputs = drawn(2, 1, 6, 6, seed=9).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: guard(x)[1], inputs)
    hidden = model[:3](inputs)
    torch.testing.assert_close(guard.encoder(inputs), hidden)
    assert guard.settings() == {"features": 7, "directions": 7}


def test_mahalanobis_refuses_a_network_without_a_last_layer() -> None:
    evidence = DetectorEvidence(
        nn.Flatten(), "it", Images(drawn(8, 1, 2, 2), torch.arange(8) % 4), CPU
    )
    with pytest.raises(UsageError, match="it has no linear layer or convolution"):
        mahalanobis.fitted(evidence, detection.Options(detector="mahalanobis"))


# --- metrics --------------------------------------------------------------------------------------
@pytest.mark.parametrize("levels", [5, 10_000])
def test_auroc_and_the_curve_are_scikit_learns(levels: int) -> None:
    """With many ties and without."""
    random = np.random.default_rng(1)
    scores = torch.from_numpy(random.integers(0, levels, 40) / levels + 0.1)
    clean = torch.from_numpy(random.integers(0, levels, 70) / levels)
    truth = np.r_[np.ones(40), np.zeros(70)]
    every = np.r_[scores.numpy(), clean.numpy()]
    assert auroc(scores, clean) == pytest.approx(roc_auc_score(truth, every))
    expected = sklearn_roc_curve(truth, every, drop_intermediate=False)[:2]
    np.testing.assert_allclose(roc_curve(scores, clean), expected, atol=1e-12)


@pytest.mark.parametrize(("count", "rate", "allowed"), [(40, 0.05, 2), (59, 0.05, 2), (10, 0.1, 1)])
def test_the_threshold_lets_a_fraction_of_clean_images_raise_an_alarm(
    count: int, rate: float, allowed: int
) -> None:
    scores = drawn(count)
    threshold = threshold_of(scores, rate)
    assert int((scores > threshold).sum()) == allowed
    assert int((scores >= threshold).sum()) == allowed + 1
    assert int((torch.ones(count) > threshold_of(torch.ones(count), rate)).sum()) == 0
    with pytest.raises(ValueError, match="no"):
        threshold_of(scores[:1], rate)


# --- the adaptive attack --------------------------------------------------------------------------
class Linear(Detector):
    """Logits (x₀, x₁) and the score x₂, of images of three pixels."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        pixels = images.flatten(1)
        return pixels[:, :2], pixels[:, 2].double()


@pytest.mark.parametrize("name", ["linf", "l2"])
def test_the_adaptive_attack_finds_the_closed_form_of_a_linear_detector(name: str) -> None:
    """In L∞ a margin of 0.1 costs nothing, and the lowest score is x₂ − ε. In L2 the margin takes
    0.1 / √2 of the radius at least, and the score gets the rest."""
    images, eps = torch.tensor([[0.55, 0.45, 0.5]]).view(1, 1, 1, 3), 0.2
    attack = Evasion(eps, name, steps=60, restarts=2)
    found = attack.perturbed(Linear(), images, torch.tensor([0]), ImageRandom(0, torch.tensor([0])))
    _, scores = Linear()(found)
    lowest = 0.5 - (eps if name == "linf" else math.sqrt(eps**2 - 0.1**2 / 2))
    assert not is_correct(Linear()(found)[0], torch.tensor([0])).any()
    assert float(scores) == pytest.approx(lowest, abs=0.01)
    assert float(scores) >= lowest - 1e-6
    assert float(norm(found - images, P[name])) <= eps + 1e-6


def test_the_adaptive_attack_leaves_alone_what_it_cannot_break() -> None:
    images = torch.tensor([[0.9, 0.1, 0.5]]).view(1, 1, 1, 3)
    attack = Evasion(0.1, "linf", steps=5, restarts=2)
    found = attack.perturbed(Linear(), images, torch.tensor([0]), ImageRandom(0, torch.tensor([0])))
    assert torch.equal(found, images)


# --- the command ----------------------------------------------------------------------------------
LINE = "evaluate detection --dataset digits --limit 40 --out samples --steps 5 --restarts 2"


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(line: str) -> int:
    return main(f"{LINE} {line}".split())


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"samples/evaluate/{name}/metrics.json").read_text())
    return found


@pytest.mark.usefixtures("_elsewhere")
def test_a_run_leaves_what_its_files_say(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = runs / "train" / "small"
    assert typed(f"--model {place} --attacks fgsm PGD --eps .2 --name a") == 0
    printed = capsys.readouterr().out
    found, stored = result("a"), load_file("samples/evaluate/a/scores.safetensors")
    data = load_images.load(DataOptions(dataset="digits"))
    guard = Squeezing(checkpoint.load(place)[0], ["bits", "median"], 1, 2)
    logits, clean = scored(guard, data.test.inputs(slice(0, 40)), CPU)
    validation = scored(guard, data.val.inputs(slice(None)), CPU)[1]
    threshold = float(validation.sort(descending=True).values[int(0.05 * len(validation))])
    correct = is_correct(logits, data.test.labels[:40])
    torch.testing.assert_close(stored["test/scores"], clean, rtol=1e-4, atol=1e-6)
    assert found["threshold"] == pytest.approx(threshold, rel=1e-4)
    clean, threshold = stored["test/scores"], found["threshold"]
    assert found["false_alarm_rate"] == pytest.approx(int((clean > threshold).sum()) / 40)
    assert found["clean_accuracy"] == int(correct.sum()) / 40
    passed = int((correct & (clean <= threshold)).sum()) / 40
    assert found["clean_accuracy_with_detector"] == passed
    assert found["detector_settings"] == {"bits": 1, "median": 2}
    names = [one["attack"] for one in found["attacks"]]
    assert names == ["FGSM", "PGD", experiment.ADAPTIVE]
    harmless = torch.ones(int(correct.sum()), dtype=torch.bool)
    for name, one in zip(names, found["attacks"], strict=True):
        broken = ~stored[f"{name}/correct"]
        detected = stored[f"{name}/scores"] > threshold
        assert one["broken"] == int(broken.sum()) > 0
        assert one["detected"] == pytest.approx(float(detected[broken].double().mean()))
        expected = roc_auc_score(
            np.r_[np.ones(one["broken"]), np.zeros(40)],
            np.r_[stored[f"{name}/scores"][broken].numpy(), clean.numpy()],
        )
        assert one["auroc"] == pytest.approx(expected)
        assert one["robust_accuracy_with_detector"] == int((~broken | detected).sum()) / 40
        harmless &= ~broken | detected
        if name == "PGD":
            assert found["robust_accuracy_unaware"] == int(harmless.sum()) / 40
    assert found["robust_accuracy_with_detector"] == int(harmless.sum()) / 40
    assert "robust accuracy with squeezing ≤" in printed
    assert {"roc.png", "scores.png"} <= {file.name for file in Path("samples/evaluate/a").iterdir()}


@pytest.mark.usefixtures("_elsewhere")
def test_the_attack_that_knows_mahalanobis_is_detected_less(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"--model {runs / 'train' / 'small'} --detector mahalanobis --attacks PGD --eps .2"
    assert typed(f"{line} --name a") == 0
    pgd, adaptive = result("a")["attacks"]
    assert pgd["broken"] > 30
    assert adaptive["broken"] >= pgd["broken"]
    assert adaptive["auroc"] < pgd["auroc"] - 0.1
    assert adaptive["detected"] < pgd["detected"] - 0.1
    assert typed(f"{line} --name a") == 0
    assert "finished already" in capsys.readouterr().out


@pytest.mark.usefixtures("_elsewhere")
def test_an_interrupted_run_goes_on_to_the_same_result(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = f"--model {runs / 'train' / 'other'} --attacks FGSM --eps .2"
    assert typed(f"{line} --name whole") == 0
    perturbed = Evasion.perturbed

    def interrupted(*given: Any) -> Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(Evasion, "perturbed", interrupted)
    assert typed(f"{line} --name parts") == 130
    monkeypatch.setattr(Evasion, "perturbed", perturbed)
    monkeypatch.setattr(experiment, "sweep", interrupted)  # FGSM is not run again
    assert typed(f"{line} --name parts") == 0
    whole, parts = result("whole"), result("parts")
    for varying in ("seconds", "total_seconds", "date"):
        whole.pop(varying), parts.pop(varying)
        for one in (*whole["attacks"], *parts["attacks"]):
            one.pop(varying, None)
    assert whole == parts


@pytest.mark.usefixtures("_elsewhere")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--detector squeezin", "did you mean 'squeezing'"),
        ("--detector mahalanobis --bits 2", "--bits: goes with --detector squeezing"),
        ("--squeezers median --bits 2", "--bits: goes with the squeezer bits"),
        ("--squeezers blur", "--squeezers"),
        ("--attacks PDG", "--attacks PDG: not among the attacks of detection (did you mean 'PGD'"),
        ("--false-alarms .001", "--false-alarms 0.001: is less than one of the"),
        ("--false-alarms 1", "--false-alarms"),
        ("--eps 2", "--eps 2: an L∞ radius above 1"),
        ("--queries 3", "--queries"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    line: str, words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert typed(f"--model {runs / 'train' / 'small'} {line}") == 2
    assert words in capsys.readouterr().err
