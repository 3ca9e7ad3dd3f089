"""Random search: what is drawn, and what is chosen by which data."""

from __future__ import annotations

import importlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_results import train_result

from advlab.cli.main import main
from advlab.config.options.run import SearchOptions
from advlab.config.registry import COMMANDS
from advlab.config.resolve import Config, Plan, resolve
from advlab.config.search import Range, range_in, settings
from advlab.results.contrast import ContrastResult
from advlab.results.defend import DefendResult
from advlab.results.gan import GanTrainResult
from advlab.results.train import TrainResult
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.results import Finished, Result

experiment = importlib.import_module("advlab.experiments.train.run")


@pytest.mark.parametrize(
    ("text", "kind", "ends"),
    [
        ("1e-4..0.1", float, (1e-4, 0.1)),
        (" .5..1. ", float | None, (0.5, 1.0)),
        ("-1..+2", int | None, (-1, 2)),
        ("4..64", int, (4, 64)),
    ],
)
def test_a_range_is_read(text: str, kind: object, ends: tuple[float, float]) -> None:
    span = range_in(text, kind)
    assert span is not None
    assert span.ends == ends
    assert str(span) == text.strip()


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1..2", str),
        ("1..2", int | str),
        ("1..2", list[float]),
        ("../data", float),
        (0.5, float),
        ("1", float),
    ],
)
def test_other_values_are_no_ranges(value: object, kind: object) -> None:
    assert range_in(value, kind) is None


def test_numbers_are_drawn_evenly_or_by_orders_of_magnitude() -> None:
    spans = {
        "lr": Range(1e-4, 1e-1, False, ""),
        "dropout": Range(0.2, 0.6, False, ""),
        "width": Range(4, 400, True, ""),
        "depth": Range(1, 4, True, ""),
    }
    assert [span.logarithmic for span in spans.values()] == [True, False, True, False]
    drawn = settings({**spans, "optimizer": ["adam", "sgd"]}, 900, 0)
    rates, dropouts, widths, depths, optimizers = zip(*drawn, strict=True)
    for values, span in zip((rates, dropouts, widths, depths), spans.values(), strict=True):
        assert span.low <= min(values) < max(values) <= span.high
    # Thirds of what is drawn evenly hold a third each; 900 draws leave a standard error of 1.6 %.
    for places in (
        [(math.log10(rate) + 4) / 3 for rate in rates],
        [(value - 0.2) / 0.4 for value in dropouts],
        [math.log(width / 4) / math.log(100) for width in widths],
    ):
        for third in range(3):
            inside = sum(third / 3 <= place < (third + 1) / 3 for place in places) / 900
            assert abs(inside - 1 / 3) < 0.06
    assert set(depths) == {1, 2, 3, 4}
    assert all(isinstance(value, int) for value in (*widths, *depths))
    assert all(float(f"{rate:.3g}") == rate for rate in rates)
    assert abs(optimizers.count("adam") / 900 - 0.5) < 0.06


def test_a_longer_search_goes_on_with_a_shorter_one() -> None:
    rates = Range(1e-4, 1e-1, False, "")
    spans: dict[str, Range | list[int]] = {"lr": rates, "width": [4, 8, 16]}
    assert settings(spans, 40, 3)[:15] == settings(spans, 15, 3)
    assert settings(spans, 15, 4) != settings(spans, 15, 3)
    alone = settings({"lr": rates}, 15, 3)
    assert [lr for (lr,) in alone] == [lr for lr, _ in settings(spans, 15, 3)]


def test_settings_differ_and_end_where_there_are_no_more() -> None:
    drawn = settings({"width": [4, 8], "optimizer": ["adam", "sgd"]}, 9, 0)
    assert sorted(drawn) == [(4, "adam"), (4, "sgd"), (8, "adam"), (8, "sgd")]


def test_a_plan_written_as_a_file_draws_the_same_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = "train mlp --dataset digits --search 6 --lr 1e-4..1e-1 --width 4 8 --seeds 2"
    assert main([*line.split(), "--print-config"]) == 0
    text = capsys.readouterr().out
    values = yaml.safe_load(text)
    assert (values["lr"], values["width"], values["search"]) == ("1e-4..1e-1", [4, 8], 6)
    plan = planned("--lr 1e-4..1e-1 --width 4 8 --seeds 2 --search 6")
    (tmp_path / "plan.yaml").write_text(text)
    assert main(["train", "--config", str(tmp_path / "plan.yaml"), "--print-config"]) == 0
    assert capsys.readouterr().out == text
    assert len(plan.cells) == 12
    assert plan.searched
    assert all(cell.options.search is None for cell in plan.cells), "a cell is a single run"
    rates = [cell.options.lr for cell in plan.cells]
    assert rates[::2] == rates[1::2], "each setting with both seeds"


def planned(line: str) -> Plan:
    """The plan of an mlp on the digits with these flags."""
    flags: dict[str, list[str] | str] = {"dataset": "digits"}
    for part in line.split("--")[1:]:
        name, *values = part.split()
        flags[name] = values if len(values) > 1 else values[0]
    return resolve("train", ["mlp"], flags, None)


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Config]:
    """Runs are carried out by a stand-in, in whose results the validation accuracy rises with the
    learning rate and the test accuracy falls."""
    monkeypatch.chdir(tmp_path)
    carried_out: list[Config] = []

    def run(config: Config) -> Finished[TrainResult]:
        def measure(folder: Path) -> TrainResult:
            carried_out.append(config)
            rate = config.options.lr
            return train_result(
                seed=config.options.seed,
                val_accuracy=0.5 + rate,
                test_accuracy=0.9 - rate,
            )

        return carry_out(Experiment(config, {}, TrainResult, measure))

    monkeypatch.setattr(experiment, "run", run)
    return carried_out


LINE = "train mlp --dataset digits --lr 1e-3..1e-1 --width 4..8 --name found"


def test_validation_data_choose_and_test_data_do_not(
    runner: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*LINE.split(), "--search", "5"]) == 0
    rates = [cell.options.lr for cell in runner]
    assert len(rates) == 5
    printed = capsys.readouterr().out
    best = f"{100 * (0.5 + max(rates)):.2f} %; its test accuracy: {100 * (0.9 - max(rates)):.2f} %"
    assert f"lr {max(rates)}, " in printed.split("best setting: ")[1]
    assert f"validation accuracy {best}" in printed
    folder = Path("samples/compare/found")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["figure"] == "val_accuracy"
    assert metrics["test_accuracy"] == pytest.approx(0.9 - max(rates))
    assert [one["mean"] for one in metrics["settings"]] == sorted(
        (0.5 + rate for rate in rates), reverse=True
    )
    assert {path.name for path in folder.iterdir()} >= {"search.png", "table.md", "config.yaml"}
    assert main(["list"]) == 0
    assert f"whose test accuracy is {100 * (0.9 - max(rates)):.2f} %" in capsys.readouterr().out


def test_what_is_finished_is_not_run_again_by_a_longer_search(runner: list[Config]) -> None:
    assert main([*LINE.split(), "--search", "5"]) == 0
    longer = LINE.replace("--name found", "--name longer")
    assert main([*longer.split(), "--search", "8"]) == 0
    assert len(runner) == 8


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--search 5", "there is nothing to draw; give an option a range"),
        ("--lr 1e-3..1e-2", "--lr: 1e-3..1e-2 is a range; add --search N, which draws"),
        ("--search 5 --width 4 8", "2 different settings were found and 5 asked for"),
        ("--search 3 --lr 1..0.1", "--lr: 1..0.1: the first end must be below the second"),
        ("--search 3 --width 1.5..3", "--width: 1.5..3: takes whole numbers"),
        ("--search 3 --lr -1..1", "--lr: must be greater than 0, not -1.0"),
        ("--search 3 --lr 0.1..0.2 --seed 1 2", "--seed: takes one value with --search"),
        ("--search 900 --lr 0.1..0.2 --seeds 2", "1,800 runs asked for; at most 1,000"),
        ("--search 1 --lr 0.1..0.2", "--search: must be at least 2"),
        ("--search 3 --lr 1e-4..", "not '1e-4..' (a range is LOW..HIGH, stands alone, and goes"),
        (
            "--search 3 --lr 0.1..0.2 1",
            "(a range is LOW..HIGH, stands alone, and goes with --search)",
        ),
    ],
)
def test_what_cannot_be_searched(
    flags: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "mlp", "--dataset", "digits", *flags.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_range_where_nothing_is_searched(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["defend", "pgd", "--lr", "1e-3..1e-2"]) == 2
    assert "is a range; add --search N, which draws N settings" in capsys.readouterr().err
    assert main(["attack", "fgsm", "--limit", "10..20"]) == 2
    assert "is a range; only commands with --search draw from ranges" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train mlp --dataset digits MNIST", "--dataset: takes one value with --search"),
        ("defend pgd --eps .1 .2", "--eps: takes one value with --search, which chooses by a"),
        (
            "defend pgd --check-images 0 --lr .1 .2",
            "chooses by what is measured on",
        ),
        ("gan train --samples 100 200", "--samples: takes one value with --search"),
        ("gan train --train-size 50 300", "--train-size: takes one value with --search"),
        ("defend filter --lr .1 .2", "--search: belongs to the defences adversarial, fast,"),
    ],
)
def test_what_no_search_can_choose_between(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--search", "2"]) == 2
    assert message in capsys.readouterr().err


def bare(kind: Any, **values: Any) -> Result:
    """A result of this kind that holds nothing but these values."""
    result: Result = kind.model_construct(**values)
    return result


def test_every_command_with_a_search_has_a_figure_to_choose_by() -> None:
    """A figure that test data enter is never the one that settings are chosen by."""
    results: dict[str, type[Result]] = {
        "train": TrainResult,
        "defend": DefendResult,
        "gan": GanTrainResult,
        "contrast": ContrastResult,
    }
    searching = {
        command.name
        for command in COMMANDS.values()
        for component in command.components()
        if issubclass(command.options(component), SearchOptions)
    }
    assert searching == set(results)
    ball = {"eps": [0.1], "norm": "linf"}  # which names the figure of a defence
    blank: dict[str, Result] = {name: bare(kind) for name, kind in results.items()}
    blank["defend"] = bare(DefendResult, **ball)
    assert blank["defend"].chosen_by() is None, "nothing was watched"
    blank["defend"] = bare(DefendResult, val_robust_accuracy=0.5, **ball)
    blank["contrast"] = bare(ContrastResult, val_knn_accuracy=0.5)
    chosen = {name: one.chosen_by() for name, one in blank.items()}
    assert {name: figure and figure.field for name, figure in chosen.items()} == {
        "train": "val_accuracy",
        "defend": "val_robust_accuracy",
        "gan": "fid",
        "contrast": "val_knn_accuracy",
    }
    for command in COMMANDS.values():
        for component in command.components():
            options = command.options(component)
            if issubclass(options, SearchOptions):
                figure = chosen[command.name]
                assert figure is not None
                assert options.lower_is_better == figure.lower_is_better
    verified = bare(DefendResult, val_verified_accuracy=0.2, **ball).chosen_by()
    assert verified is not None
    assert verified.field == "val_verified_accuracy"


def test_a_search_for_a_defence_names_its_robust_accuracy_on_test_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "defend pgd --dataset digits --model mlp --width 8 --epochs 1 --steps 1 --limit 20"
    line += " --check-images 20 --search 2 --lr 1e-3..1e-1 --name found --threads 1"
    assert main(line.split()) == 0
    metrics = json.loads(Path("samples/compare/found/metrics.json").read_text())
    assert metrics["figure"] == "val_robust_accuracy"
    words = "robust accuracy on test data under FGSM and PGD at ε = 0.1 (L∞)"
    assert metrics["test_words"] == words
    assert f"; its {words}: {100 * metrics['test_accuracy']:.2f} %" in capsys.readouterr().out
