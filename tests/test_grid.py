"""Many runs on one line: each in its own folder, gathered in a table whose figures are those of the
runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import train_result
from matplotlib.patches import Rectangle
from PIL import Image

from advlab.cli.main import main
from advlab.config.resolve import Config
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments import grid, workers
from advlab.experiments import heatmap as heats
from advlab.experiments.train import run as experiment
from advlab.logs import logger
from advlab.metrics.intervals import clopper_pearson
from advlab.plots import comparison as pictures
from advlab.plots import heat as pictures_of_grids
from advlab.plots import record
from advlab.results.comparison import ComparisonResult
from advlab.results.train import TrainResult
from advlab.runs.lifecycle import Experiment, carry_out
from advlab.runs.results import Finished

TINY = (
    "--dataset digits --train-size 40 --batch-size 20 --epochs 1 --precision fp32 --device cpu "
    "--threads 1"
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def type_in(line: str) -> int:
    return main(line.split())


def read(file: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return value


def comparison() -> Path:
    (folder,) = Path("samples/compare").iterdir()
    return folder


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table, its head first, without its rule."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    assert re.fullmatch(r"[|:-]+", lines[1])
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:])
    ]


def spread(shares: Sequence[float]) -> str:
    """Mean ± sample standard deviation in percent, by their definitions."""
    mean = sum(shares) / len(shares)
    deviation = sqrt(sum((share - mean) ** 2 for share in shares) / (len(shares) - 1))
    return f"{100 * mean:.2f} ± {100 * deviation:.2f} %"


# What a run costs is not what these tests are about: a runner that takes no time, with figures that
# are known.
Runner = Callable[[Config], Finished[TrainResult]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Config]:
    """Runs are carried out by a stand-in that writes a result at once; the configurations that it
    was given."""
    asked: list[Config] = []

    def run(config: Config) -> Finished[TrainResult]:
        def measure(folder: Path) -> TrainResult:
            asked.append(config)
            rate = float(getattr(config.options, "lr", 0))
            accuracy = 0.5 + 0.1 * config.options.seed + rate
            return train_result(
                component=config.component,
                model=config.component,
                seed=config.options.seed,
                test_accuracy=accuracy,
                val_accuracy=0.9 - rate,  # another setting is the best one on validation data
            )

        logger.info(f"data set: {config.options.dataset}")
        return carry_out(Experiment(config, {}, TrainResult, measure))

    monkeypatch.setattr(experiment, "run", run)
    return asked


# --- through training -----------------------------------------------------------------------------
@pytest.mark.painted
def test_several_networks_are_trained_and_compared(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"train mlp separable --seeds 2 {TINY}"
    assert type_in(line) == 0
    said = capsys.readouterr().out
    heads = [text for text in said.splitlines() if text.startswith("[")]
    cell_names = ["mlp, seed 0", "mlp, seed 1", "separable, seed 0", "separable, seed 1"]
    expected = [f"[{number}/4] {name}" for number, name in enumerate(cell_names, start=1)]
    assert [head.split(";")[0] for head in heads] == expected
    results = {file.parent: read(file) for file in Path("samples/train").glob("*/metrics.json")}
    assert len(results) == 4
    head, *rows = cells((comparison() / "table.md").read_text(encoding="utf-8"))
    assert head == [
        *("setting", "runs", "test accuracy", "each", "validation accuracy"),
        *("parameters", "seconds"),
    ]
    assert [row[0] for row in rows] == ["mlp", "separable"]
    gathered = read(comparison() / "metrics.json")
    for row, setting in zip(rows, gathered["settings"], strict=True):
        members = sorted(
            (each for each in results.values() if each["model"] == row[0]),
            key=lambda each: int(each["seed"]),
        )
        shares = [each["test_accuracy"] for each in members]
        assert row[1] == "2"
        assert row[2] == spread(shares)
        assert row[3] == " ".join(f"{100 * share:.2f}" for share in shares)
        assert row[4] == spread([each["val_accuracy"] for each in members])
        assert row[5] == f"{members[0]['parameters']:,}"
        assert setting["setting"] == row[0]
        assert setting["mean"] == pytest.approx(sum(shares) / 2)
        assert setting["std"] == pytest.approx(abs(shares[0] - shares[1]) / sqrt(2))
        for each in setting["runs"]:
            assert each["value"] == results[Path(each["folder"])]["test_accuracy"]
            assert each["seed"] == results[Path(each["folder"])]["seed"]
    assert gathered["kind"] == "comparison"
    assert (gathered["command"], gathered["component"], gathered["dataset"]) == (
        "train",
        "mlp+separable",
        "digits",
    )
    assert (gathered["figure"], gathered["fraction"], gathered["lower_is_better"]) == (
        "test_accuracy",
        True,
        False,
    )
    assert gathered["date"] == max(each["date"] for each in results.values())
    assert (comparison() / "table.md").read_text().split("\n\n")[0] in said, (
        "what is written is what was shown"
    )
    assert "2 seeds, 0 to 1" in (comparison() / "table.md").read_text()
    with Image.open(comparison() / "comparison.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
    # A seed is no more than its number: the cell is the same run as the line that asks for it
    # alone.
    assert type_in(f"train separable --seed 1 {TINY}") == 0
    assert "finished already" in capsys.readouterr().out


# --- the mechanism --------------------------------------------------------------------------------
def test_the_figures_are_those_of_the_runs(
    quick: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert type_in(f"train mlp --lr 1e-3 1e-2 --seeds 3 {TINY}") == 0
    assert len(quick) == 6
    assert len({config.options.seed for config in quick}) == 3
    _, *rows = cells((comparison() / "table.md").read_text(encoding="utf-8"))
    assert [row[0] for row in rows] == ["lr 0.001", "lr 0.01"]
    assert rows[0][2] == spread([0.501, 0.601, 0.701]) == "60.10 ± 10.00 %"
    assert rows[1][2] == "61.00 ± 10.00 %"
    assert rows[0][3:] == ["50.10 60.10 70.10", "89.90 ± 0.00 %", "1,234", "2.0"]
    assert rows == cells(capsys.readouterr().out)[1:]


def test_validation_data_choose_the_best_setting(quick: list[Config]) -> None:
    assert type_in(f"train mlp --lr 1e-3 1e-2 --weight-decay 0 .1 {TINY}") == 0
    result = ComparisonResult.model_validate(read(comparison() / "metrics.json"))
    assert result.summary() == (
        "test accuracy 50.10 %, with the best validation accuracy of 4 settings "
        "(lr 0.001, weight decay 0.0)"
    )
    figure = record.drawn_again(comparison() / ".heatmap.figure")
    (panel,) = (panel for panel in figure.axes if panel.get_title() == "mlp")
    frames = [patch for patch in panel.patches if isinstance(patch, Rectangle)]
    framed = {round(frame.get_y() + 0.48) for frame in frames}
    rows = [label.get_text() for label in panel.get_yticklabels()]
    assert [rows[number] for number in framed] == ["lr 0.001"]
    assert "framed: the highest validation accuracy" in figure.get_supxlabel().replace("\n", " ")


def test_one_run_has_no_deviation(quick: list[Config]) -> None:
    assert type_in(f"train mlp --lr 1e-3 1e-2 {TINY}") == 0
    _, *rows = cells((comparison() / "table.md").read_text(encoding="utf-8"))
    assert [row[2] for row in rows] == ["50.10 %", "51.00 %"]
    assert [setting["std"] for setting in read(comparison() / "metrics.json")["settings"]] == [
        None,
        None,
    ]


def test_each_cell_has_its_own_folder_and_is_done_once(quick: list[Config]) -> None:
    line = f"train mlp --lr 1e-3 1e-2 --seeds 2 {TINY}"
    assert type_in(line) == 0
    assert len(list(Path("samples/train").iterdir())) == 4
    assert {path.name for path in comparison().iterdir()} == {
        *(".lock", ".files", ".checksums", "identity.json", "config.yaml", ".comparison.figure"),
        *("table.md", "metrics.json", "comparison.png"),
    }
    before = {file: file.read_bytes() for file in comparison().iterdir()}
    assert type_in(line) == 0
    assert len(quick) == 4
    assert {file: file.read_bytes() for file in comparison().iterdir()} == before, (
        "the same line, the same comparison"
    )
    # A larger grid takes from the smaller one what it shares, and is a comparison of its own.
    assert type_in(line.replace("--seeds 2", "--seeds 3")) == 0
    assert len(quick) == 6
    assert len(list(Path("samples/compare").iterdir())) == 2
    assert type_in(line + " --overwrite") == 0
    assert len(quick) == 10


def test_the_order_of_typing_makes_no_other_comparison(quick: list[Config]) -> None:
    assert type_in(f"train mlp --lr 1e-3 1e-2 --dropout 0 0.5 {TINY}") == 0
    assert type_in(f"train mlp {TINY} --dropout 0 0.5 --lr 1e-3 1e-2") == 0
    assert len(quick) == 4
    assert [setting["setting"] for setting in read(comparison() / "metrics.json")["settings"]] == [
        "lr 0.001, dropout 0.0",
        "lr 0.001, dropout 0.5",
        "lr 0.01, dropout 0.0",
        "lr 0.01, dropout 0.5",
    ]


def test_a_comparison_may_be_named(quick: list[Config]) -> None:
    assert type_in(f"train mlp --lr 1e-3 1e-2 --name mine {TINY}") == 0
    assert comparison().name == "mine"
    assert len(list(Path("samples/train").iterdir())) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train mlp --dataset digits folder:nowhere", "--dataset folder:nowhere: there is nothing"),
        ("attack fgsm --model mlp runs/a", "--model runs/a: there is nothing at runs/a"),
        ("attack fgsm --surrogate mlp runs/b", "--surrogate runs/b: there is nothing at runs/b"),
        ("inspect predict --model mlp --image 3 cat.png photos/cat.png", "--image photos/cat.png"),
    ],
)
def test_a_place_that_is_missing_in_the_last_cell_stops_a_grid_before_the_first(
    line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("cat.png").touch()
    assert type_in(f"{line} --dataset digits" if "--dataset" not in line else line) == 2
    assert words in capsys.readouterr().err
    assert not Path("samples").exists()


def test_code_in_a_folder_is_no_missing_place(quick: list[Config]) -> None:
    Path("nets").mkdir()
    Path("nets/mine.py").write_text(
        "from torch import nn\n\ndef make():\n    return nn.Sequential(nn.Flatten(), "
        "nn.Linear(784, 10))\n"
    )
    line = "attack noise --model nets/mine.py:make ./nets/mine.py:make --dataset digits --limit 4"
    assert type_in(f"{line} --eps 0.1") == 0


def test_single_runs_are_drawn_with_the_intervals_of_their_accuracies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[dict[str, tuple[float, float]]] = []
    rows = pictures.comparison

    def spied(*given: Any, intervals: dict[str, tuple[float, float]], **options: Any) -> Any:
        drawn.append(intervals)
        return rows(*given, intervals=intervals, **options)

    monkeypatch.setattr(grid, "comparison", spied)
    assert type_in(f"train mlp --lr 1e-3 1e-2 {TINY}") == 0
    settings = read(comparison() / "metrics.json")["settings"]
    (found,) = drawn
    assert found == {
        setting["setting"]: clopper_pearson(round(360 * setting["mean"]), 360)
        for setting in settings
    }


def test_another_comparison_of_the_same_name_is_refused_by_what_differs(
    quick: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    assert type_in(f"train mlp --lr 1e-3 1e-2 --name mine {TINY}") == 0
    assert type_in(f"train mlp --lr 1e-3 1e-1 --name mine {TINY}") == 2
    refusal = capsys.readouterr().err
    assert "holds another run (lr 0.001 0.01 there, 0.001 0.1 here)" in refusal
    (comparison() / "config.yaml").write_text("no: [mapping")
    assert type_in(f"train mlp --lr 1e-3 1e-1 --name mine {TINY}") == 2
    assert re.search(r"another run \(plan \w{12} there, \w{12} here\)", capsys.readouterr().err)


def test_three_numbers_are_drawn_as_a_curve(
    quick: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are settings to compare, three or more an axis; and words are never one."""
    drawn: list[tuple[str, Any]] = []
    against, rows = pictures.against, pictures.comparison

    def as_curve(points: dict[float, list[float]], *words: Any, **options: Any) -> Any:
        drawn.append(("curve", points))
        return against(points, *words, **options)

    def as_rows(groups: dict[str, list[float]], *words: Any, **options: Any) -> Any:
        drawn.append(("rows", groups))
        return rows(groups, *words, **options)

    monkeypatch.setattr(grid, "against", as_curve)
    monkeypatch.setattr(grid, "comparison", as_rows)
    for varied in ("--lr 0.01 0.02", "--lr 0.1 0.01 0.02 --seeds 2", "--optimizer adam sgd adamw"):
        assert type_in(f"train mlp {varied} {TINY}") == 0
    assert [kind for kind, _ in drawn] == ["rows", "curve", "rows"]
    curve = drawn[1][1]
    assert {value: pytest.approx(shares) for value, shares in curve.items()} == {
        0.1: [0.6, 0.7],
        0.01: [0.51, 0.61],
        0.02: [0.52, 0.62],
    }
    assert set(drawn[2][1]) == {"optimizer adam", "optimizer sgd", "optimizer adamw"}


@pytest.mark.parametrize("failing", [0, 1, 2, 3])
def test_a_cell_that_the_world_stops_does_not_lose_the_others(
    failing: int,
    quick: list[Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = f"train mlp --lr 1e-3 1e-2 --seeds 2 {TINY}"
    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            experiment,
            "run",
            failing_at(failing, EnvironmentFailure("the loss stopped being a number"), calls),
        )
        assert type_in(line) == 1
    said = capsys.readouterr().out
    assert len(calls) == 4
    assert len(quick) == 3
    assert said.count("not finished: the loss stopped being a number") == 1
    assert f"[{failing + 1}/4]" in next(
        text for text in said.splitlines() if "not finished" in text
    )
    assert said.splitlines()[-1] == "1 of 4 runs did not finish; the same line tries them again"
    _, *rows = cells((comparison() / "table.md").read_text(encoding="utf-8"))
    assert sorted(row[1] for row in rows) == ["1", "2"]
    assert type_in(line) == 0
    assert len(quick) == 4
    _, *rows = cells((comparison() / "table.md").read_text(encoding="utf-8"))
    assert [row[1] for row in rows] == ["2", "2"], "the comparison is made anew"


def failing_at(place: int, fault: BaseException, calls: list[int]) -> Runner:
    """The runner of now, but for its call number ``place``."""
    run = experiment.run

    def failing(config: Config) -> Finished[TrainResult]:
        calls.append(1)
        if len(calls) - 1 == place:
            raise fault
        finished: Finished[TrainResult] = run(config)
        return finished

    return failing


def test_where_no_cell_finished_nothing_is_gathered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Finished[TrainResult]:
        raise EnvironmentFailure("no")

    monkeypatch.setattr(experiment, "run", fail)
    assert type_in(f"train mlp --seeds 2 {TINY}") == 1
    assert "2 of 2 runs did not finish" in capsys.readouterr().out
    assert not Path("samples").exists()


@pytest.mark.parametrize(
    ("fault", "status"), [(UsageError("that cannot be"), 2), (KeyboardInterrupt(), 130)]
)
def test_what_the_user_did_stops_everything(
    fault: BaseException,
    status: int,
    quick: list[Config],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = f"train mlp --seeds 4 {TINY}"
    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "run", failing_at(2, fault, calls))
        assert type_in(line) == status
    assert len(calls) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not Path("samples/compare").exists()
    assert type_in(line) == 0
    assert len(quick) == 4, "what was finished before is not done again"


def test_a_full_disk_in_one_cell_is_the_worlds_fault_too(
    quick: list[Config], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It must end in status 1 and lose nothing, whether the other cells are tried or not."""
    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            experiment, "run", failing_at(1, OSError(28, "No space left on device"), calls)
        )
        assert type_in(f"train mlp --seeds 3 {TINY}") == 1
    said = capsys.readouterr()
    assert "No space left on device" in said.out + said.err
    assert len(said.err.splitlines()) <= 1
    assert len(list(Path("samples/train").glob("*/metrics.json"))) >= 1


def test_a_full_disk_in_one_cell_does_not_stop_the_others(
    quick: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run_plan`` says: a cell that the world stops (a full disk, a loss gone NaN) does not stop
    the others."""
    calls: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(
            experiment, "run", failing_at(1, OSError(28, "No space left on device"), calls)
        )
        assert type_in(f"train mlp --seeds 3 {TINY}") == 1
    assert len(calls) == 3


def test_a_comparison_that_cannot_be_written_loses_no_run(
    quick: list[Config], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("samples").mkdir()
    Path("samples/compare").write_text("in the way")
    line = f"train mlp --seeds 2 {TINY}"
    assert type_in(line) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert len(list(Path("samples/train").glob("*/metrics.json"))) == 2
    Path("samples/compare").unlink()
    assert type_in(line) == 0
    assert len(quick) == 2


# --- workers --------------------------------------------------------------------------------------
def test_runs_side_by_side_are_those_that_run_in_turn(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begin = workers._begin

    def begin_blank(*given: Any) -> None:  # handed to the workers by value
        from painting import paint_blank

        begin(*given)
        paint_blank()

    monkeypatch.setattr(workers, "_begin", begin_blank)
    line = f"train mlp --width 8 --lr 1e-3 1e-2 --seeds 2 {TINY}"
    assert type_in(f"{line} --out turn") == 0
    in_turn = capsys.readouterr().out
    assert type_in(f"{line} --out side --workers 2") == 0
    side = capsys.readouterr().out
    assert sorted(text for text in side.splitlines() if text.startswith("[")) == [
        text for text in in_turn.splitlines() if text.startswith("[")
    ]
    files = sorted(Path("turn/train").glob("*/model.safetensors"))
    assert len(files) == 4
    for file in files:
        assert file.read_bytes() == Path("side", *file.parts[1:]).read_bytes()
    tables = [
        next(Path(out, "compare").glob("*/table.md")).read_text().splitlines()
        for out in ("turn", "side")
    ]
    figures = [[row.split("|")[1:5] for row in rows if row.startswith("| lr")] for rows in tables]
    assert figures[0] == figures[1]
    assert len(figures[0]) == 2


def test_a_mistake_in_a_worker_is_one_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    Path("empty").mkdir()
    line = f"train mlp --seeds 2 --workers 2 {TINY.replace('digits', 'folder:empty')}"
    assert type_in(line) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("advlab: empty: ")
    assert not Path("samples/compare").exists()


# --- heat maps ------------------------------------------------------------------------------------
def test_cells_without_a_use_for_an_option_have_a_place_of_their_own_in_a_heat_map(
    quick: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Any, ...]] = []
    real = pictures_of_grids.heat

    def spy(*given: Any, **more: Any) -> Any:
        drawn.append(given)
        return real(*given, **more)

    monkeypatch.setattr(heats, "heat", spy)
    line = f"train mlp --optimizer adam sgd --momentum .7 .8 {TINY}"
    assert type_in(line) == 0
    ((tables, rows, columns, *_),) = drawn
    assert rows == ["optimizer adam", "optimizer sgd"]
    assert columns == ["momentum 0.7", "momentum 0.8", "momentum –"]
    assert np.isnan(tables["mlp"]).tolist() == [[True, True, False], [False, False, True]]


def test_a_grid_over_several_options_is_drawn_as_a_heat_map(
    quick: list[Config], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[Any, ...]] = []
    real = pictures_of_grids.heat

    def spy(tables: Any, rows: Any, columns: Any, *rest: Any, **more: Any) -> Any:
        drawn.append((tables, rows, columns))
        return real(tables, rows, columns, *rest, **more)

    monkeypatch.setattr(heats, "heat", spy)
    assert (
        type_in(
            "train mlp separable --lr 1e-3 1e-2 --weight-decay 0 .1 --momentum .5 .9 --seeds 2 "
            f"--optimizer sgd {TINY}"
        )
        == 0
    )
    ((tables, rows, columns),) = drawn
    assert list(tables) == ["mlp", "separable"]
    assert (len(rows), len(columns)) == (4, 2)
    assert {line.split()[0] for name in rows for line in name.split("\n")} == {"lr", "momentum"}
    assert columns == ["weight decay 0.0", "weight decay 0.1"]
    # The stand-in's figure is 0.5 + 0.1 · seed + lr: the mean over two seeds is 0.55 + lr.
    for name, value in zip(rows, tables["mlp"][:, 0], strict=True):
        assert value == pytest.approx(0.55 + (0.001 if "lr 0.001" in name else 0.01))
    assert (comparison() / "heatmap.png").is_file()


def test_one_option_alone_makes_no_heat_map(quick: list[Config]) -> None:
    assert type_in(f"train mlp --lr 1e-3 1e-2 {TINY}") == 0
    assert not (comparison() / "heatmap.png").exists()
