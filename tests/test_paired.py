"""Two networks on the same images: McNemar's test, and where comparisons give it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import binomtest
from torch import Tensor

from advlab.cli.main import main
from advlab.experiments.paired import adjusted, p_text, paired_test, pairs_table
from advlab.metrics.paired import holm, mcnemar
from advlab.results.comparison import ComparisonResult, PairedRuns, PairedTest
from advlab.results.defend import DefendResult
from advlab.runs import results

DEFENCES = (
    "defend {defence} --dataset digits --model mlp --width 16 --train-size 100 --epochs 2 "
    "--batch-size 50 --precision fp32 --limit 80 --eps 0.05 {more}"
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def compared() -> tuple[Path, dict[str, Any]]:
    (folder,) = Path().glob("samples/compare/*")
    return folder, json.loads((folder / "metrics.json").read_text())


def counts(first: Tensor, second: Tensor) -> tuple[int, int]:
    return int((first & ~second).sum()), int((~first & second).sum())


# --- the test -------------------------------------------------------------------------------------
def test_the_p_value_of_a_small_table_is_the_one_worked_out_on_paper() -> None:
    """Of nine images one speaks for the first network: 2 · (1 + 9) / 2⁹."""
    assert mcnemar(1, 8) == pytest.approx(20 / 512)
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(0, 0) == mcnemar(1, 1) == mcnemar(3, 4) == 1


@pytest.mark.parametrize("first", [0, 1, 7, 40, 500])
@pytest.mark.parametrize("second", [0, 1, 8, 39, 610])
def test_the_p_value_is_that_of_a_two_sided_binomial_test(first: int, second: int) -> None:
    if first + second:
        reference = binomtest(first, first + second, 0.5).pvalue
        assert mcnemar(first, second) == pytest.approx(reference, rel=1e-9)
    assert mcnemar(first, second) == mcnemar(second, first)


def test_a_p_value_that_float64_cannot_hold_is_a_bound() -> None:
    """2 · 2⁻¹³⁰⁰ is rounded to 0; that of 600 images is not."""
    found = paired_test(torch.ones(1300, dtype=torch.bool), torch.zeros(1300, dtype=torch.bool))
    assert 0 < found.p_value < 1e-300
    assert p_text(found) == ["1,300", "0", "< 1e-300"]
    assert p_text(PairedTest(first_only=600, second_only=0, p_value=mcnemar(600, 0)))[2] == (
        "4.8e-181"
    )


def test_only_the_images_that_tell_the_networks_apart_count() -> None:
    first = torch.tensor([True, True, False, False, True])
    second = torch.tensor([True, False, False, True, False])
    found = paired_test(first, second)
    assert (found.first_only, found.second_only) == (2, 1)
    assert found.p_value == 1


def test_adjusted_p_values_are_those_worked_out_on_paper() -> None:
    """The smallest of four times 4, the next times 3, ... and none below the one before it."""
    assert holm([0.04, 0.01, 0.5, 0.03]) == pytest.approx([0.09, 0.04, 0.5, 0.09])
    assert holm([0.4, 0.3]) == pytest.approx([0.6, 0.6])
    assert holm([0.9, 0.8, 0.7]) == [1, 1, 1]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_adjusting_bounds_the_chance_of_even_one_false_finding() -> None:
    """Of twenty true hypotheses: unadjusted, most families hold a p-value of 0.05 or less."""
    drawn = torch.rand(2000, 20, generator=torch.Generator().manual_seed(0)).double()
    false = sum(min(holm(family.tolist())) <= 0.05 for family in drawn) / 2000
    assert 0.03 < false < 0.065
    assert float((drawn.amin(1) <= 0.05).double().mean()) > 0.5


def test_the_table_of_pairs_gives_both_p_values() -> None:
    """Five images all for the second: p = 2 / 2⁵ = 0.0625, and twice that with two pairs."""
    worse, better = torch.zeros(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)
    tests = paired_test(worse, better), paired_test(worse, worse)
    pairs = adjusted(
        [PairedRuns(first="a", second="b", seed=0, difference=1.0, test=test) for test in tests]
    )
    assert [pair.adjusted_p_value for pair in pairs] == pytest.approx([0.125, 1])
    first = pairs_table(pairs, "accuracy").splitlines()[2]
    assert "0.062" in first
    assert "0.12" in first.replace("0.062", "")
    assert "p (Holm)" in pairs_table(pairs, "accuracy")


def test_a_long_table_says_how_many_pairs_it_leaves_out() -> None:
    test = paired_test(torch.ones(9, dtype=torch.bool), torch.zeros(9, dtype=torch.bool))
    pairs = [
        PairedRuns(first="a", second=f"b{n}", seed=0, difference=-1.0, test=test) for n in range(4)
    ]
    assert "-100.00" in pairs_table(pairs, "robust accuracy")
    assert "0.0039" in pairs_table(pairs, "robust accuracy")
    assert "more pairs" not in pairs_table(pairs, "robust accuracy")
    assert pairs_table(pairs, "robust accuracy", 3).endswith("1 more pairs in table.md")


# --- evaluate -------------------------------------------------------------------------------------
EVALUATE = "evaluate quick --eps 0.04 0.08 --limit 60 --steps 3 --queries 9 --model {models} {more}"


def test_networks_under_the_same_attacks_are_compared_image_by_image(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = f"{runs / 'train' / 'small'} {runs / 'train' / 'other'}"
    assert main(EVALUATE.format(models=models, more="").split()) == 0
    folder, metrics = compared()
    (pair,) = metrics["pairs"]
    robust = {
        setting["setting"]: load_file(f"{setting['runs'][0]['folder']}/images.safetensors")[
            "broken_at"
        ]
        > 0.08
        for setting in metrics["settings"]
    }
    only = counts(robust[pair["first"]], robust[pair["second"]])
    assert only == (pair["test"]["first_only"], pair["test"]["second_only"])
    assert sum(only) > 5, "the comparison must be able to fail"
    assert pair["test"]["p_value"] == pytest.approx(binomtest(only[0], sum(only), 0.5).pvalue)
    values = {setting["setting"]: setting["mean"] for setting in metrics["settings"]}
    difference = values[pair["first"]] - values[pair["second"]]
    assert (only[0] - only[1]) / 60 == pytest.approx(difference)
    assert pair["difference"] == pytest.approx(-difference)
    table = (folder / "table.md").read_text()
    assert "p (McNemar)" in table
    assert f"{pair['test']['p_value']:.2g}" in table
    assert "p (McNemar)" in capsys.readouterr().out


def test_runs_that_differ_in_more_than_the_network_are_not_compared(runs: Path) -> None:
    """One network at two budgets gives no pair, and two networks are compared budget by budget."""
    small, other = runs / "train" / "small", runs / "train" / "other"
    line = EVALUATE.replace("--steps 3", "--steps 2 3")
    assert main(line.format(models=small, more="").split()) == 0
    assert compared()[1]["pairs"] == []
    assert main(line.format(models=f"{small} {other}", more="--out both").split()) == 0
    (folder,) = Path().glob("both/compare/*")
    pairs = json.loads((folder / "metrics.json").read_text())["pairs"]
    assert len(pairs) == 2
    p_values = [pair["test"]["p_value"] for pair in pairs]
    assert [pair["adjusted_p_value"] for pair in pairs] == pytest.approx(holm(p_values))
    assert "p (Holm)" in (folder / "table.md").read_text()


def test_a_comparison_of_an_earlier_version_is_read(runs: Path) -> None:
    models = f"{runs / 'train' / 'small'} {runs / 'train' / 'other'}"
    assert main(EVALUATE.format(models=models, more="").split()) == 0
    folder, metrics = compared()
    del metrics["pairs"]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / ".checksums").unlink()  # which an earlier version did not write either
    assert results.read_as(ComparisonResult, folder).pairs == []


# --- defend ---------------------------------------------------------------------------------------
def test_a_defence_is_tested_against_the_undefended_network(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = DEFENCES.format(defence="pgd", more="")
    assert main(line.split()) == 0
    assert "p (McNemar)" in capsys.readouterr().out
    (folder,) = Path().glob("samples/defend/*")
    result = results.read_as(DefendResult, folder)
    assert set(result.paired) == {"clean", "FGSM", "PGD", "strongest attack"}
    stored = load_file(folder / "correct.safetensors")
    for place, situation in enumerate(("clean", "FGSM", "PGD")):
        test = result.paired[situation]
        rows = stored["undefended"][place], stored["defended"][place]
        assert counts(*rows) == (test.first_only, test.second_only)
        for who, right in zip(("undefended", "defended"), rows, strict=True):
            accuracy = getattr(result.accuracies, who)[situation]
            assert float(right.double().mean()) == pytest.approx(accuracy)
    least = [
        min(value for name, value in found.items() if name != "clean")
        for found in (result.accuracies.undefended, result.accuracies.defended)
    ]
    strongest = result.paired["strongest attack"]
    gained = (strongest.second_only - strongest.first_only) / result.images
    assert gained == pytest.approx(least[1] - least[0])

    values = json.loads((folder / "metrics.json").read_text())
    del values["paired"]
    (folder / "metrics.json").write_text(json.dumps(values))
    (folder / ".checksums").unlink()
    assert main(line.split()) == 0, "a result of an earlier version"
    printed = capsys.readouterr().out
    assert "finished already" in printed
    assert "McNemar" not in printed


def test_defences_are_compared_with_each_other_image_by_image() -> None:
    assert main(DEFENCES.format(defence="pgd fast", more="--check-images 0").split()) == 0
    _, metrics = compared()
    (pair,) = metrics["pairs"]
    values = {setting["setting"]: setting["mean"] for setting in metrics["settings"]}
    gained = (pair["test"]["second_only"] - pair["test"]["first_only"]) / 80
    assert gained == pytest.approx(values[pair["second"]] - values[pair["first"]])
