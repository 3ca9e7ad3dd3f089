"""Repairs of backdoors, and detectors of triggered inputs, each against a naive version or a closed
form."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import median_abs_deviation, norm
from torch import Tensor, nn
from torch.nn import functional

from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.data.image_set import Images
from advlab.data.load_images import load
from advlab.errors import UsageError
from advlab.experiments.poison.repair_figures import repair_tables
from advlab.models import cnn
from advlab.poisoning import recovery
from advlab.poisoning.backdoored import (
    BackdooredNetwork,
    RecoveredTrigger,
    Repaired,
    RepairSettings,
    with_trigger,
)
from advlab.poisoning.input_detectors import strip
from advlab.poisoning.pruning import UnitMask, mean_activations, prunable, pruned
from advlab.poisoning.recovery import anomaly_indices, recovered_triggers
from advlab.poisoning.repairs import abl, fine_pruning, neural_cleanse
from advlab.poisoning.screening import InputEvidence, rejection_threshold
from advlab.poisoning.unlearning import GlobalAscent, LocalAscent, isolated_rows
from advlab.results.poison import ImagePoisonResult
from advlab.runs.machine import Machine

CPU = Machine(torch.device("cpu"), "fp32")
UNITS, CLASSES = 6, 3


def last_layer(network: nn.Module) -> nn.Linear:
    """The layer that gives the logits."""
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear)][-1]


def random_images(count: int, seed: int) -> Images:
    random = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 1, 6, 6), generator=random, dtype=torch.uint8)
    return Images(pixels, torch.arange(count) % CLASSES)


def small_network(seed: int = 0) -> nn.Sequential:
    """Two convolutions, the second with normalisation and activation, in evaluation mode."""
    torch.manual_seed(seed)
    normalisation = nn.BatchNorm2d(UNITS)
    normalisation.bias.data = torch.rand(UNITS)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Sequential(nn.Conv2d(4, UNITS, 3, bias=False), normalisation, nn.ReLU()),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(4 * UNITS, CLASSES),
    )
    return network.eval()


def backdoored(
    network: nn.Module, train: Images, clean: Images, **settings: float
) -> BackdooredNetwork:
    usual: dict[str, Any] = {"epochs": 1, "prune_limit": 0.1, "isolated_fraction": 0.1}
    return BackdooredNetwork(
        network=network,
        fresh=lambda: small_network(7),
        train=train,
        clean=clean,
        classes=tuple("abc"),
        options=cnn.Options(epochs=2, batch_size=16, lr=1e-3),
        machine=CPU,
        settings=RepairSettings(**{**usual, **settings}),
        seed=3,
    )


# --- fine-pruning ---------------------------------------------------------------------------------
def test_units_are_measured_behind_normalisation_and_activation() -> None:
    network, images = small_network(), random_images(250, 1)
    name = prunable(network, images.inputs(slice(0, 1)))
    assert network.get_submodule(name) is network.get_submodule("2.2")
    features = network[:3](images.inputs(slice(None))).detach().double()
    expected = [features[:, unit].sum() / (250 * 4 * 4) for unit in range(UNITS)]
    found = mean_activations(network, name, images, CPU)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-6, atol=0)
    assert len(set(found.tolist())) == UNITS


def test_an_activation_that_runs_twice_is_no_part_of_the_last_convolution() -> None:
    activation = nn.ReLU()
    network = nn.Sequential(
        nn.Conv2d(1, 2, 1), activation, nn.Conv2d(2, 2, 1), activation, nn.Flatten()
    )
    assert prunable(network.eval(), torch.rand(1, 1, 2, 2)) == "2"
    with pytest.raises(UsageError, match="has no convolution to prune"):
        prunable(nn.Flatten(), torch.rand(1, 1, 2, 2))


def test_pruned_units_give_zero_and_nothing_else_changes() -> None:
    network, images = small_network(), random_images(20, 1).inputs(slice(None))
    removed = torch.tensor([1, 4])
    features = network[:3](images).detach()
    features[:, removed] = 0
    found = pruned(network, "2.2", removed, UNITS)
    torch.testing.assert_close(found(images), network[3:](features))
    assert not any(isinstance(module, UnitMask) for module in network.modules())


@pytest.mark.parametrize(("limit", "least"), [(0.0, 0), (0.1, 2), (1.0, UNITS - 1)])
def test_pruning_ends_where_a_naive_one_does_and_lasts(limit: float, least: int) -> None:
    network, images = small_network(), random_images(120, 1)
    inputs = images.inputs(slice(None))
    features = network[:3](inputs).detach()
    order = sorted(range(UNITS), key=lambda unit: float(features[:, unit].mean()))
    weights = last_layer(network).weight.data.view(CLASSES, UNITS, 4)
    weights[:, order[:2]] *= 0.01  # so that there is something to prune
    labels = network(inputs).argmax(dim=1)  # so that the whole network has accuracy 1
    clean = Images(images.pixels, labels)
    count = 0
    for more in range(1, UNITS):
        masked = features.clone()
        masked[:, order[:more]] = 0
        if float((network[3:](masked).argmax(dim=1) == labels).double().mean()) < 1 - limit:
            break
        count = more
    assert count >= least
    repaired = fine_pruning.repair(backdoored(network, clean, clean, prune_limit=limit))
    assert (repaired.pruned_units, repaired.units) == (count, UNITS)
    assert repaired.clean_images == 120
    (mask,) = (module for module in repaired.network.modules() if isinstance(module, UnitMask))
    assert mask.get_buffer("mask").flatten().nonzero().flatten().tolist() == sorted(order[count:])
    changed = [
        not torch.equal(a, b)
        for a, b in zip(network.parameters(), repaired.network.parameters(), strict=True)
    ]
    assert any(changed)


# --- Neural Cleanse -------------------------------------------------------------------------------
@pytest.mark.parametrize("count", [5, 10])
def test_the_anomaly_index_is_scipys(count: int) -> None:
    norms = np.random.default_rng(count).uniform(1, 30, count)
    deviation = median_abs_deviation(norms, scale="normal")
    expected = np.abs(norms - np.median(norms)) / deviation
    assert anomaly_indices(norms.tolist()) == pytest.approx(expected.tolist(), rel=1e-4)


def test_the_anomaly_index_of_equal_norms() -> None:
    assert anomaly_indices([4.0, 4.0, 4.0, 1.0, 4.0]) == [0, 0, 0, math.inf, 0]
    assert anomaly_indices([4.0, 4.0]) == [0, 0]


class _Corner(nn.Module):
    """Each class is the brightest of seven columns; a white pixel in the corner gives class 2."""

    def forward(self, images: Tensor) -> Tensor:
        logits = 20 * images[:, 0, 1:, :].mean(dim=1)
        corner = 40 * (images[:, 0, 0, 0] - 0.5).clamp(min=0)
        return logits + corner[:, None] * functional.one_hot(torch.tensor(2), 7)


def corner_images() -> Images:
    random = torch.Generator().manual_seed(0)
    labels = torch.arange(70) % 7
    pixels = torch.randint(0, 60, (70, 1, 7, 7), generator=random, dtype=torch.uint8)
    pixels[torch.arange(70), 0, 1:, labels] = 220
    pixels[:, 0, 0, 0] = 0
    return Images(pixels, labels)


def test_the_trigger_of_a_known_backdoor_is_recovered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_STEPS", 100)
    network, images = _Corner(), corner_images()
    assert network(images.inputs(slice(None))).argmax(dim=1).equal(images.labels)
    found = recovered_triggers(network, images, 7, torch.device("cpu"), 128, 5)
    assert [trigger.flagged for trigger in found] == [label == 2 for label in range(7)]
    trigger = found[2]
    assert int(trigger.mask.argmax()) == 0
    assert trigger.norm == pytest.approx(float(trigger.mask.sum()))
    assert trigger.anomaly_index > 2
    for label, one in enumerate(found):
        others = images.select((images.labels != label).nonzero().squeeze(1)).inputs(slice(None))
        reached = network(one(others)).argmax(dim=1) == label
        assert float(reached.double().mean()) == one.success_rate >= 0.99


def test_the_same_seed_recovers_the_same_triggers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "_STEPS", 5)
    network, images = small_network(), random_images(40, 1)
    first, again, other = (
        [
            trigger.pattern
            for trigger in recovered_triggers(network, images, CLASSES, CPU.device, 30, seed)
        ]
        for seed in (5, 5, 6)
    )
    assert all(a.equal(b) for a, b in zip(first, again, strict=True))
    assert not any(a.equal(b) for a, b in zip(first, other, strict=True))
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_where_no_trigger_works_it_covers_the_image() -> None:
    class Never(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return functional.one_hot(torch.zeros(len(images), dtype=torch.int64), 2) + (
                0 * images.sum()
            )

    images = Images(torch.zeros(6, 1, 3, 4, dtype=torch.uint8), torch.arange(6) % 2)
    always, never = recovered_triggers(Never(), images, 2, torch.device("cpu"), 128, 0)
    assert (always.success_rate, never.success_rate) == (1.0, 0.0)
    assert never.norm == 12
    assert always.norm < 6


def test_a_recovered_trigger_is_put_into_a_fifth_of_the_images() -> None:
    random = torch.Generator().manual_seed(0)
    mask, pattern = torch.rand(6, 6, generator=random), torch.rand(1, 6, 6, generator=random)
    trigger = RecoveredTrigger(mask, pattern, float(mask.sum()), 1.0, 3.0, True)
    images = random_images(30, 4)
    changed, rows = with_trigger(images, trigger, 0.2, 9)
    assert len(rows) == 6
    assert changed.labels.equal(images.labels)
    for row in range(30):
        pixels = images.pixels[row].float() / 255
        expected = pixels * (1 - mask) + mask * pattern if row in rows.tolist() else pixels
        torch.testing.assert_close(changed.pixels[row], expected)


def test_a_network_without_outlier_stays_and_one_with_it_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def planted(flagged: list[bool]) -> Callable[..., tuple[RecoveredTrigger, ...]]:
        return lambda *_: tuple(
            RecoveredTrigger(torch.ones(6, 6), torch.ones(1, 6, 6), 36.0 - label, 1.0, 2.5, mark)
            for label, mark in enumerate(flagged)
        )

    network, clean = small_network(), random_images(60, 1)
    given = backdoored(network, clean, clean)
    monkeypatch.setattr(recovery, "recovered_triggers", planted([False, False, False]))
    same = neural_cleanse.repair(given)
    assert same.network is network
    assert same.finding == "no class flagged, network unchanged"
    monkeypatch.setattr(recovery, "recovered_triggers", planted([False, True, True]))
    repaired = neural_cleanse.repair(given)
    assert repaired.finding == "class c flagged, anomaly index 2.50"
    assert repaired.network is not network
    assert not last_layer(repaired.network).weight.equal(last_layer(network).weight)


# --- anti-backdoor learning -----------------------------------------------------------------------
def test_local_ascent_is_its_formula_and_so_is_its_gradient() -> None:
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(12, 4, generator=random, dtype=torch.float64)
    labels = torch.arange(12) % 4
    logits[torch.arange(6), labels[:6]] += 4
    logits.requires_grad_()
    losses = [
        math.log(sum(math.exp(value) for value in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert 2 < sum(loss < 0.5 for loss in losses) < 10
    expected = sum(math.copysign(1, loss - 0.5) * loss for loss in losses) / 12
    found = LocalAscent(0.5).cross_entropy(logits, labels)
    assert float(found.detach()) == pytest.approx(expected)
    found.backward()
    signs = torch.tensor([math.copysign(1, loss - 0.5) for loss in losses])
    slope = logits.detach().softmax(dim=1) - functional.one_hot(labels, 4)
    torch.testing.assert_close(logits.grad, signs[:, None] * slope / 12)


def test_global_ascent_is_a_difference_of_two_means() -> None:
    network, images, isolated = small_network(), random_images(20, 1), random_images(5, 2)
    inputs, labels = images.tensors()
    loss, logits = GlobalAscent(isolated, 0.1)(network, inputs, labels, 0.5)
    wrong = functional.cross_entropy(network(isolated.inputs(slice(None))), isolated.labels)
    expected = functional.cross_entropy(network(inputs), labels, label_smoothing=0.1) - wrong
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits, network(inputs))


def test_images_of_the_smallest_loss_are_isolated() -> None:
    random = torch.Generator().manual_seed(1)
    logits, labels = torch.randn(40, 3, generator=random), torch.arange(40) % 3
    losses = functional.cross_entropy(logits, labels, reduction="none").tolist()
    order = sorted(range(40), key=lambda row: losses[row])
    isolated, others = isolated_rows(logits, labels, 0.1)
    assert isolated.tolist() == sorted(order[:4])
    assert others.tolist() == sorted(order[4:])
    assert [len(part) for part in isolated_rows(logits, labels, 0.001)] == [1, 39]
    assert [len(part) for part in isolated_rows(logits, labels, 0.999)] == [39, 1]


def test_anti_backdoor_learning_starts_anew_and_forgets_what_it_isolated() -> None:
    """A tenth of the images are white and of one class, and are learned first; the labels of the
    others follow from nothing."""
    train = random_images(90, 5)
    pixels, labels = train.pixels.clone(), train.labels.clone()
    pixels[:9] = 255
    labels[:9] = 1
    poisoned = Images(pixels, labels)

    class Unused(nn.Module):
        """A backdoored network that nothing may use."""

    given = replace(
        backdoored(Unused(), poisoned, random_images(30, 6), epochs=30),
        options=cnn.Options(epochs=20, batch_size=16, lr=1e-2),
    )
    repaired = abl.repair(given)
    assert repaired.isolated is not None
    assert len(repaired.isolated) == 9
    assert set(repaired.isolated.tolist()) == set(range(9))
    assert repaired.clean_images == 0
    white = Images(pixels[:9], labels[:9])
    assert int((given.logits(repaired.network, white).argmax(dim=1) == 1).sum()) == 0


# --- STRIP ----------------------------------------------------------------------------------------
def test_the_entropy_of_sums_is_that_of_a_loop() -> None:
    network, clean, images = small_network(), random_images(8, 1), random_images(7, 2)
    last_layer(network).weight.data *= 5

    @torch.no_grad()
    def logits(pixels: Tensor) -> Tensor:
        found: Tensor = network(pixels)
        return found

    found = strip.suspicion(InputEvidence(logits, clean, 4), images)
    for row in range(7):
        entropy = 0.0
        for other in range(8):  # as many as there are, so that each is drawn once
            total = (images.pixels[row].double() + clean.pixels[other].double()) / 255
            probabilities = logits(total.clamp(max=1).float()[None])[0].double().softmax(dim=0)
            entropy -= sum(p * math.log2(p) for p in probabilities.tolist()) / 8
        assert float(found[row]) == pytest.approx(-entropy, abs=1e-5)


def test_the_threshold_is_a_quantile_of_a_normal_distribution() -> None:
    values = torch.randn(50, generator=torch.Generator().manual_seed(0)).double()
    expected = norm.ppf(0.97, values.mean().item(), values.numpy().std(ddof=1))
    assert rejection_threshold(values, 0.03) == pytest.approx(expected)


# --- through the front door -----------------------------------------------------------------------
def npz_file(folder: Path) -> Path:
    """Three classes, each with a bright row of its own."""
    random = np.random.default_rng(0)
    labels = np.arange(420) % 3
    pixels = random.integers(0, 120, (420, 8, 8), dtype=np.uint8)
    pixels[np.arange(420), 1 + 2 * labels] = 230
    file = folder / "rows.npz"
    train, test = slice(0, 300), slice(300, 420)
    np.savez(
        file,
        x_train=pixels[train],
        y_train=labels[train],
        x_test=pixels[test],
        y_test=labels[test],
    )
    return file


def line_of(folder: Path, words: str) -> list[str]:
    line = f"poison cnn --dataset npz:{npz_file(folder)} --channels 2 --hidden 8 --epochs 4"
    line += f" --batch-size 50 --poison-rate 0.1 --patch 2 --out {folder}"
    epochs = "--repair-epochs 2" if "--repair " in words else ""
    return f"{line} {epochs} {words}".split()


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two seeds with every repair, and what was printed."""
    out = tmp_path_factory.mktemp("out")
    words = "--seeds 2 --repair fine_pruning neural_cleanse abl --detect-inputs strip"
    with pytest.MonkeyPatch.context() as patch, (out / "printed.txt").open("w") as printed:
        patch.setattr(recovery, "_STEPS", 10)
        patch.setattr("sys.stdout", printed)
        assert main(line_of(out, f"{words} --clean-images 24")) == 0
    return out, (out / "printed.txt").read_text()


def test_every_repair_is_measured(study: tuple[Path, str]) -> None:
    out, printed = study
    runs = sorted((out / "poison").iterdir())
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    for run, figures in zip(runs, metrics, strict=True):
        clean, last = figures["points"]
        assert [one["method"] for one in last["repairs"]] == [
            "fine_pruning",
            "neural_cleanse",
            "abl",
        ]
        assert [one["clean_images"] for one in last["repairs"]] == [24, 24, 0]
        for one in (*last["repairs"], *last["input_detections"]):
            after = one.get("repaired") or one["screened"]
            assert one["attack_success"] == after["success_rate"] - clean["success_rate"]
        pruning, cleanse, learning = last["repairs"]
        assert 0 <= pruning["pruned_units"] < pruning["units"] == 4
        assert [one["target"] for one in cleanse["triggers"]] == list("012")
        assert learning["isolated"] == 3
        assert 0 <= learning["isolated_poisoned"] <= 3
        (screening,) = last["input_detections"]
        assert 0 <= screening["auroc"] <= 1
        drawn = {"repairs.png", "neural_cleanse_triggers.png"}
        assert drawn <= {file.name for file in run.iterdir()}
    (whole,) = (out / "compare").iterdir()
    assert (whole / "repairs.png").exists()
    summary = json.loads((whole / "poison.json").read_text())["cnn"]["repairs"]
    assert [one["method"] for one in summary] == ["fine_pruning", "neural_cleanse", "abl", "strip"]
    successes = [figures["points"][1]["repairs"][2]["attack_success"] for figures in metrics]
    assert summary[2]["attack_success"]["mean"] == pytest.approx(sum(successes) / 2)
    assert "| abl " in (whole / "poison_rates.md").read_text()
    assert printed.count("| detector of inputs |") == 3


def test_a_listing_names_every_repair(
    study: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", "--out", str(study[0])]) == 0
    printed = capsys.readouterr().out
    for name in ("fine_pruning", "neural_cleanse", "abl", "strip"):
        assert f", with {name} " in printed
    _, methods = printed.split("repairs (advlab poison --repair NAME)\n")
    assert methods.startswith("  abl             Anti-backdoor learning: isolate")


def test_a_report_has_a_column_for_each_repair(
    study: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", "--out", str(study[0])]) == 0
    page = (study[0] / "index.html").read_text()
    for name in ("fine_pruning", "neural_cleanse", "abl", "strip"):
        assert f"attack success with {name}" in page


@pytest.mark.parametrize("name", component_names("advlab.poisoning.repairs"))
def test_repairs_are_given_clean_validation_images(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[BackdooredNetwork] = []

    def repair(backdoored: BackdooredNetwork) -> Repaired:
        given.append(backdoored)
        return Repaired(backdoored.network, "nothing")

    module = load_component("advlab.poisoning.repairs", name, "repair")
    monkeypatch.setattr(module, "repair", repair)
    words = f"--seeds 1 --repair {name} --clean-images 24 --name r"
    assert main(line_of(tmp_path, words)) == 0
    data = load(cnn.Options(dataset=f"npz:{tmp_path / 'rows.npz'}"))
    (one,) = given
    assert len(one.clean) == 24
    known = {
        image.numpy().tobytes(): label
        for image, label in zip(data.val.pixels, data.val.labels.tolist(), strict=True)
    }
    for image, label in zip(one.clean.pixels, one.clean.labels.tolist(), strict=True):
        assert known[image.numpy().tobytes()] == label
    figures = json.loads((tmp_path / "poison" / "r" / "metrics.json").read_text())["points"][1]
    assert figures["repairs"][0]["repaired"] == {
        key: figures[key] for key in ("accuracy", "success_rate")
    }


def test_rejections_are_counted_against_a_threshold_from_clean_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suspicion is the pixel of the trigger, so that every figure is known."""

    def suspicion(evidence: InputEvidence, images: Images) -> Tensor:
        assert len(evidence.clean) == 12
        return images.pixels[:, 0, 6, 6].double()

    monkeypatch.setattr(strip, "suspicion", suspicion)
    words = "--seeds 1 --detect-inputs strip --clean-images 24 --false-rejections 0.2 --name r"
    assert main(line_of(tmp_path, words)) == 0
    clean, last = json.loads((tmp_path / "poison" / "r" / "metrics.json").read_text())["points"]
    (one,) = last["input_detections"]
    corners = np.load(tmp_path / "rows.npz")["x_test"][:, 6, 6]
    assert 80 < one["threshold"] < 255
    rejected = float((corners > one["threshold"]).mean())
    assert 0 < rejected < 0.5
    assert one["false_rejection_rate"] == pytest.approx(rejected)
    assert one["false_acceptance_rate"] == 0
    assert one["auroc"] == pytest.approx(1)
    assert one["screened"]["success_rate"] == 0
    assert one["attack_success"] == -clean["success_rate"]
    accuracy = one["screened"]["accuracy"]
    assert last["accuracy"] - rejected <= accuracy + 1e-9
    assert accuracy <= min(last["accuracy"], 1 - rejected) + 1e-9


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("mlp --repair fine_pruning", "--repair fine_pruning: prunes a convolution, and mlp has"),
        ("cnn --repair fine-prunning", "did you mean 'fine_pruning'"),
        ("cnn --repair abl --attack flip", "--repair: is for backdoors, and --attack flip puts"),
        ("cnn --detect-inputs strip --attack flip", "--detect-inputs: is for backdoors"),
        ("cnn --repair abl --clean-images 181", "--clean-images 181: there are 180 validation"),
        ("cnn --clean-images 19", "--clean-images: must be at least 20"),
        ("cnn --isolate 1", "--isolate: must be less than 1"),
        ("cnn --repair abl --isolate 0.9995", "--isolate 0.9995: leaves fewer than two"),
        ("cnn --repair-epochs 3", "--repair-epochs: goes with a repair that uses it"),
        ("cnn --detect-inputs strip --isolate 0.1", "--isolate: goes with a repair that uses it"),
        ("bow --repair abl", "--repair"),
    ],
)
def test_bad_lines(
    line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = "" if line.startswith("bow") else "--dataset digits"
    assert main(f"poison {line} {dataset} --out {tmp_path}/out".split()) == 2
    printed = capsys.readouterr().err.strip()
    assert message in printed
    assert "\n" not in printed
    assert not (tmp_path / "out").exists()


def test_a_repair_that_destroys_the_network_says_so(study: tuple[Path, str]) -> None:
    out, _ = study
    metrics = next((out / "poison").iterdir()) / "metrics.json"
    result = ImagePoisonResult.model_validate_json(metrics.read_text())
    for majority, words in ((0.0, 0), (1.0, 3)):
        (table, _) = repair_tables([result.model_copy(update={"majority_accuracy": majority})])
        assert table.count("RUINED the network: no better than always the same answer") == words
    examples = result.examples.model_copy(update={"test": 2})
    few = {"majority_accuracy": 0.5, "examples": examples}
    (table, _) = repair_tables([result.model_copy(update=few)])
    assert table.count("2 test images are too few to tell whether the network is ruined") == 3
    assert "RUINED" not in table
