"""``advlab attack`` through the front door: what it reports is what its files hold."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
import yaml
from attack_cases import IN_BALLS
from PIL import Image
from safetensors.torch import load_file, save_file
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.config.options.run import DataOptions
from advlab.config.resolve import resolve
from advlab.data import load_images
from advlab.data.image_set import Images
from advlab.experiments.attack import run as attack_experiment
from advlab.metrics.classification import is_correct
from advlab.networks import checkpoint
from advlab.networks.classifier import assemble
from advlab.networks.metadata import ImageClassifierMetadata
from advlab.results.attack import AttackResult
from advlab.runs import results
from advlab.training.evaluate import EVALUATION_BATCH

CHEAPER = {
    "apgd": "--steps 10",
    "bb": "--steps 15",
    "cw": "--steps 30 --lr 0.2 --search-steps 5",
    "ddn": "--steps 30",
    "ead": "--steps 20 --search-steps 5",
    "fab": "--steps 10",
    "fmn": "--steps 30",
    "boundary": "--queries 300",
    "geoda": "--queries 300",
    "hopskipjump": "--queries 300",
    "square": "--queries 60",
    "simba": "--queries 300",
    "spsa": "--queries 200",
    "nes": "--queries 200",
    "onepixel": "--queries 100",
    "sparsers": "--queries 100",
    "universal": "--steps 5",
}


@dataclass(frozen=True)
class Result:
    """A finished attack: its folder and what it reported."""

    folder: Path
    metrics: dict[str, Any]

    def images(self, eps: float) -> dict[str, Tensor]:
        return load_file(self.folder / f"images-eps{eps:g}.safetensors")

    def same_bits(self, other: Result) -> bool:
        """Whether all image files hold the same tensors, but for the time they took."""
        mine, theirs = (
            {file.name: load_file(file) for file in at.folder.glob("images-*")}
            for at in (self, other)
        )
        assert mine
        return mine.keys() == theirs.keys() and all(
            torch.equal(one[key], theirs[name][key])
            for name, one in mine.items()
            for key in one
            if key != "seconds"
        )


def attack(runs: Path, out: Path, line: str, *, draw: bool = False) -> Result:
    """Run a line on a trained network. Without its pictures, which are nine tenths of the time,
    unless asked for."""
    before = set(out.glob("attack/*"))
    with pytest.MonkeyPatch.context() as patch:
        if not draw:
            patch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
        assert (
            main(
                [
                    "attack",
                    *line.split(),
                    "--checkpoint",
                    str(runs / "train" / "small"),
                    "--out",
                    str(out),
                ]
            )
            == 0
        )
    (folder,) = set(out.glob("attack/*")) - before
    return Result(folder, json.loads((folder / "metrics.json").read_text()))


Laboratory = Callable[[str], Result]


@pytest.fixture(scope="module")
def lab(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    """Runs a line once, however many tests look at what it left. They must leave it alone."""
    out, done = tmp_path_factory.mktemp("lab"), dict[str, Result]()

    def run(line: str) -> Result:
        if line not in done:
            done[line] = attack(runs, out, line)
        return done[line]

    return run


@pytest.fixture(scope="module")
def network(runs: Path) -> nn.Module:
    model, _ = checkpoint.load(runs / "train" / "small")
    return model.to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images.load(DataOptions(dataset="digits")).test


def answers(network: nn.Module, images: Tensor) -> Tensor:
    """Logits in the batches and the layout that every evaluation has, which is what makes them the
    same to the last bit."""
    with torch.no_grad():
        return torch.cat(
            [
                network(part.contiguous(memory_format=torch.channels_last))
                for part in images.split(EVALUATION_BATCH)
            ]
        )


def recomputed(network: nn.Module, digits: Images, result: Result, eps: float) -> float:
    """Robust accuracy from nothing but the saved images and the checkpoint. What was no task keeps
    its clean answer."""
    saved, count = result.images(eps), result.metrics["images"]
    robust = is_correct(answers(network, digits.inputs(slice(0, count))), digits.labels[:count])
    right = is_correct(answers(network, saved["perturbed"]), saved["labels"])
    assert torch.equal(saved["labels"], digits.labels[saved["index"]])
    tried = torch.zeros(count, dtype=torch.bool)
    tried[saved["index"]] = True
    robust[tried] = True
    robust[saved["index"][~right]] = False
    share: float = int(robust.sum()) / count
    return share


# --- what is reported -----------------------------------------------------------------------------
# The pictures are of the same kinds for all of them, so one attack's are painted.
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.painted if name == "pgd" else ()) for name in IN_BALLS],
)
def test_every_attack_writes_its_figures_and_pictures(
    name: str, runs: Path, tmp_path: Path
) -> None:
    norm = load_component("advlab.attacks", name, "attack").Options.model_fields.get("norm")
    eps = 3.0 if norm is not None and norm.default == "l0" else 0.1
    result = attack(
        runs, tmp_path, f"{name} --eps {eps:g} --limit 12 {CHEAPER.get(name, '')}", draw=True
    )
    metrics = result.metrics
    assert metrics["component"] == name
    assert metrics["dataset"] == "digits"
    assert metrics["images"] == 12
    assert metrics["eps"] == [eps]
    assert metrics["norm"] in (("linf", "l2") if norm is None else (norm.default,))
    assert metrics["seed"] == 0
    assert metrics["seconds"] > 0
    assert len(metrics["points"]) == 1
    assert 0 <= metrics["robust_accuracy"] <= metrics["clean_accuracy"] <= 1
    assert metrics["network"]["sha256"] == checkpoint.sha256(
        runs / "train" / "small" / "model.safetensors"
    )
    assert yaml.safe_load((result.folder / "config.yaml").read_text())["limit"] == 12
    for picture in result.folder.glob("*.png"):
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 200
        assert name != "pgd" or len(np.unique(pixels)) > 20, "it is not empty"
    assert (result.folder / "confusion.png").is_file()


LINES = [
    "fgsm --eps 0.1 --limit 120",
    "fgsm --norm l2 --eps 1.5 --limit 120",
    "fgsm --norm l1 --eps 20 --limit 120",
    "pgd --eps 0.1 --limit 120",
    "pgd --norm l1 --eps 10 --limit 60 --loss margin",
    "pgd --eps 0.1 --limit 60 --precision bf16 --restarts 2",
    "pgd --eps 0.1 --limit 60 --target 3 --steps 4",
    "lp --p 2 --eps 1 --limit 120",
    "lp --p inf --eps 0.1 --limit 60 --target least-likely",
    "noise --eps 0.3 --limit 120",
]


@pytest.mark.parametrize("line", LINES)
def test_the_reported_accuracy_is_that_of_the_saved_images(
    line: str, lab: Laboratory, network: nn.Module, digits: Images
) -> None:
    """Computed anew from the two files, to the last bit, whatever arithmetic the gradients were
    in."""
    result = lab(line)
    metrics, eps = result.metrics, result.metrics["eps"][-1]
    count = metrics["images"]
    assert (
        metrics["clean_accuracy"]
        == int(
            is_correct(
                answers(network, digits.inputs(slice(0, count))), digits.labels[:count]
            ).sum()
        )
        / count
    )
    assert metrics["robust_accuracy"] == recomputed(network, digits, result, eps)
    saved = result.images(eps)
    logits = answers(network, saved["perturbed"])
    assert torch.equal(saved["predicted"], logits.argmax(1))
    if metrics["target"] is None:
        was = is_correct(answers(network, digits.inputs(saved["index"])), saved["labels"])
        assert metrics["success_rate"] == pytest.approx(
            1 - metrics["robust_accuracy"] / metrics["clean_accuracy"]
        )
        assert int(was.sum()) / count == metrics["clean_accuracy"]
    else:
        assert (
            metrics["success_rate"]
            == int(is_correct(logits, saved["goal"]).sum()) / metrics["tasks"]
        )
    if "--precision" in line:
        assert metrics["machine"]["precision"] == "bf16"


@pytest.mark.parametrize("line", LINES)
def test_the_saved_images_lie_in_the_ball_and_in_the_range_and_their_sizes_are_reported(
    line: str, lab: Laboratory, digits: Images
) -> None:
    """eps is in pixels, though the network normalises them: measured against the data set's own
    bytes."""
    result = lab(line)
    eps, point = result.metrics["eps"][-1], result.metrics["points"][-1]
    saved = result.images(eps)
    perturbed, clean = saved["perturbed"], digits.inputs(saved["index"])
    assert perturbed.dtype == torch.float32
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    r = (perturbed.double() - clean.double()).flatten(1).numpy()
    order = {"linf": np.inf, "l2": 2, "l1": 1}[result.metrics["norm"]]
    size = np.linalg.norm(r, ord=order, axis=1)
    assert size.max() <= eps + 1e-6 + (1e-5 if order == 1 else 0)
    assert size.max() >= eps * (0.5 if order == 1 else 0.95), "what was asked for is used"
    changed = np.abs(r).max(axis=1) > 0
    assert point["changed"] == changed.sum() > 0
    assert point[f"{result.metrics['norm']}_max"] == pytest.approx(size.max(), rel=1e-6)
    pairs = [
        (one[0].double().numpy(), other[0].double().numpy())
        for one, other in zip(clean[changed], perturbed[changed], strict=True)
    ]
    psnr = [peak_signal_noise_ratio(one, other, data_range=1) for one, other in pairs]
    assert point["psnr_mean"] == pytest.approx(np.mean(psnr), rel=1e-6)
    ssim = [
        structural_similarity(
            one, other, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for one, other in pairs
    ]
    assert point["ssim_mean"] == pytest.approx(np.mean(ssim), rel=1e-6)


def test_gradients_do_better_than_noise(lab: Laboratory) -> None:
    noise, one_step, many = (
        lab(line).metrics["robust_accuracy"]
        for line in ("noise --eps 0.1 --limit 120", *LINES[0:4:3])
    )
    assert many < one_step < noise


# --- bytes ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "line",
    [
        "fgsm --eps 0.15",
        "fgsm --norm l2 --eps 2",
        "pgd --eps 0.1",
        "pgd --norm l1 --eps 15",
        "lp --p 3 --eps 0.8",
        "noise --eps 0.4",
    ],
)
def test_saved_bytes_still_fool_the_network(
    line: str, lab: Laboratory, network: nn.Module, digits: Images
) -> None:
    """Written as PNG files, read back, and judged."""
    result = lab(f"{line} --limit 60 --quantize")
    metrics, eps = result.metrics, result.metrics["eps"][-1]
    saved = result.images(eps)
    levels = saved["perturbed"] * 255
    assert torch.equal(saved["perturbed"], levels.round() / 255)
    back = []
    for image in levels.round().to(torch.uint8):
        file = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(file, format="PNG")
        back.append(torch.from_numpy(np.array(Image.open(file)))[None].float() / 255)
    share = int(is_correct(answers(network, torch.stack(back)), saved["labels"]).sum()) / 60
    assert share == metrics["robust_accuracy"] == recomputed(network, digits, result, eps)
    assert share <= metrics["clean_accuracy"] - 0.05
    r = (saved["perturbed"].double() - digits.inputs(saved["index"]).double()).flatten(1)
    order = {"linf": np.inf, "l2": 2, "l1": 1, "l3": 3}[metrics["norm"]]
    assert torch.linalg.vector_norm(r, ord=order, dim=1).max() <= eps + 1e-5


# --- curves ---------------------------------------------------------------------------------------
def test_a_curve_ignores_the_order_it_was_asked_in(
    lab: Laboratory, runs: Path, tmp_path: Path, network: nn.Module, digits: Images
) -> None:
    result = attack(runs, tmp_path, "fgsm --eps 0.3 0 0.05 0.1 --limit 120", draw=True)
    metrics = result.metrics
    eps, robust = (
        [point[key] for point in metrics["points"]] for key in ("eps", "robust_accuracy")
    )
    assert metrics["eps"] == eps == [0, 0.05, 0.1, 0.3]
    assert robust[0] == metrics["clean_accuracy"]
    assert robust[-1] == metrics["robust_accuracy"] < 0.5
    assert metrics["points"][0]["changed"] == 0
    for point in metrics["points"]:
        assert point["robust_accuracy"] == recomputed(network, digits, result, point["eps"])
    for picture in (
        "curve.png",
        "perceptibility.png",
        "flipped.png",
        "confusion.png",
        "attacked.png",
    ):
        assert (result.folder / picture).is_file()
    assert result.same_bits(lab("fgsm --eps 0.05 0.1 0 0.3 --limit 120"))


@pytest.mark.parametrize(
    "line",
    [
        "pgd --eps 0.02 0.05 0.1",
        "pgd --norm l1 --eps 2 5 10 --steps 8",
        "lp --p 1.5 --eps 1 2",
        "noise --eps 0.2 0.4",
    ],
)
def test_what_is_kept_as_it_broke_makes_every_curve_fall(
    line: str, lab: Laboratory, network: nn.Module, digits: Images
) -> None:
    result = lab(f"{line} --limit 60 --keep-broken")
    robust = [point["robust_accuracy"] for point in result.metrics["points"]]
    assert robust == sorted(robust, reverse=True)
    assert robust == [
        recomputed(network, digits, result, point["eps"]) for point in result.metrics["points"]
    ]
    for smaller, larger in zip(
        result.metrics["points"], result.metrics["points"][1:], strict=False
    ):
        before, after = result.images(smaller["eps"]), result.images(larger["eps"])
        fell = before["predicted"] != before["labels"]
        assert torch.equal(before["perturbed"][fell], after["perturbed"][fell])
        assert larger["attacked"] == int((~fell).sum())


@pytest.mark.parametrize("name", IN_BALLS)
def test_at_eps_zero_nothing_is_changed(name: str, lab: Laboratory, digits: Images) -> None:
    result = lab(f"{name} --eps 0 --limit 60")
    assert result.metrics["eps"] == [0]
    assert result.metrics["robust_accuracy"] == result.metrics["clean_accuracy"]
    assert result.metrics["success_rate"] == 0
    assert result.metrics["points"][0]["changed"] == result.metrics["points"][0]["attacked"] == 0
    assert torch.equal(result.images(0)["perturbed"], digits.inputs(slice(0, 60)))


# --- repetition -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "line",
    [
        "pgd --eps 0.1 --limit 60",
        "pgd --norm l1 --eps 5 --limit 60 --restarts 2",
        "noise --eps 0.3 --limit 60",
    ],
)
def test_the_same_seed_gives_the_same_bits_and_another_one_others(
    line: str, lab: Laboratory, runs: Path, tmp_path: Path
) -> None:
    first, again, other = (
        lab(line),
        attack(runs, tmp_path / "again", line),
        attack(runs, tmp_path / "other", f"{line} --seed 1"),
    )
    assert first.same_bits(again)
    assert first.metrics["robust_accuracy"] == again.metrics["robust_accuracy"]
    assert not first.same_bits(other)
    assert other.metrics["seed"] == 1


def test_a_run_is_repeated_by_its_configuration_file(
    lab: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
    first = lab("pgd --eps 0.1 --limit 60")
    assert main(["--config", str(first.folder / "config.yaml"), "--out", str(tmp_path)]) == 0
    (folder,) = tmp_path.glob("attack/*")
    assert folder.name == first.folder.name
    assert first.same_bits(Result(folder, {}))


def test_the_batch_size_changes_nothing(lab: Laboratory) -> None:
    """Noise to the last bit; PGD but for signs of gradients that are zero up to rounding.

    On the CPU: on a GPU the batch size chooses the algorithm of a convolution.
    """
    cpu = "--limit 60 --device cpu"
    for line in (f"noise --eps 0.3 {cpu}", f"noise --norm l2 --eps 4 {cpu}"):
        assert lab(line).same_bits(lab(f"{line} --batch-size 7"))
    few, many = (
        lab(f"pgd --eps 0.1 {cpu} --precision fp32 --batch-size {size}") for size in (7, 60)
    )
    assert abs(few.metrics["robust_accuracy"] - many.metrics["robust_accuracy"]) <= 1.01 / 60
    ours, theirs = (result.images(0.1)["perturbed"] for result in (few, many))
    assert float((ours - theirs).abs().gt(1e-4).float().mean()) < 0.01


def test_a_finished_attack_is_not_run_again_unless_it_is_to_be(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = attack(runs, tmp_path, "fgsm --limit 40")
    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
    written = {file: file.stat().st_mtime_ns for file in result.folder.iterdir()}
    capsys.readouterr()
    line = [
        "attack",
        "fgsm",
        "--limit",
        "40",
        "--checkpoint",
        str(runs / "train" / "small"),
        "--out",
        str(tmp_path),
    ]
    assert main(line) == 0
    said = capsys.readouterr().out
    assert "finished already" in said
    assert f"{100 * result.metrics['robust_accuracy']:.2f} %" in said
    assert {file: file.stat().st_mtime_ns for file in result.folder.iterdir()} == written
    kept = tmp_path / "kept"
    shutil.copytree(result.folder, kept)
    assert main([*line, "--overwrite"]) == 0
    assert "finished already" not in capsys.readouterr().out
    assert (
        result.folder.joinpath("metrics.json").stat().st_mtime_ns
        != written[result.folder / "metrics.json"]
    )
    assert result.same_bits(Result(kept, {}))


def test_a_run_on_a_network_that_was_trained_anew_since_is_not_taken_for_one_on_it(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
    victim = tmp_path / "victim.safetensors"
    shutil.copy(runs / "train" / "small" / "model.safetensors", victim)
    line = ["attack", "fgsm", "--limit", "20", "--checkpoint", str(victim), "--out", str(tmp_path)]
    assert main(line) == 0
    shutil.copy(runs / "train" / "other" / "model.safetensors", victim)
    capsys.readouterr()
    assert main(line) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0
    (folder,) = tmp_path.glob("attack/*")
    assert json.loads((folder / "metrics.json").read_text())["network"]["model"] == "mlp"


def test_an_attack_that_was_stopped_goes_on(
    lab: Laboratory, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was finished of a curve is kept; the end is that of an unbroken run."""
    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
    whole = lab("pgd --eps 0.05 0.1 --limit 60")
    folder = tmp_path / "attack" / whole.folder.name
    line = ["pgd", "--eps", "0.05", "0.1", "--limit", "60"]
    typed = ["attack", *line, "--checkpoint", str(runs / "train/small"), "--out", str(tmp_path)]
    save = attack_experiment._save_images

    def stopping(at: Path, point: Any, tasks: Any) -> None:
        save(at, point, tasks)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(attack_experiment, "_save_images", stopping)
        assert main(typed) == 130
    assert not (folder / "images-eps0.1.safetensors").exists()
    kept = (folder / "images-eps0.05.safetensors").read_bytes()
    assert main(typed) == 0
    assert (folder / "images-eps0.05.safetensors").read_bytes() == kept
    assert whole.same_bits(Result(folder, {}))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["robust_accuracy"] == whole.metrics["robust_accuracy"]


def test_the_victims_files_are_left_alone(runs: Path, tmp_path: Path) -> None:
    folder = runs / "train" / "small"
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    attack(runs, tmp_path, "pgd --eps 0.1 --limit 20 --steps 2")
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before


# --- targets --------------------------------------------------------------------------------------
def test_a_target_counts_only_images_of_other_classes(
    lab: Laboratory, network: nn.Module, digits: Images
) -> None:
    """Label and target are not confused, and no image that was there already is passed off as a
    success."""
    result = lab("pgd --eps 0.2 --limit 60 --target 3")
    metrics, saved = result.metrics, result.images(0.2)
    assert metrics["target"] == "3"
    assert metrics["tasks"] == int((digits.labels[:60] != 3).sum()) == len(saved["index"])
    assert (saved["goal"] == 3).all()
    assert (saved["labels"] != 3).all()
    reached = saved["predicted"] == 3
    assert metrics["success_rate"] == int(reached.sum()) / metrics["tasks"] > 0.5
    clean = digits.inputs(saved["index"])
    was = answers(network, clean).argmax(1)
    moved = (saved["perturbed"] - clean).flatten(1).abs().amax(1) > 0
    assert (moved | (was == 3))[reached].all()
    assert metrics["robust_accuracy"] == recomputed(network, digits, result, 0.2)


def test_going_for_the_target_reaches_it_more_often_than_fleeing_does(lab: Laboratory) -> None:
    towards, away = lab("pgd --eps 0.2 --limit 60 --target 3"), lab("pgd --eps 0.2 --limit 60")
    labels, predicted = away.images(0.2)["labels"], away.images(0.2)["predicted"]
    by_chance = float((predicted[labels != 3] == 3).float().mean())
    assert towards.metrics["success_rate"] > by_chance + 0.3
    assert towards.metrics["robust_accuracy"] >= away.metrics["robust_accuracy"], (
        "one way out of nine, and the threes stay"
    )


def test_next_and_least_likely_are_what_they_say(
    lab: Laboratory, network: nn.Module, digits: Images
) -> None:
    after = lab("pgd --eps 0.2 --limit 60 --target next")
    saved = after.images(0.2)
    assert torch.equal(saved["goal"], (saved["labels"] + 1) % 10)
    assert after.metrics["tasks"] == 60
    unlikely = lab("pgd --eps 0.2 --limit 60 --target least-likely")
    saved = unlikely.images(0.2)
    assert unlikely.metrics["tasks"] == 60
    logits = answers(network, digits.inputs(saved["index"]))
    for goal, label, row in zip(
        saved["goal"].tolist(), saved["labels"].tolist(), logits, strict=True
    ):
        assert goal != label
        assert float(row[goal]) == min(float(row[other]) for other in range(10) if other != label)
    assert unlikely.metrics["success_rate"] < after.metrics["success_rate"] + 0.05


def test_each_target_is_tried_and_drawn(
    runs: Path, tmp_path: Path, network: nn.Module, digits: Images
) -> None:
    result = attack(runs, tmp_path, "pgd --eps 0.2 --limit 20 --target each --steps 5", draw=True)
    saved = result.images(0.2)
    pairs = set(zip(saved["index"].tolist(), saved["goal"].tolist(), strict=True))
    assert pairs == {
        (image, goal) for image in range(20) for goal in range(10) if goal != digits.labels[image]
    }
    assert result.metrics["tasks"] == 20 * 9
    assert (result.folder / "targets.png").is_file()
    assert result.metrics["robust_accuracy"] == recomputed(network, digits, result, 0.2)
    assert result.metrics["success_rate"] == int((saved["predicted"] == saved["goal"]).sum()) / 180


# --- one image ------------------------------------------------------------------------------------
@pytest.mark.painted
def test_one_image_is_attacked_and_shown(runs: Path, tmp_path: Path, digits: Images) -> None:
    result = attack(runs, tmp_path, "lp --p 3 --image 7 --eps 1 2", draw=True)
    assert result.metrics["images"] == result.metrics["tasks"] == 1
    assert result.metrics["norm"] == "l3"
    assert [file.name for file in result.folder.glob("*.png")] == ["attacked.png"]
    with Image.open(result.folder / "attacked.png") as picture:
        assert len(np.unique(np.asarray(picture))) > 20
    saved = result.images(1)
    assert saved["labels"].tolist() == [int(digits.labels[7])]
    r = saved["perturbed"] - digits.inputs(slice(7, 8))
    assert float(torch.linalg.vector_norm(r.flatten(), ord=3)) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
    "line",
    [
        "noise --eps 0.2",
        "pgd --eps 0.1 --precision fp32 --device cpu",
        "pgd --eps 0.3 --target each --steps 3 --precision fp32 --device cpu",
    ],
)
def test_an_image_alone_gets_what_it_gets_among_all(line: str, runs: Path, tmp_path: Path) -> None:
    alone = attack(runs, tmp_path / "alone", f"{line} --image 7").images(float(line.split()[2]))
    among = attack(runs, tmp_path / "among", f"{line} --limit 9").images(float(line.split()[2]))
    its_own = among["index"] == 7
    assert set(alone["index"].tolist()) == {7}
    assert torch.equal(alone["goal"], among["goal"][its_own])
    # A convolution's last bit depends on its batch, and may turn a step; other random numbers would
    # move every pixel.
    assert float((alone["perturbed"] - among["perturbed"][its_own]).abs().mean()) < 1e-3


def test_one_image_towards_each_other_class(runs: Path, tmp_path: Path, digits: Images) -> None:
    result = attack(runs, tmp_path, "pgd --image 3 --eps 0.3 --target each --steps 5")
    saved = result.images(0.3)
    assert sorted(saved["goal"].tolist()) == [
        goal for goal in range(10) if goal != digits.labels[3]
    ]
    assert saved["labels"].tolist() == [int(digits.labels[3])] * 9


# --- transfer -------------------------------------------------------------------------------------
def test_transfer_judges_by_the_victim_what_was_made_on_the_surrogate(
    lab: Laboratory, runs: Path, network: nn.Module, digits: Images
) -> None:
    white = lab("pgd --eps 0.15 --limit 120")
    black = lab(f"pgd --eps 0.15 --limit 120 --surrogate {runs / 'train' / 'other'}")
    noise = lab("noise --eps 0.15 --limit 120")
    assert black.metrics["robust_accuracy"] == recomputed(network, digits, black, 0.15)
    assert (
        white.metrics["robust_accuracy"]
        < black.metrics["robust_accuracy"]
        < noise.metrics["robust_accuracy"]
    )
    assert black.metrics["surrogate"]["model"] == "mlp"
    assert black.metrics["network"]["model"] == "cnn"
    other, _ = checkpoint.load(runs / "train" / "other")
    saved = black.images(0.15)
    at_home = float(is_correct(answers(other, saved["perturbed"]), saved["labels"]).float().mean())
    assert at_home < black.metrics["robust_accuracy"], (
        "they fool the network they were made on more than the one they were not"
    )


# --- no network yet -------------------------------------------------------------------------------
def test_without_a_network_one_is_trained_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from advlab.models import mlp

    monkeypatch.setattr(mlp.Options, "usual_epochs", 1)
    monkeypatch.setattr(mlp.Options, "least_steps", 1)
    monkeypatch.setattr("advlab.experiments.attack.run.draw", lambda *given: None)
    monkeypatch.chdir(tmp_path)
    line = ["attack", "fgsm", "--model", "mlp", "--limit", "20"]
    assert main(line) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("data set: digits, 1,437 + 360")
    assert said[1].endswith("training one first, mlp for 1 epoch of 1,257 images")
    (trained,) = Path("samples/train").iterdir()
    (folder,) = Path("samples/attack").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["network"]["sha256"] == checkpoint.sha256(trained / "model.safetensors")
    assert main([*line, "--eps", "0.2"]) == 0
    assert "training one first" not in capsys.readouterr().out, "the newest one is taken"


def test_without_a_word_on_the_network_the_newest_of_any_kind_is_taken(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``train/other``, an mlp, is newer than ``train/small``, a cnn; on another data set neither
    fits."""
    out = tmp_path / "samples"
    shutil.copytree(runs / "train", out / "train")
    line = ["attack", "fgsm", "--dataset", "digits", "--limit", "20", "--out", str(out)]
    assert main(line) == 0
    assert "training one first" not in capsys.readouterr().out
    (folder,) = (out / "attack").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["model"] == "mlp"
    assert metrics["network"]["sha256"] == checkpoint.sha256(
        out / "train" / "other" / "model.safetensors"
    )
    assert main([*line, "--model", "cnn"]) == 0
    assert len(list((out / "attack").iterdir())) == 2


# --- what is refused ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fgsm --image 360", "360 test images, numbered 0 to 359"),
        ("fgsm --image -1", "--image"),
        ("fgsm --target 10", "no such class"),
        ("fgsm --target -1", "--target"),
        ("fgsm --target nine", "no such class"),
        ("fgsm --target least-likly", "least-likely"),
        ("fgsm --image 0 --target {label}", "already"),
        ("fgsm --dataset mnits", "mnist"),
        ("fgsm --eps 2", "L∞ radius above 1"),
        ("lp --p inf --eps 1.5", "L∞ radius above 1"),
        ("sigmazero --eps 1.5", "L0 radius is a number of pixels"),
        ("fmn --norm l0 --eps 0.1", "--eps 0.1: an L0 radius is a number of pixels"),
        ("fgsm --eps -0.1", "--eps"),
        ("fgsm --eps nan", "--eps"),
        ("fgsm --norm l3", "--norm"),
        ("lp --p 0.5", "--p"),
        ("lp --p 200", "between 1 and 100"),
        ("pgd --steps 0", "--steps"),
        ("pgd --restarts 0", "--restarts"),
        ("pgd --eps 0.1 --step-size 0.3", "longer than the ball is wide"),
        ("fgsm --limit 0", "--limit"),
        ("fgsm --steps 3", "--steps"),
        ("fsgm", "fgsm"),
        ("fgsm --checkpoint nowhere.safetensors", "no checkpoint at nowhere.safetensors"),
        ("fgsm --checkpoint .", "holds no model.safetensors"),
        ("fgsm --surrogate nowhere", "--surrogate: no checkpoint at nowhere"),
    ],
)
def test_what_cannot_be_attacked_is_refused_before_a_network_is_trained(
    line: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    digits: Images,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["attack", *line.format(label=int(digits.labels[0])).split()]) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_network_is_no_surrogate_of_itself(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(runs / "train" / "small")
    line = ["attack", "fgsm", "--model", place, "--surrogate", f"{place}/model.safetensors"]
    assert main([*line, "--out", str(tmp_path)]) == 2
    assert "is the network that is attacked" in capsys.readouterr().err


class Bomb:
    """Unpickled, it writes a file."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("exploded", "w"))


@pytest.mark.parametrize("option", ["--checkpoint", "--surrogate"])
def test_a_pickle_is_refused_and_never_run(
    option: str,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bomb.safetensors").write_bytes(pickle.dumps(Bomb()))
    torch.save({"weight": Bomb()}, "bomb.pt")
    for file in ("bomb.safetensors", "bomb.pt"):
        victim = [] if option == "--checkpoint" else ["--checkpoint", str(runs / "train" / "small")]
        assert main(["attack", "fgsm", *victim, option, file]) == 2
        printed = capsys.readouterr().err
        assert file in printed
        assert len(printed.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bomb.pt", "bomb.safetensors"]


@pytest.mark.parametrize("option", ["--checkpoint", "--surrogate"])
def test_a_network_for_other_images_and_a_stranger_are_refused(
    option: str,
    runs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of another shape, of other classes, and a file of weights without metadata."""
    from advlab.models import mlp

    monkeypatch.chdir(tmp_path)
    for file, shape, classes in (("colour", (3, 28, 28), 10), ("three", (1, 28, 28), 3)):
        architecture = mlp.Architecture(width=4)
        made = assemble("mlp", architecture, shape, classes, [0.5] * shape[0], [0.5] * shape[0])
        card = ImageClassifierMetadata(
            model="mlp",
            architecture=architecture.model_dump(),
            shape=shape,
            classes=tuple(map(str, range(classes))),
            dataset="digits",
            data={"split_seed": 0},
        )
        checkpoint.save(Path(f"{file}.safetensors"), made, card)
    save_file({"weight": torch.zeros(2)}, "stranger.safetensors")
    before = sorted(path.name for path in tmp_path.iterdir())
    for file, said in (
        ("colour", "3 × 28 × 28"),
        ("three", "in 3 classes"),
        ("stranger", "carries no metadata"),
    ):
        victim = [] if option == "--checkpoint" else ["--checkpoint", str(runs / "train" / "small")]
        assert main(["attack", "pgd", *victim, option, f"{file}.safetensors"]) == 2
        printed = capsys.readouterr().err
        assert said in printed
        assert f"{file}.safetensors" in printed
        assert len(printed.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_checkpoint_whose_set_is_not_here_is_refused(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    network, card = checkpoint.load(runs / "train" / "small")
    checkpoint.save(
        Path("elsewhere.safetensors"), network, card.model_copy(update={"dataset": "mnist"})
    )
    for command in ("attack fgsm", "evaluate"):
        assert main([*command.split(), "--checkpoint", "elsewhere.safetensors"]) == 2
        printed = capsys.readouterr().err
        assert "elsewhere.safetensors was trained on mnist" in printed
        assert len(printed.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["elsewhere.safetensors"]


def test_gradients_that_cannot_be_used_are_named_and_survive_a_resumption(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the count, an attack that stands still looks like a robust network."""
    (tmp_path / "rounds.py").write_text(
        "import torch\n\n\nclass Rounds(torch.nn.Module):\n"
        "    def forward(self, x):\n"
        "        return (x.detach() * 15).round().flatten(1)[:, 200:210]\n"
    )
    line = f"attack pgd --model {tmp_path}/rounds.py:Rounds --dataset digits --limit 20"
    budget = f"--eps 0.05 0.1 --steps 3 --name a --out {tmp_path}/s --device cpu"
    assert main([*line.split(), *budget.split()]) == 0
    said = capsys.readouterr().out
    file = tmp_path / "s/attack/a/metrics.json"
    counts = [point["unusable_gradients"] for point in json.loads(file.read_text())["points"]]
    assert min(counts) > 0
    assert f"CHECK FAILED: unusable gradients: {sum(counts):,} times" in said
    file.unlink()  # as if it had been killed before the result was written
    assert main([*line.split(), *budget.split()]) == 0
    again = [point["unusable_gradients"] for point in json.loads(file.read_text())["points"]]
    assert again == counts


# --- the smallest perturbations -------------------------------------------------------------------
SEARCHES = ["ddn --eps 1 100 --steps 30", "fab --minimal --norm l2 --eps 1 100 --steps 5"]


@pytest.mark.parametrize("line", SEARCHES, ids=["ddn", "fab"])
def test_the_distribution_is_that_of_the_saved_images(
    line: str, lab: Laboratory, network: nn.Module, digits: Images
) -> None:
    result = lab(f"{line} --limit 60")
    found, metrics = result.metrics["smallest"], result.metrics
    saved = result.images(100)
    clean = digits.inputs(saved["index"])
    right = is_correct(answers(network, clean), saved["labels"])
    broken = ~is_correct(answers(network, saved["perturbed"]), saved["labels"])
    sizes = (saved["perturbed"].double() - clean.double()).flatten(1).norm(dim=1)
    norms = torch.where(broken, sizes, torch.inf)[right]
    assert found["eps"] == 100
    assert found["images"] == int(right.sum()) == 60 * metrics["clean_accuracy"]
    assert found["broken"] == int(broken[right].sum())
    for name, fraction in (("lower_quartile", 0.25), ("median", 0.5), ("upper_quartile", 0.75)):
        inside = [(norms <= found[name] * scale).double().mean() for scale in (1 - 1e-9, 1 + 1e-9)]
        assert inside[0] < fraction <= inside[1]
    for norm, accuracy in found["curve"]:
        assert accuracy == int((norms > norm * (1 + 1e-9)).sum()) / 60
    # The run at a small radius is one point of the curve of the run at a large one.
    for point in metrics["points"]:
        (*_, accuracy) = (left for norm, left in found["curve"] if norm <= point["eps"])
        assert accuracy == point["robust_accuracy"]


def test_what_was_not_broken_within_eps_counts_as_infinitely_far(lab: Laboratory) -> None:
    found = lab("ddn --eps 0.3 --steps 30 --limit 60").metrics["smallest"]
    assert 0 < found["broken"] < found["images"] / 4
    assert found["lower_quartile"] is found["median"] is found["upper_quartile"] is None
    assert (
        found["curve"][-1][1]
        == lab("ddn --eps 0.3 --steps 30 --limit 60").metrics["robust_accuracy"]
    )


def test_with_several_targets_the_nearest_counts(lab: Laboratory) -> None:
    one = lab("deepfool --norm l2 --eps 100 --target 3 --limit 12").metrics["smallest"]
    each = lab("deepfool --norm l2 --eps 100 --target each --limit 12").metrics["smallest"]
    assert each["images"] == 12
    assert each["broken"] == 12
    assert each["median"] < one["median"]


def test_images_of_the_target_class_are_neither_near_nor_far(
    lab: Laboratory, network: nn.Module, digits: Images, capsys: pytest.CaptureFixture[str]
) -> None:
    result = lab("ddn --eps 100 --steps 30 --target 3 --limit 60")
    found, saved = result.metrics["smallest"], result.images(100)
    threes = int((digits.labels[:60] == 3).sum())
    assert 1 < threes < 20
    right = is_correct(answers(network, digits.inputs(saved["index"])), saved["labels"])
    sizes = (saved["perturbed"].double() - digits.inputs(saved["index"]).double()).flatten(1)
    norms = torch.where(saved["predicted"] == 3, sizes.norm(dim=1), torch.inf)[right]
    assert found["images"] == len(norms) <= 60 - threes
    assert (norms <= found["median"] * (1 + 1e-9)).double().mean() >= 0.5
    assert (norms <= found["median"] * (1 - 1e-9)).double().mean() < 0.5
    assert found["curve"][-1][1] == result.metrics["robust_accuracy"]
    note = f"over all 60 images; the {threes} of the target class are not attacked"
    assert note in capsys.readouterr().out


@pytest.mark.parametrize("line", ["fab --steps 5 --limit 20", "pgd --limit 20"])
def test_attacks_that_stop_within_eps_report_no_distribution(line: str, lab: Laboratory) -> None:
    assert lab(line).metrics["smallest"] is None


def test_images_made_on_another_network_have_no_smallest_perturbation(
    lab: Laboratory, runs: Path
) -> None:
    result = lab(f"ddn --steps 10 --limit 20 --surrogate {runs / 'train' / 'other'}")
    assert result.metrics["smallest"] is None


def test_a_result_from_before_the_distribution_is_read(lab: Laboratory, tmp_path: Path) -> None:
    metrics = dict(lab("pgd --limit 20").metrics)
    del metrics["smallest"]
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    found = results.read_as(AttackResult, tmp_path)
    assert found.smallest is None
    assert found.robust_accuracy == metrics["robust_accuracy"]


def test_the_distribution_is_printed_and_drawn(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = attack(runs, tmp_path, "ddn --eps 100 0.3 --steps 30 --limit 30", draw=True)
    found, text = result.metrics["smallest"], capsys.readouterr().out
    assert "norm of the smallest perturbation (L2)" in text
    row = next(line for line in text.splitlines() if "classified correctly" in line)
    assert f"{found['median']:.4g}" in row
    assert (result.folder / "norms.png").is_file()
    read = results.read_as(AttackResult, result.folder)
    assert read.headline_value() == found["median"]
    assert read.summary() == f"median L2 norm {found['median']:.4g} at ε = 100 (L2)"
    capsys.readouterr()
    attack(runs, tmp_path, "ddn --eps 0.3 --steps 30 --limit 30")
    row = next(line for line in capsys.readouterr().out.splitlines() if "of the 30 images" in line)
    assert row.count("> 0.3") == 3


def test_few_search_steps_are_remarked_on(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"attack cw --model {runs / 'train' / 'small'} --limit 2 --steps 1 --out {tmp_path}"
    assert main([*line.split(), "--search-steps", "4"]) == 0
    assert "cw: few search steps" in capsys.readouterr().out
    assert main([*line.split(), "--search-steps", "5"]) == 0
    assert "few search steps" not in capsys.readouterr().out


def norms_of(attack: str) -> tuple[str, ...]:
    norm = load_component("advlab.attacks", attack, "attack").Options.model_fields.get("norm")
    return () if norm is None else get_args(norm.annotation)


COUNTING = [name for name in component_names("advlab.attacks") if "l0" in norms_of(name)]


@pytest.mark.parametrize("attack", COUNTING)
def test_without_a_radius_a_norm_that_counts_pixels_gets_a_number_of_pixels(attack: str) -> None:
    (cell,) = resolve("attack", [attack], {"norm": "l0"}, None).cells
    assert cell.options.eps == [1.0 if attack == "onepixel" else 10.0]
