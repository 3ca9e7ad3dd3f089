"""``advlab defend`` through the front door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from advlab.cli.main import main
from advlab.components import component_names
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.experiments.defend.robustness import NaiveVictim
from advlab.experiments.defend.run import undefended
from advlab.experiments.defend.seeds import sentence
from advlab.logs import collected
from advlab.metrics.classification import accuracy
from advlab.networks import checkpoint
from advlab.perturbation.goal import Goal
from advlab.perturbation.victim import Victim
from advlab.results.defend import (
    Abstentions,
    Certificates,
    CertifiedPoint,
    Comparison,
    DefendResult,
    MeanRadii,
)
from advlab.runs.machine import Machine
from advlab.runs.results import NetworkRecord, images_from
from advlab.runs.table import percent

DEFENCES = component_names("advlab.defenses")
SMALL = (
    "--dataset digits --model mlp --width 16 --train-size 100 --epochs 2 --batch-size 50 "
    "--precision fp32 --limit 60 --seeds 1"
)
CHEAPER = {"smooth": "--certify 6 --samples 50 --select 10", "free": "--replays 2"}


def defend(line: str) -> int:
    return main(["defend", *line.split()])


def metrics(pattern: str = "samples/defend/*/metrics.json") -> dict[str, Any]:
    (file,) = Path().glob(pattern)
    found: dict[str, Any] = json.loads(file.read_text())
    return {**found, "folder": file.parent}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


PAINTED = ("pgd", "smooth", "filter")
"""Defences whose pictures are painted; those of the others are of the same kinds."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.painted if name in PAINTED else ()) for name in DEFENCES],
)
def test_every_defence_runs_and_compares_with_the_same_network_undefended(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{name} {SMALL} {CHEAPER.get(name, '')}"
    assert defend(line) == 0
    said = capsys.readouterr().out
    assert said.startswith("data set: digits")
    result = metrics()
    folder = result["folder"]
    plain = metrics("samples/train/*/metrics.json")
    assert result["component"] == name
    assert result["model"] == plain["model"] == "mlp"
    assert result["seed"] == plain["seed"] == 0
    assert result["undefended"]["sha256"] == plain["checkpoint_sha256"]
    shares = result["accuracies"]
    assert set(shares) == {"undefended", "defended"}
    assert {"clean", "FGSM", "PGD"} <= set(shares["undefended"])
    assert result["robust_accuracy"] == min(
        share for situation, share in shares["defended"].items() if situation != "clean"
    )
    test = load_images.load(DataOptions(dataset="digits")).test
    for who, place in (("undefended", plain["folder"]), ("defended", folder)):
        network, card = checkpoint.load(place)
        with torch.no_grad():
            logits = network(test.inputs(slice(0, 60)))
        assert shares[who]["clean"] == pytest.approx(accuracy(logits, test.labels[:60]))
        assert card.architecture["width"] == 16
    for picture in {"trade.png", "confusion.png"} | {file.name for file in folder.glob("*.png")}:
        with Image.open(folder / picture) as image:
            assert name not in PAINTED or len(np.unique(np.asarray(image.convert("L")))) > 20
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert defend(line) == 0
    assert "finished already" in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in folder.iterdir()}


def test_several_seeds_end_in_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert defend(f"augment {SMALL.removesuffix('--seeds 1')} --seeds 2") == 0
    said = capsys.readouterr().out
    (folder,) = Path().glob("samples/compare/*")
    assert {"answer.md", "table.md", "metrics.json", "trade.png", "comparison.png"} <= {
        file.name for file in folder.iterdir()
    }
    answer = (folder / "answer.md").read_text()
    assert "augment: accuracy under attack" in answer
    assert "95 % interval" in answer
    assert all(line in said for line in answer.splitlines()[:2])
    for row in ("undefended", "defended"):
        assert any(row in line and "±" in line for line in answer.splitlines())
    assert len(list(Path().glob("samples/train/*"))) == 2, "an undefended network for each seed"


def test_a_verdict_stands_beside_the_accuracy_under_attack(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It is that of ``advlab evaluate`` on the same network and images, and at most as high."""
    small = SMALL.replace("--epochs 2", "--epochs 20")
    line = f"pgd {small} --eps 0.02 --check-images 0 --verdict quick"
    assert defend(line) == 0
    said = capsys.readouterr().out
    result, evaluated = metrics(), metrics("samples/evaluate/*/metrics.json")
    verdict = result["verdict"]
    assert verdict["folder"] == str(evaluated["folder"])
    assert evaluated["network"]["sha256"] == result["checkpoint_sha256"]
    for name in ("clean_accuracy", "robust_accuracy", "believable", "checks_failed"):
        assert verdict[name] == evaluated[name]
    assert (evaluated["images"], evaluated["norm"], evaluated["eps"]) == (60, "linf", [0.02])
    assert verdict["clean_accuracy"] == pytest.approx(result["clean_accuracy"])
    assert 0.1 < verdict["robust_accuracy"] <= result["robust_accuracy"]
    (row,) = (text for text in said.splitlines() if text.startswith("| verdict of the quick suite"))
    assert f"≤ {100 * verdict['robust_accuracy']:.2f} %" in row
    assert (evaluated["folder"] / "verdict.json").is_file()


def test_an_unknown_suite_is_refused_before_any_training(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert defend(f"pgd {SMALL} --verdict standart") == 2
    said = capsys.readouterr()
    assert "standard" in said.err + said.out
    assert not Path("samples").exists()


def test_augmentation_asks_for_three_seeds_by_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["defend", "augment", "--print-config"]) == 0
    assert "seeds: 3" in capsys.readouterr().out


def member(plain: float, defended: float, fgsm: float | None = None) -> DefendResult:
    """A result in which PGD leaves these fractions of the two networks."""
    accuracies = Comparison(
        undefended={"clean": 0.99, "PGD": plain},
        defended={"clean": 0.98, "FGSM": defended + 0.1 if fgsm is None else fgsm, "PGD": defended},
    )
    return DefendResult(
        command="defend",
        component="pgd",
        dataset="mnist",
        origin="nothing",
        model="cnn",
        seed=0,
        seconds=1.0,
        machine=Machine(torch.device("cpu"), "fp32").describe(),
        norm="linf",
        eps=[0.1],
        clean_accuracy=0.98,
        robust_accuracy=defended,
        accuracies=accuracies,
        images=60,
        classes=10,
        undefended=NetworkRecord(model="cnn", sha256="0" * 64),
        checkpoint="model.safetensors",
        checkpoint_sha256="1" * 64,
    )


def test_the_sentence_weighs_the_difference_against_the_spread() -> None:
    """Paired by seed: 30 points every time are sure, however much the seeds differ; +3, -2, +1 are
    not."""
    sure = sentence("augment", [member(0.1, 0.4), member(0.3, 0.61), member(0.5, 0.79)])
    assert "+30.00 points" in sure
    assert "exceeds the spread" in sure
    unsure = sentence("augment", [member(0.5, 0.53), member(0.5, 0.48), member(0.5, 0.51)])
    assert "within the spread" in unsure
    assert "do not tell" in unsure
    assert "single run" in sentence("pgd", [member(0.1, 0.4)])


def test_a_smoothed_network_is_judged_by_its_certified_radius() -> None:
    """Accuracy under attack is of the network without noise, and says nothing of the other."""

    def smoothed(undefended: float, defended: float) -> DefendResult:
        radii = MeanRadii(undefended=undefended, defended=defended)
        certificates = Certificates(
            sigma=0.5,
            alpha=0.001,
            samples=1000,
            images=200,
            abstained=Abstentions(undefended=0, defended=0),
            points=[CertifiedPoint(radius=0.0, undefended=0.9, defended=0.9)],
            mean_radius=radii,
        )
        return member(0.9, 0.1).model_copy(update={"certified": certificates})

    result = smoothed(0.2, 0.6)
    assert (result.headline_value(), result.summary()) == (
        0.6,
        "average certified L2 radius 0.6 of the network smoothed by noise of σ = 0.5, 1,000 "
        "samples, α = 0.001",
    )
    assert result.measured_on().words == "200 images, evenly spread over the test set"
    assert result.certified is not None
    whole = result.certified.model_copy(update={"whole": True})
    every = result.model_copy(update={"certified": whole}).measured_on()
    assert every.same_as(images_from(0, 200)), "as those that 'evaluate certification' takes"
    members = [result, smoothed(0.3, 0.71), smoothed(0.1, 0.49)]
    # differences 0.40, 0.41, 0.39: mean 0.4, deviation 0.01; t = 4.3027 for two degrees of freedom
    assert sentence("smooth", members) == (
        "smooth: the average certified L2 radius changes by +0.400 (95 % interval +0.375 to "
        "+0.425, 3 seeds): the difference exceeds the spread between seeds."
    )


def test_a_smoothed_network_beside_others_is_compared_by_its_attacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Accuracy under attack is of the network without noise, on the images that were attacked."""
    line = f"{SMALL.replace('--epochs 2', '--epochs 1')} --norm l2 --eps 0.5"
    assert defend(f"smooth {line} --certify 30 --samples 50 --select 10 --name a") == 0
    assert defend(f"pgd {line} --steps 2 --name b") == 0
    capsys.readouterr()
    assert main(["compare", "defend/a", "defend/b"]) == 0
    assert "robust accuracy under FGSM and PGD at ε = 0.5 (L2)" in capsys.readouterr().out
    (found,) = (json.loads(path.read_text()) for path in Path().glob("samples/compare/*/*s.json"))
    assert (found["figure"], found["differ"]) == ("robust_accuracy", [])
    places = [f"samples/defend/{name}/metrics.json" for name in ("a", "b")]
    accuracies = [metrics(place)["robust_accuracy"] for place in places]
    assert [one["mean"] for one in found["settings"]] == accuracies


def test_smoothing_is_searched_by_radii_of_validation_images() -> None:
    ranges = "--search 2 --sigma 0.1..0.2 --certify 6 --samples 50 --select 10"
    assert defend(f"smooth {SMALL.replace('--epochs 2', '--epochs 1')} {ranges}") == 0
    found = json.loads(next(Path().glob("samples/compare/*/metrics.json")).read_text())
    assert found["figure"] == "val_mean_radius"
    runs = [json.loads(path.read_text()) for path in Path().glob("samples/defend/*/metrics.json")]
    assert sorted(one["mean"] for one in found["settings"]) == sorted(
        run["val_mean_radius"] for run in runs
    )


def test_the_undefended_network_gets_what_the_user_changed_and_its_own_defaults_else() -> None:
    from advlab.config.registry import COMMANDS
    from advlab.models import cnn

    kind: Any = COMMANDS["defend"].options("trades", "cnn")
    options = kind(channels=8, lr=0.1, seed=4, eps=0.3, name="mine", overwrite=True)
    plain = undefended(options).options
    assert isinstance(plain, cnn.Options)
    assert (plain.channels, plain.lr, plain.seed) == (8, 0.1, 4)
    assert plain.label_smoothing == cnn.Options().label_smoothing != options.label_smoothing
    assert plain.name is None
    assert not plain.overwrite


def test_a_filter_looks_robust_until_the_attack_knows_it(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (
        "filter --filter jpeg --strength 75 --dataset digits --model mlp --width 64 --epochs 12 "
        "--batch-size 64 --eps 0.1 --limit 100"
    )
    assert defend(f"{line} --precision fp32") == 0
    result = metrics()
    shares = result["accuracies"]["defended"]
    assert shares["PGD,\ntrue gradient"] >= shares["clean"] - 0.1, "it stands still"
    assert shares["PGD,\nBPDA"] < shares["PGD,\ntrue gradient"] - 0.2
    assert result["robust_accuracy"] <= shares["PGD,\nBPDA"]
    _, card = checkpoint.load(result["folder"])
    assert card.filters == {"jpeg": 75}
    capsys.readouterr()


def test_distillation_looks_robust_to_a_naive_loss_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = "distill --dataset digits --model mlp --width 32 --epochs 20"
    assert defend(f"{line} --batch-size 64 --eps 0.1 --limit 60 --precision fp32") == 0
    result = metrics()
    defended, plain = (result["accuracies"][who] for who in ("defended", "undefended"))
    assert defended["clean"] > 0.8
    assert defended["PGD,\nnaive loss"] > defended["clean"] - 0.2, "it mostly stands still"
    assert defended["PGD"] < defended["PGD,\nnaive loss"] - 0.25
    assert plain["PGD,\nnaive loss"] < plain["clean"] - 0.3
    assert result["robust_accuracy"] <= defended["PGD"]
    capsys.readouterr()


def test_a_naive_victim_follows_the_cross_entropy() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 3)).eval()
    images, labels = torch.rand(4, 1, 3, 3), torch.tensor([0, 1, 2, 0])
    gradient, logits = NaiveVictim(model).gradient(images, Goal(labels), "margin")
    weight: Any = model[1].weight
    expected = (logits.softmax(1) - torch.eye(3)[labels]) @ weight
    assert torch.allclose(gradient.flatten(1), expected, atol=1e-6)
    with torch.no_grad():
        weight.mul_(1e4)
    certain = NaiveVictim(model)
    wins = certain.logits(images).argmax(1)
    assert not certain.gradient(images, Goal(wins), "ce")[0].any()
    assert Victim(model).gradient(images, Goal(wins), "ce")[0].any()


def test_several_defences_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    """Beside the undefended network, which is the same for all; a filter counts by the attack that
    leaves least of it."""
    Path("two.yaml").write_text(
        "command: defend\nvariants:\n  - {label: steps, defence: fast}\n"
        "  - {label: filtered, defence: filter, filter: median}\n"
    )
    assert defend(f"--config two.yaml {SMALL}") == 0
    printed = capsys.readouterr().out
    (folder,) = Path().glob("samples/compare/*")
    assert (folder / "defences.png").exists()
    answer = (folder / "answer.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in answer.splitlines()[:5]]
    assert rows[0][1:] == ["clean", "FGSM", "PGD", "training seconds"]
    found = {
        result["component"]: result
        for file in Path().glob("samples/defend/*/metrics.json")
        for result in [json.loads(file.read_text())]
    }
    fast, median = found["fast"], found["filter"]
    assert fast["undefended"]["sha256"] == median["undefended"]["sha256"]
    plain = fast["accuracies"]["undefended"]
    accuracies = median["accuracies"]["defended"]
    ways = {
        attack: [value for name, value in accuracies.items() if name.startswith(attack)]
        for attack in ("FGSM", "PGD")
    }
    assert all(len(values) == 3 for values in ways.values())
    expected = {
        "undefended": [plain["clean"], plain["FGSM"], plain["PGD"]],
        "steps": [fast["accuracies"]["defended"][name] for name in ("clean", "FGSM", "PGD")],
        "filtered": [accuracies["clean"], min(ways["FGSM"]), min(ways["PGD"])],
    }
    assert {row[0]: row[1:4] for row in rows[2:]} == {
        name: [percent(value) for value in values] for name, values in expected.items()
    }
    assert [row[4] for row in rows[2:]][::2] == ["–", "–"]
    assert all(line in printed for line in answer.splitlines()[:5])


def test_trainings_for_certificates_stand_side_by_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A row for each training, whose figures are those of its run; the epoch that is kept is the
    one of the largest mean radius on validation images."""
    small = SMALL.replace("--limit 60", "--limit 20").replace("--epochs 2", "--epochs 4")
    more = "--copies 2 --steps 2 --sigma 0.1 --eps 0.2 --certify 20 --samples 50 --select 10"
    assert defend(f"smooth --training smoothadv macer {small} {more}") == 0
    said = capsys.readouterr().out.splitlines()
    answer = next(Path().glob("samples/compare/*/answer.md")).read_text()
    lines = [line for line in answer.splitlines() if line.startswith("|")]
    start = next(i for i, line in enumerate(lines) if "L2 radius, σ = 0.1, with 50 samples" in line)
    assert lines[start] in said
    radii = {}
    for row in lines[start + 2 :]:
        training = "macer" if "macer" in row else "smoothadv"
        (folder,) = (
            path.parent
            for path in Path().glob("samples/defend/*/config.yaml")
            if f"training: {training}" in path.read_text()
        )
        result = json.loads((folder / "metrics.json").read_text())
        radii[training] = result["certified"]["mean_radius"]["defended"]
        assert f" {radii[training]:.3f} |" in row
        assert f" {percent(result['certified']['points'][0]['defended'])} |" in row
        history = [json.loads(line) for line in (folder / "history.jsonl").open()]
        assert result["val_mean_radius"] == max(record["val_mean_radius"] for record in history)
    assert radii["macer"] != radii["smoothadv"]
    compared = json.loads(next(Path().glob("samples/compare/*/metrics.json")).read_text())
    assert compared["figure_words"] == "average certified L2 radius"
    assert compared["pairs"] == []  # those are of accuracy under attack, without noise
    means = {one["setting"]: one["mean"] for one in compared["settings"]}
    assert means == {f"training {training}": radius for training, radius in radii.items()}


def test_an_attack_that_names_no_network_says_that_a_defended_one_is_newer(
    capsys: pytest.CaptureFixture[str],
) -> None:
    attack = ["attack", "fgsm", "--dataset", "digits", "--limit", "10", "--threads", "1"]
    assert defend(f"filter --filter jpeg --strength 75 {SMALL}") == 0
    assert main(attack) == 0
    folder = metrics()["folder"]
    assert (
        f"has no defence, and a newer network has; to attack that one, give --model {folder}"
        in (capsys.readouterr().out)
    )
    assert main([*attack, "--model", str(folder)]) == 0
    assert "has no defence" not in capsys.readouterr().out


def test_a_network_that_withstands_one_step_alone_is_not_praised() -> None:
    from advlab.experiments.defend.run import _report

    with collected() as lines:
        _report(member(0.1, 0.01, fgsm=0.97))
    assert "WARNING: it is robust to FGSM and not to PGD" in "\n".join(lines)
    with collected() as lines:
        _report(member(0.1, 0.9, fgsm=0.97))
    assert "WARNING" not in "\n".join(lines)


def test_a_defence_that_destroys_the_network_is_not_praised() -> None:
    from advlab.experiments.defend.run import _report

    ruined = {"clean_accuracy": 0.15, "majority_accuracy": 0.1}
    with collected() as lines:
        _report(member(0.1, 0.1).model_copy(update=ruined))
    assert "the defended network is no better than always the same answer" in "\n".join(lines)
    few = {"clean_accuracy": 1.0, "majority_accuracy": 0.5, "images": 6}
    with collected() as lines:
        _report(member(0.1, 0.1).model_copy(update=few))
    said = "WARNING: 6 images are too few to tell whether the defended network is better than"
    assert any(line.startswith(said) for line in lines)
    assert "no better than" not in "\n".join(lines)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fgsm", "goes with 'advlab attack fgsm'"),
        ("tradse", "did you mean 'trades'?"),
        ("pgd --eps 0", "greater than 0"),
        ("pgd --eps 1.5", "L∞ radius above 1"),
        ("pgd --eps nan", "finite"),
        ("pgd --steps 0", "at least 1"),
        ("pgd --eps 0.1 --step-size 0.3", "longer than the ball is wide"),
        ("pgd --beta 2", "belongs to the defences mart and trades"),
        ("pgd --width 3", "belongs to the model mlp"),
        ("pgd --model mpl", "did you mean 'mlp'?"),
        ("pgd --model cnn mlp", "takes one value"),
        ("smooth --sigma -1", "greater than 0"),
        ("smooth --alpha 1", "less than 1"),
        ("smooth --training mixup", "must be one of gaussian, smoothadv, macer"),
        ("smooth --copies 0", "at least 1"),
        ("smooth --hinge 0", "greater than 0"),
        ("smooth --radius-weight -1", "at least 0"),
        (
            "smooth --samples 10 --alpha 0.0005",
            "10 votes certify no radius even where all agree; at least 11 are needed",
        ),
        ("filter --strength 0", "at least 1"),
        ("filter --filter bits --strength 9", "between 1 and 8"),
        ("filter --filter median --strength 4", "be odd"),
        ("free --replays 0", "at least 1"),
        ("augment --degrees 181", "at most 180"),
        ("augment --erase 2", "at most 1"),
        ("trades --warmup 1.1", "at most 1"),
        ("adversarial --attack lp", "must be one of fgsm, pgd"),
        ("fast --on-overfitting explode", "must be one of stop, warn"),
        ("trades --checkpoint x", "belongs to 'advlab attack'"),
        ("pgd --train-size 5 --dataset digits", "cannot train on 5 images"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line_and_nothing_written(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert defend(line) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1
    assert list(Path().iterdir()) == []


def test_no_more_images_are_certified_than_the_limit_leaves() -> None:
    small = f"{SMALL.replace('--limit 60', '--limit 5').replace('--epochs 2', '--epochs 1')}"
    assert defend(f"smooth {small} --certify 30 --samples 50 --select 10 --name few") == 0
    found = metrics("samples/defend/few/metrics.json")["certified"]
    assert (found["images"], found["whole"], found["first"]) == (5, True, 5)
    result = DefendResult.model_validate_json(Path("samples/defend/few/metrics.json").read_text())
    assert result.measured_on() == images_from(0, 5)
    assert result.certified is not None
    spread = result.certified.model_copy(update={"whole": False, "first": 40})
    other = result.model_copy(update={"certified": spread})
    assert other.measured_on().words == "5 images, evenly spread over the first 40"
    everywhere = spread.model_copy(update={"first": None})
    whole = result.model_copy(update={"certified": everywhere})
    assert not other.measured_on().same_as(whole.measured_on())
