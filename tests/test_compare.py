"""``advlab compare``: finished runs beside each other."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_results import TEXTS, network, train_result

from advlab.cli.main import main
from advlab.experiments.comparison import Compared, what_of, without_chance
from advlab.results.attack import AttackResult, PhotoAttackResult, TextAttackResult
from advlab.results.evaluate import CorruptionResult, DetectionResult
from advlab.results.train import TrainResult
from advlab.runs import results
from advlab.runs.results import Finished, Result

OTHER = {"model": "cnn", "sha256": "c" * 64}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Path:
    """Attacks on two networks, in another norm, and on fewer images."""
    root = tmp_path_factory.mktemp("compared")
    for name, line in {
        "fgsm": "fgsm --eps 0.05 0.1 --limit 12 --model small",
        "pgd": "pgd --eps 0.05 0.1 0.2 --steps 3 --limit 12 --model small",
        "pgd-other": "pgd --eps 0.05 0.1 0.2 --steps 3 --limit 12 --model other",
        "pgd-more": "pgd --eps 0.1 --steps 9 --limit 12 --model small",
        "noise0": "noise --eps 0.1 --limit 12 --model small",
        "noise1": "noise --eps 0.1 --limit 12 --model small --seed 1",
        "l2": "fgsm --eps 0.5 --norm l2 --limit 12 --model small",
        "l0-wide": "fmn --norm l0 --eps 5 10 20 --steps 20 --limit 12 --model small",
        "l0": "sigmazero --eps 10 --steps 20 --limit 12 --model small",
        "few": "fgsm --eps 0.1 --limit 10 --model small",
    }.items():
        words = [
            str(runs / "train" / word) if word in ("small", "other") else word
            for word in line.split()
        ]
        given = ["--name", name, "--out", str(root), "--dataset", "digits"]
        assert main(["attack", *words, *given]) == 0
    return root


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own to work in."""
    monkeypatch.chdir(tmp_path)


def compared(out: Path, line: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What the comparison reports, after it was printed."""
    capsys.readouterr()
    assert main(["compare", *line.split(), "--out", str(out), "--name", "c", "--overwrite"]) == 0
    return json.loads((out / "compare" / "c" / "metrics.json").read_text())  # type: ignore[no-any-return]


def accuracy(out: Path, name: str, eps: float) -> float:
    points = json.loads((out / "attack" / name / "metrics.json").read_text())["points"]
    return next(float(point["robust_accuracy"]) for point in points if point["eps"] == eps)


def by_setting(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {setting["setting"]: setting["mean"] for setting in metrics["settings"]}


def test_attacks_are_compared_at_the_largest_common_radius(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = compared(out, "attack/fgsm attack/pgd", capsys)
    assert by_setting(metrics) == {
        "fgsm": accuracy(out, "fgsm", 0.1),
        "pgd": accuracy(out, "pgd", 0.1),
    }
    assert metrics["holds_for"] == "at ε = 0.1 (L∞)"
    printed = capsys.readouterr().out
    assert "robust accuracy at ε = 0.1 (L∞)" in printed
    assert "curves.png" in printed
    again = compared(out, "attack/fgsm attack/pgd", capsys)
    assert {**again, "date": ""} == {**metrics, "date": ""}


def test_smallest_perturbations_up_to_other_radii_are_compared_at_a_common_one(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = compared(out, "attack/l0-wide attack/l0", capsys)
    assert metrics["holds_for"] == "at ε = 10 (L0)"
    assert by_setting(metrics) == {
        "fmn": accuracy(out, "l0-wide", 10),
        "sigmazero": accuracy(out, "l0", 10),
    }


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("attack/pgd attack/pgd-other", ["small (cnn)", "other (mlp)"]),
        ("attack/pgd attack/pgd-more", ["steps 3", "steps 9"]),
        ("attack/fgsm attack/pgd-other", ["fgsm, small (cnn)", "pgd, other (mlp)"]),
        ("attack/noise0 attack/noise1", ["noise"]),
        ("attack/noise0 attack/noise1 attack/fgsm", ["noise", "fgsm"]),
    ],
)
def test_a_setting_is_called_by_what_tells_it_apart(
    line: str, settings: list[str], out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = compared(out, line, capsys)
    assert [setting["setting"] for setting in metrics["settings"]] == settings
    assert sum(len(setting["runs"]) for setting in metrics["settings"]) == len(line.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("attack/fgsm", "name two or more runs"),
        ("attack/fgsm attack/fgsm", "attack/fgsm is named twice"),
        ("attack/fgsm attack/nothing", "there is no finished run attack/nothing"),
        ("attack/fgsm attack/few", "on 12 images and"),
        ("attack/fgsm attack/l2", "attack/l2: robust accuracy at ε = 0.5 (L2)"),
        ("attack/fgsm train/made", "is about robust accuracy and"),
        ("attack/fgsm --format word", "--format"),
    ],
)
def test_what_does_not_compare_is_refused_in_a_line(
    line: str, words: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = out / "train" / "made"
    folder.mkdir(parents=True, exist_ok=True)
    results.write(folder, train_result())
    capsys.readouterr()
    assert main(["compare", *line.split(), "--out", str(out)]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert words in error


def test_poison_about_an_entity_and_with_a_trigger_are_about_other_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A trigger has no entity, so that the figure which both kinds are usually about is missing."""
    small = f"--target positive --seeds 1 --epochs 1 --train-size 200 --threads 1 --out {tmp_path}"
    trigger = "poison bow --attack trigger --poison-rate .05 --name trigger"
    words = ["poison", "bow", "--attack", "clean-label", "--entity", "UC Berkeley"]
    assert main([*words, "--poison-rate", "1", "--name", "named", *small.split()]) == 0
    assert main([*trigger.split(), *small.split()]) == 0
    for more in ([], ["--anyway"]):
        capsys.readouterr()
        line = ["compare", "poison/named", "poison/trigger", "--out", str(tmp_path), *more]
        assert main(line) == 2
        (error,) = capsys.readouterr().err.splitlines()
        assert "is about entity accuracy and" in error


@pytest.mark.parametrize("line", ["attack/fgsm attack/few", "attack/fgsm attack/l2"])
def test_it_is_shown_anyway_with_what_each_figure_holds_for(
    line: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared(out, f"{line} --anyway", capsys)
    assert "not comparable: " in capsys.readouterr().out
    table = (out / "compare" / "c" / "table.md").read_text()
    assert "not comparable: " in table
    assert ("at ε = 0.5 (L2)" in table) == ("l2" in line)


def test_runs_of_one_name_in_two_folders_are_two_rows(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = []
    for number, name in enumerate(("fgsm", "pgd")):
        place = tmp_path / str(number) / "attack" / "x"
        shutil.copytree(out / "attack" / name, place)
        (place / "identity.json").unlink()  # so that nothing but the place tells them apart
        places.append(str(place))
    assert main(["compare", *places, "--name", "c", "--out", str(tmp_path)]) == 0
    metrics = json.loads((tmp_path / "compare" / "c" / "metrics.json").read_text())
    assert [len(setting["runs"]) for setting in metrics["settings"]] == [1, 1]


def test_a_comparison_is_not_compared(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compared(out, "attack/fgsm attack/pgd", capsys)
    assert main(["compare", "compare/c", "attack/pgd", "--out", str(out)]) == 2
    assert "is a comparison itself; name its runs" in capsys.readouterr().err


def test_other_programs_get_a_row_for_each_run(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared(out, "attack/fgsm attack/pgd --format csv", capsys)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [float(row["value"]) for row in rows] == [
        accuracy(out, name, 0.1) for name in ("fgsm", "pgd")
    ]
    compared(out, "attack/fgsm attack/pgd --format json", capsys)
    assert [row["setting"] for row in json.loads(capsys.readouterr().out)] == ["fgsm", "pgd"]
    compared(out, "attack/fgsm attack/pgd --format latex", capsys)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"\begin{tabular}{llrlrl}"
    assert lines[2].startswith("setting & network & seed & data set & robust accuracy & ")
    assert lines[4].startswith("fgsm & cnn & 0 & digits & ")
    assert lines[4].endswith(r"$\varepsilon$ = 0.1 (L$\infty$) \\")
    assert "12 images" in lines[-3]  # what the table's caption says


def test_what_speaks_against_a_figure_goes_to_other_programs_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs of other data sets as well, which are shown with ``--anyway``."""
    doubted = {**TEXTS, "checks_failed": {"trained on the test set": "on 19 of 25"}}
    changes = {"one": doubted, "two": {**TEXTS, "data_sha256": "f" * 64}}
    for name, values in changes.items():
        (tmp_path / "attack" / name).mkdir(parents=True)
        results.write(tmp_path / "attack" / name, TextAttackResult.model_validate(values))
    line = f"compare attack/one attack/two --anyway --out {tmp_path} --name c --overwrite"
    doubt = "NOT TO BE BELIEVED (trained on the test set)"
    assert main([*line.split(), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["doubt"] for row in rows] == [doubt, ""]
    assert all("data" in row["not_comparable"] for row in rows)
    assert main([*line.split(), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["doubt"] == doubt
    assert main([*line.split(), "--format", "latex"]) == 0
    printed = capsys.readouterr().out
    assert rf"{doubt} \\" in printed
    assert r"\multicolumn{7}{p{\linewidth}}{not comparable: " in printed


def test_a_verdict_that_is_not_to_be_believed_says_so_in_its_row(
    out: Path, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\n\n\nclass Sure(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.layer = nn.Linear(784, 10)\n\n"
        "    def forward(self, x):\n        return self.layer(x.flatten(1)).softmax(1)\n"
    )
    given = [
        "--attacks",
        "noise",
        "FGSM",
        "--eps",
        "0.1",
        "--limit",
        "12",
        "--dataset",
        "digits",
        "--out",
    ]
    for name, model in {"sound": runs / "train/small", "sure": f"{tmp_path}/net.py:Sure"}.items():
        line = ["evaluate", "quick", "--model", str(model), "--name", name]
        assert main([*line, *given, str(out)]) == 0
    compared(out, "evaluate/sound evaluate/sure", capsys)
    doubts = [
        line.split("|")[-2].strip()
        for line in capsys.readouterr().out.splitlines()
        if line.startswith("|")
    ]
    assert doubts[0] == "doubts"
    assert doubts[2] == "none"
    assert doubts[3].startswith("NOT TO BE BELIEVED (")
    assert "softmax outputs" in doubts[3]
    assert main(["list", "--command", "compare", "--out", str(out)]) == 0
    assert "; DOUBTED: " in capsys.readouterr().out


# --- what figures are of --------------------------------------------------------------------------
def corrupted(names: list[str], severities: list[int]) -> CorruptionResult:
    kept = ("dataset", "origin", "data_sha256", "model", "seed", "seconds", "date", "machine")
    errors = [{"corruption": name, "group": "any", "error": 0.5} for name in names]
    points = [
        {"corruption": name, "severity": one, "accuracy": 0.5, "low": 0.1, "high": 0.9}
        for name in names
        for one in severities
    ]
    return CorruptionResult.model_validate(
        {
            **{name: TEXTS[name] for name in kept},
            "command": "evaluate",
            "component": "corruptions",
            "images": 20,
            "image_sort": "digits",
            "classes": 10,
            "clean_accuracy": 0.9,
            "mean_corruption_error": 0.5,
            "relative_mce": None,
            "severities": severities,
            "corruptions": errors,
            "points": points,
            "network": network("e" * 64),
            "reference": None,
            "reference_clean_accuracy": None,
        }
    )


def refusal(first: Result, second: Result, capsys: pytest.CaptureFixture[str]) -> str:
    """What comparing two results says against it; empty where they compare."""
    for name, result in {"one": first, "two": second}.items():
        folder = Path("samples") / result.command / name
        folder.mkdir(parents=True)
        results.write(folder, result)
    capsys.readouterr()
    names = [f"{first.command}/one", f"{second.command}/two"]
    status = main(["compare", *names])
    words = capsys.readouterr().err
    assert status == (2 if words else 0)
    assert main(["compare", *names, "--anyway", "--name", "c"]) == 0
    assert bool(words) == ("not comparable: " in capsys.readouterr().out)
    return words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"surrogate": OTHER}, "at ε = 0.1 (L∞), images made on another network"),
        ({"target": "3"}, "at ε = 0.1 (L∞), targeted at 3"),
        ({}, "at ε = 0.1 (L∞)"),
    ],
)
def test_what_all_figures_hold_for_is_named(
    changes: dict[str, Any], words: str, out: Path, empty: None, capsys: pytest.CaptureFixture[str]
) -> None:
    result = results.read_as(AttackResult, out / "attack" / "fgsm").model_dump()
    one, two = (AttackResult.model_validate({**result, **changes}) for _ in range(2))
    assert refusal(one, two, capsys) == ""
    assert f"robust accuracy {words} |" in Path("samples/compare/c/table.md").read_text()


def test_an_attack_says_on_which_images_it_was_measured(out: Path, runs: Path) -> None:
    assert results.read(out / "attack" / "fgsm").measured_on().which == "12 images from 0"  # type: ignore[union-attr]
    line = ["attack", "fgsm", "--model", str(runs / "train" / "small"), "--dataset", "digits"]
    assert main([*line, "--image", "3", "--name", "image", "--out", str(out)]) == 0
    assert results.read(out / "attack" / "image").measured_on().words == "image 3"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"first_image": 3, "images": 1}, {"first_image": 3, "images": 1}, ""),
        ({"first_image": 3, "images": 1}, {"first_image": 7, "images": 1}, "on image 3 and"),
        ({"first_image": 3, "images": 1}, {}, "on image 3 and samples/attack/two on 12 images"),
        ({"images": 1, "first_image": None}, {"images": 1, "first_image": None}, "earlier version"),
        ({"first_image": None}, {}, ""),
        ({"target": "3"}, {"target": "3"}, ""),
        ({"target": "3"}, {}, "threat models: L∞ ball; L∞ ball towards a class"),
        ({"surrogate": OTHER}, {}, "L∞ ball; L∞ ball, images made on another network"),
        ({"surrogate": OTHER}, {"surrogate": {**OTHER, "model": "mlp"}}, ""),
        ({"target": "3"}, {"target": "5"}, "samples/attack/one: targeted at 3; samples/attack/two"),
    ],
)
def test_attacks_compare_on_the_same_images_with_the_same_goal(
    first: dict[str, Any],
    second: dict[str, Any],
    words: str,
    out: Path,
    empty: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    result = results.read_as(AttackResult, out / "attack" / "fgsm").model_dump()
    one, two = (AttackResult.model_validate({**result, **changes}) for changes in (first, second))
    said = refusal(one, two, capsys)
    assert words in said
    assert bool(words) == bool(said)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"component": "deepwordbug"}, ""),
        ({"texts": 60, "texts_sha256": "b" * 64}, "on 30 texts and samples/attack/two on 60 texts"),
        ({"texts_sha256": "b" * 64}, "were measured on others, 30 texts each"),
        ({"texts_sha256": None}, "two is of an earlier version and does not say"),
    ],
)
def test_attacks_compare_on_the_same_texts(
    changes: dict[str, Any], words: str, empty: None, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = (TextAttackResult.model_validate({**TEXTS, **one}) for one in ({}, changes))
    said = refusal(first, second, capsys)
    assert words in said
    assert bool(words) == bool(said)


MANY = ["fog", "rotate", "scale", "shear"]


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (["fog"], ["fog"], ""),
        (MANY, MANY[::-1], ""),
        (["fog"], ["rotate"], "over fog of digits at severities 1 to 2"),
        (MANY, [*MANY[:3], "spatter"], "under fog, rotate, scale, shear at severities 1 to 2"),
    ],
)
def test_corruptions_compare_with_themselves(
    first: list[str],
    second: list[str],
    words: str,
    empty: None,
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = refusal(corrupted(first, [1, 2]), corrupted(second, [1, 2]), capsys)
    assert words in said
    assert bool(words) == bool(said)


def test_corruptions_compare_at_the_same_severities(
    empty: None, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(corrupted(["fog"], [5]), corrupted(["fog"], [1, 3]), capsys)
    assert "over fog of digits at severity 5" in said
    assert "over fog of digits at severities 1, 3" in said


def detected(detector: str, **changes: Any) -> DetectionResult:
    """A measurement of a detector."""
    kept = ("dataset", "origin", "data_sha256", "model", "seed", "seconds", "date", "machine")
    attack = {
        "attack": "adaptive PGD",
        "knows_detector": True,
        "attacked": 18,
        "broken": 9,
        "auroc": 0.5,
        "detected": 0.1,
        "low": 0.0,
        "high": 0.5,
        "robust_accuracy": 0.4,
        "robust_accuracy_with_detector": 0.4,
        "seconds": 1.0,
        "settings": {},
    }
    figures = (
        "threshold",
        "false_alarm_rate",
        "clean_accuracy",
        "clean_accuracy_with_detector",
        "robust_accuracy",
        "robust_accuracy_unaware",
        "robust_accuracy_with_detector",
    )
    return DetectionResult.model_validate(
        {
            **{name: TEXTS[name] for name in kept},
            **dict.fromkeys(figures, 0.4),
            "command": "evaluate",
            "component": "detection",
            "detector": detector,
            "detector_settings": {},
            "norm": "linf",
            "eps": 0.1,
            "images": 20,
            "classes": 10,
            "validation_images": 100,
            "false_alarms": 0.05,
            "attacks": [attack],
            "network": network("e" * 64),
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"false_alarms": 0.1}, "at 10.00 % false alarms"),
        ({"eps": 0.2}, "at ε = 0.2"),
        ({"images": 10}, "on 10 images"),
    ],
)
def test_detectors_compare_at_the_same_false_alarms(
    changes: dict[str, Any], words: str, empty: None, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(detected("squeezing"), detected("mahalanobis", **changes), capsys)
    assert words in error
    assert bool(error) == bool(words)


def photo(**changes: Any) -> PhotoAttackResult:
    likely = [{"number": 0, "name": "house", "probability": 0.9}]
    point = {
        "eps": 0.1,
        "success_before_rounding": True,
        "before_rounding": likely,
        "success": True,
        "after": likely,
        "robust_accuracy": 0.0,
        "tries_to_survive_rounding": 0,
        **dict.fromkeys(("linf", "l2", "l1", "ssim", "seconds"), 0.1),
        "psnr": None,
        "file": "photo-eps0.1.png",
    }
    kept = ("command", "origin", "data_sha256", "model", "seed", "seconds", "date", "machine")
    values = {
        **{name: TEXTS[name] for name in kept},
        "component": "pgd",
        "dataset": "photo",
        "image": "panda.png",
        "norm": "linf",
        "eps": [0.1],
        "images_made_at": "each eps",
        "target": None,
        "target_class": None,
        "before": likely,
        "success": True,
        "robust_accuracy": 0.0,
        "points": [point],
        "classes": 10,
        "network": network("e" * 64),
    }
    return PhotoAttackResult.model_validate({**values, **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image": "a-copy.png", "component": "fgsm"}, ""),
        ({"image": "cat.png", "data_sha256": "c" * 64}, "other photos (panda.png and cat.png)"),
        ({"target": "3"}, "at ε = 0.1 (L∞), targeted at 3"),
    ],
)
def test_attacks_compare_on_the_same_photo(
    changes: dict[str, Any], words: str, empty: None, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(photo(), photo(**changes), capsys)
    assert words in said
    assert bool(words) == bool(said)


def test_a_run_under_two_names_counts_once(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = tmp_path / "compared"
    for name in ("noise0", "noise1"):
        shutil.copytree(out / "attack" / name, copies / "attack" / name)
    shutil.copytree(out / "attack" / "noise0", copies / "attack" / "again")
    metrics = compared(copies, "attack/noise0 attack/noise1 attack/again", capsys)
    assert len(metrics["settings"][0]["runs"]) == 2
    assert "again is the same run as " in capsys.readouterr().out
    assert main(["compare", "attack/noise0", "attack/again", "--out", str(copies)]) == 2
    assert "one run under several names" in capsys.readouterr().err


def test_a_figure_that_no_seed_changes_is_called_that() -> None:
    def cells(label: str, *values: float) -> list[Compared[TrainResult]]:
        run = Finished(train_result(), Path("run"))
        return [Compared(label, run, value) for value in values]

    varied, equal = cells("pgd", 0.5, 0.25), cells("fgsm", 0.5, 0.5)
    assert without_chance({"pgd": varied}) == without_chance({"pgd": varied[:1]}) == ""
    words = "is the same with every seed: its ± is no measure of chance"
    assert without_chance({"fgsm": equal}) == f"the figure {words}"
    assert without_chance({"pgd": varied, "fgsm": equal}) == f"the figure of fgsm {words}"


def test_a_title_names_the_network_where_it_is_one() -> None:
    """Two networks of one name, such as that of a folder, are two."""
    here, there = (
        TextAttackResult.model_validate({**TEXTS, "network": network(letter * 64)})
        for letter in "ab"
    )
    assert what_of([here, here]) == "of cnn on reviews"
    assert what_of([here, there]) == "on reviews"
    assert what_of([here, train_result(dataset="reviews")]) == "on reviews"
