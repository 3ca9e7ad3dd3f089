"""``advlab compare``: finished runs beside each other."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from made_results import train_result

from advlab.cli.main import main
from advlab.runs import results


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
        "few": "fgsm --eps 0.1 --limit 10 --model small",
    }.items():
        words = [
            str(runs / "train" / word) if word in ("small", "other") else word
            for word in line.split()
        ]
        given = ["--name", name, "--out", str(root), "--dataset", "digits"]
        assert main(["attack", *words, *given]) == 0
    return root


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


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("attack/pgd attack/pgd-other", ["small (cnn)", "other (mlp)"]),
        ("attack/pgd attack/pgd-more", ["steps 3", "steps 9"]),
        ("attack/fgsm attack/pgd-other", ["fgsm, small (cnn)", "pgd, other (mlp)"]),
        ("attack/noise0 attack/noise1", ["attack/noise0", "attack/noise1"]),
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


@pytest.mark.parametrize("line", ["attack/fgsm attack/few", "attack/fgsm attack/l2"])
def test_it_is_shown_anyway_with_what_each_figure_holds_for(
    line: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    compared(out, f"{line} --anyway", capsys)
    assert "not comparable: " in capsys.readouterr().out
    table = (out / "compare" / "c" / "table.md").read_text()
    assert "not comparable: " in table
    assert ("at ε = 0.5 (L2)" in table) == ("l2" in line)


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
    assert r"$\varepsilon$ = 0.1 (L$\infty$) \\" in capsys.readouterr().out


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
