"""``advlab list`` and ``advlab remove``: which runs are shown, how, in what order; what is deleted
and what never is."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from made_results import MACHINE, train_result

from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.config.resolve import Config
from advlab.models import mlp
from advlab.results.comparison import ComparisonResult
from advlab.runs import results
from advlab.runs.files import write_text
from advlab.runs.folder import RunFolder
from advlab.runs.results import result_classes

LONG = "mlp-" + "digits-" * 12 + "seed0"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def type_in(line: str, status: int = 0) -> None:
    assert main(line.split()) == status


def put(place: str, day: int = 1, **changes: Any) -> Path:
    folder = Path("samples") / place
    folder.mkdir(parents=True)
    results.write(folder, train_result(date=f"2026-01-{day:02d}T03:04:05+00:00", **changes))
    return folder


def comparison(command: str, values: dict[str, float], **changes: Any) -> ComparisonResult:
    settings = [
        {
            "setting": name,
            "mean": value,
            "std": None,
            "runs": [{"seed": 0, "folder": name, "value": value}],
        }
        for name, value in values.items()
    ]
    given: dict[str, Any] = {
        "command": command,
        "component": "+".join(values),
        "dataset": "digits",
        "origin": "the digits",
        "seed": 0,
        "seconds": 2.0,
        "date": "2026-01-04T03:04:05+00:00",
        "machine": MACHINE,
        "figure": "robust_accuracy",
        "figure_words": "robust accuracy",
        "fraction": True,
        "lower_is_better": True,
        "holds_for": "at ε = 0.1 (L∞)",
        "same_target": command == "attack",
        "settings": settings,
    }
    return ComparisonResult.model_validate({**given, **changes})


def put_everything() -> None:
    """Runs whose order by date is not that of their names; one of an earlier version, three that
    cannot be read."""
    put("train/b", 3)
    put("train/a", 5, model="cnn", dataset="mnist", test_accuracy=0.9875)
    put(f"train/{LONG}", 1)
    folder = Path("samples/compare/attacks")
    folder.mkdir(parents=True)
    results.write(folder, comparison("attack", {"fgsm": 0.25, "pgd": 0.0333}))
    old = Path("samples/attack/old")
    old.mkdir(parents=True)
    (old / "metrics.json").write_text(
        '{"command": "attack", "dataset": "digits", "model": "cnn", "robust_accuracy": 0.125}'
    )
    for name, content in {
        "cut": b'{"a',
        "binary": b"\xff\xfe",
        "later": b'{"schema_version": 9, "kind": "train"}',
    }.items():
        bad = put(f"train/{name}", 2)
        (bad / "metrics.json").write_bytes(content)
    for number, file in enumerate(
        [old, *(Path("samples/train") / name for name in ("cut", "binary", "later"))]
    ):
        moment = 1767312000 + number  # the second of January 2026, midnight and a little
        os.utime(file / "metrics.json", (moment, moment))


def rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_runs_of_one_second_are_listed_as_they_were_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for moment, place in enumerate(("train/b", "train/a", "train/c")):
        os.utime(put(place) / "metrics.json", ns=(moment, moment))
    type_in("list")
    runs = [row[0] for row in rows(capsys.readouterr().out)]
    assert runs == ["samples/train/b", "samples/train/a", "samples/train/c"]


def test_runs_are_listed_by_date_the_newest_last(capsys: pytest.CaptureFixture[str]) -> None:
    put_everything()
    type_in("list")
    said = capsys.readouterr().out
    found = rows(said)
    dates = [row[3] for row in found if row[3]]
    assert dates == sorted(dates)
    runs = [row[0] for row in found if row[0]]
    assert runs[1:] == [
        "samples/attack/old",
        "samples/train/cut",
        "samples/train/binary",
        "samples/train/later",
        "samples/train/b",
        "samples/compare/attacks",
        "samples/train/a",
    ]
    assert runs[0].startswith("samples/train/")
    assert Path(runs[0]).is_dir()
    assert found[-1] == ["samples/train/a", "mnist", "test accuracy 98.75 %", "2026-01-05"]
    assert "robust accuracy 12.50 %" in said


def test_on_a_terminal_long_names_continue_in_the_next_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_everything()
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "90")
    type_in("list")
    said = capsys.readouterr().out
    assert all(len(line) <= 90 for line in said.splitlines() if line.startswith(("|", "  ")))
    assert "boundary to its point nearest to the\n               image." in said
    names = [""]
    for name, _, _, date in rows(said):
        names += [name] if date else []
        names[-1] += "" if date else name
    assert all(Path(name).is_dir() for name in names[1:])


def test_damaged_runs_are_listed_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    put_everything()
    type_in("list --format csv")
    told = {row["run"]: row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}
    assert told["samples/train/cut"]["result"].startswith("is damaged (Unterminated string")
    assert told["samples/train/binary"]["result"].startswith("is damaged ('utf-8' codec")
    assert (
        "schema 9, which this version of advlab (schema 1) does not know"
        in told["samples/train/later"]["result"]
    )
    assert told["samples/train/cut"]["date"].startswith("2026-01-02T00:00:")
    assert len(told) == 8


def test_a_long_result_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    put_everything()
    type_in("list --command compare")
    (first, *more) = rows(capsys.readouterr().out)
    whole = " ".join([first[2], *(row[2] for row in more)])
    assert whole == (
        "robust accuracy 3.33 % at ε = 0.1 (L∞), lowest of 2 settings: pgd is the strongest attack"
    )
    assert all(row[0] == row[1] == row[3] == "" for row in more)


def test_the_best_of_settings_is_named_by_what_is_better() -> None:
    values = {"x": 0.5, "y": 0.75}
    assert comparison("defend", values, lower_is_better=False, holds_for="").summary() == (
        "robust accuracy 75.00 %, highest of 2 settings (y)"
    )
    lowest = comparison("gan", values, figure_words="FID", fraction=False, holds_for="")
    assert lowest.summary() == "FID 0.5, lowest of 2 settings (x)"
    assert (
        comparison("train", {"x": 0.5}, holds_for="").summary()
        == "robust accuracy 50.00 %, mean of 1 runs"
    )
    unlike = comparison("attack", values, differ=["examples"])
    assert unlike.summary() == (
        "robust accuracy 50.00 % to 75.00 % at ε = 0.1 (L∞), on different examples"
    )
    both = comparison("train", values, differ=["data", "conditions"], holds_for="")
    assert both.summary() == (
        "robust accuracy 50.00 % to 75.00 % on different data and under different conditions"
    )
    same = comparison("train", {"x": 0.5, "y": 0.5}, differ=["data"], holds_for="")
    assert same.summary() == "robust accuracy 50.00 % on different data"
    three = {"x": 0.5, "y": 0.5, "z": 0.75}
    head = "robust accuracy 50.00 % at ε = 0.1 (L∞)"
    assert comparison("attack", three).summary() == f"{head}, lowest of 3 settings (x and y)"
    assert comparison("attack", {"x": 0.5, "y": 0.5}).summary() == (
        f"{head}, the same in both settings"
    )
    networks = comparison("attack", values, same_target=False)
    assert networks.summary() == f"{head}, lowest of 2 settings (x)"


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ("--command train --model mlp", {LONG, "b"}),
        ("--command train", {LONG, "b", "a", "cut", "binary", "later"}),
        ("--command attack", {"old"}),
        ("--dataset mnist", {"a"}),
        ("--model cnn", {"a", "old"}),
        ("--since 2026-01-03", {"b", "a", "attacks"}),
        ("--since 2026-01-06", set()),
        ("--dataset digits --since 2026-01-03 --command train", {"b"}),
    ],
)
def test_filters(flags: str, names: set[str], capsys: pytest.CaptureFixture[str]) -> None:
    put_everything()
    type_in(f"list {flags} --format json")
    assert {Path(run["run"]).name for run in json.loads(capsys.readouterr().out)} == names
    type_in(f"list {flags}")
    said = capsys.readouterr().out
    assert "data sets (" not in said, "only the runs that were asked for"
    assert said.startswith("finished runs" if names else "no such finished runs under samples")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--since yesterday", "--since: must be a day such as 2026-01-31, not 'yesterday'"),
        ("--since 2026-02-30", "--since: must be a day"),
        ("--command tran", "--command: unknown command 'tran' (did you mean 'train'?)"),
        ("--format yaml", "--format: must be one of table, csv, json, latex"),
        ("--model", "--model: needs a value"),
    ],
)
def test_bad_lines(flags: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(f"list {flags}", 2)
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1


def test_json_holds_the_whole_results(capsys: pytest.CaptureFixture[str]) -> None:
    put_everything()
    type_in("list --format json")
    told = {run["run"]: run for run in json.loads(capsys.readouterr().out)}
    for name in ("train/a", f"train/{LONG}", "compare/attacks", "attack/old"):
        folder = Path("samples") / name
        assert told[str(folder)]["result"] == json.loads((folder / "metrics.json").read_text())
    assert told["samples/train/cut"]["damaged"].startswith("is damaged (")
    assert "result" not in told["samples/train/cut"]


def test_csv_holds_the_figure_as_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    put("train/a", test_accuracy=1 / 3, dataset='folder:a, "b"')
    type_in("list --format csv")
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(row["value"]) == 1 / 3
    assert (row["figure"], row["dataset"], row["seed"]) == ("test_accuracy", 'folder:a, "b"', "0")


def test_the_figure_stands_before_the_word_that_leads_to_its_conditions() -> None:
    after = results.Headline("accuracy_after", "accuracy after")
    assert after.sentence("19.35 %", "patch at 1 %") == "accuracy 19.35 % after patch at 1 %"
    assert after.sentence("19.35 %", "") == "accuracy after 19.35 %"
    fid = results.Headline("fid", "FID", fraction=False)
    assert fid.sentence("3.2", "on 100 images") == "FID 3.2 on 100 images"


def test_latex_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    put("train/a_b", dataset="folder:50%&#_{x}~^\\$")
    put("train/curve", 2)
    folder = Path("samples/compare/attacks")
    folder.mkdir(parents=True)
    results.write(folder, comparison("attack", {"fgsm": 0.25, "pgd": 0.0333}))
    type_in("list --format latex")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == r"\begin{tabular}{lllr}"
    assert [lines[1], lines[3], *lines[-2:]] == [
        r"\toprule",
        r"\midrule",
        r"\bottomrule",
        r"\end{tabular}",
    ]
    assert lines[4] == (
        r"samples/train/a\_b & folder:50\%\&\#\_\{x\}\textasciitilde{}\textasciicircum{}"
        r"\textbackslash{}\$"
        r" & test accuracy 50.00 \% & 2026-01-01 \\"
    )
    assert r"at $\varepsilon$ = 0.1 (L$\infty$)" in lines[6]
    assert all(line.count(" & ") == 3 for line in lines[4:7])


# --- schema ---------------------------------------------------------------------------------------
def test_the_schema_takes_what_is_written_and_nothing_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    type_in("list --schemas")
    schema = json.loads(capsys.readouterr().out)
    assert len(schema["oneOf"]) == len(result_classes()) > 3
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    good = json.loads((put("train/a") / "metrics.json").read_text())
    validator.validate(good)
    validator.validate(comparison("attack", {"fgsm": 0.25}).model_dump(mode="json"))
    bad: list[dict[str, Any]] = [
        {**good, "kind": "memorize"},
        {**good, "kind": "oracle"},
        {**good, "test_accuracy": "high"},
        {**good, "surplus": 1},
        {key: value for key, value in good.items() if key != "machine"},
        {**good, "examples": {"train": 1}},
    ]
    for values in bad:
        assert not validator.is_valid(values)


@pytest.mark.parametrize(
    "line",
    [
        "train mlp --width 8 --dataset digits --train-size 20 --seeds 2 --epochs 1",
        "train bow --train-size 60 --epochs 1",
        "memorize mlp --width 8 --dataset digits --train-size 20 --epochs 1 --seeds 1",
        "scratch --hidden 4 --dataset digits --train-size 60 --epochs 1",
        "scratch check --hidden 4 --entries 4",
    ],
)
def test_what_runs_write_meets_the_schema(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    type_in(line)
    validator = jsonschema.Draft202012Validator(results.schemas())
    files = list(Path("samples").glob("*/*/metrics.json"))
    assert len(files) == (3 if "--seeds 2" in line else 1)
    for file in files:
        validator.validate(json.loads(file.read_text()))
    capsys.readouterr()
    type_in("list")
    assert {Path(row[0]) for row in rows(capsys.readouterr().out)} == {
        file.parent for file in files
    }


# --- remove ---------------------------------------------------------------------------------------
def run(name: str) -> Path:
    """A finished run's folder, as advlab leaves it."""
    folder = RunFolder.of(Config("train", "mlp", mlp.Options(name=name)), {})
    with folder.claim(), folder.begin():
        write_text(folder.path / "model.safetensors", "weights")
        results.write(folder.path, train_result())
    return folder.path


@pytest.mark.parametrize("name", ["samples/train/a", "train/a", "./samples/train/a/"])
def test_a_run_is_removed_by_its_path_or_its_name(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a")
    kept = run("b")
    type_in(f"remove {name}")
    assert capsys.readouterr().out == "samples/train/a removed: 4 files\n"
    assert list(Path("samples/train").iterdir()) == [kept]
    type_in(f"remove {name}", 2)
    assert "there is no run" in capsys.readouterr().err


def test_several_are_removed_and_a_rehearsal_removes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [run("a"), run("b")]
    (folders[1] / "notes.txt").touch()
    before = sorted(Path("samples").rglob("*"))
    type_in("remove train/a train/b --dry-run")
    assert capsys.readouterr().out.splitlines() == [
        "samples/train/a would be removed: 4 files",
        "samples/train/b would be removed: 4 files; not written by advlab and kept: notes.txt",
    ]
    assert sorted(Path("samples").rglob("*")) == before
    type_in("remove train/a train/b")
    assert capsys.readouterr().out.splitlines() == [
        "samples/train/a removed: 4 files",
        "samples/train/b removed: 4 files; not written by advlab and kept: notes.txt",
    ]
    assert not folders[0].exists()
    assert {path.name for path in folders[1].iterdir()} == {"notes.txt", ".lock"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "photos",
            "remove: photos is not a run of this version of advlab; only such runs are removed",
        ),
        ("train/old", "remove: samples/train/old is not a run of this version"),
        (
            "train/a train/nowhere",
            "remove: there is no run train/nowhere and no samples/train/nowhere; 'advlab list' "
            "shows all runs",
        ),
        ("train/a samples/train/a", "remove: train/a is named twice"),
        ("", "remove: names of runs are missing"),
        ("train", "remove: samples/train is not a run"),
    ],
)
def test_nothing_is_removed_where_anything_is_no_run(
    words: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("a")
    put("train/old")
    Path("photos").mkdir()
    Path("photos/cat.png").touch()
    before = sorted(Path().rglob("*"))
    type_in(f"remove {words}", 2)
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


# --- kinds of components --------------------------------------------------------------------------
def test_the_table_of_attacks_has_a_row_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "attacks", "--table"]) == 0
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert {row[1].strip() for row in rows} == set(component_names("advlab.attacks"))
    for row in rows:
        assert all(cell.strip() for cell in row[1:-1]), row


@pytest.mark.parametrize("name", component_names("advlab.attacks"))
def test_what_an_attack_sees_goes_with_its_budget(name: str) -> None:
    kind = load_component("advlab.attacks", name, "attack").Options
    if "queries" in kind.model_fields:
        assert kind.sees in ("logits", "predicted class")
    if "eot" in kind.model_fields:
        assert kind.sees == "gradients"
    assert kind.checked_against


def test_components_of_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "defences"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("defences (advlab defend NAME)\n")
    assert "trades" in printed
    assert "finished runs" not in printed
    assert main(["list", "actions"]) == 0
    printed = capsys.readouterr().out
    assert "advlab gan NAME" in printed
    assert "advlab scratch NAME" in printed


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("list atacks", "list: unexpected 'atacks' (did you mean 'attacks'?)"),
        ("list attacks models", "list: unexpected 'attacks models'"),
        ("list --table", "--table goes with 'advlab list attacks'"),
        ("list models --table", "--table goes with 'advlab list attacks'"),
    ],
)
def test_kinds_that_there_are_not(
    line: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 2
    assert message in capsys.readouterr().err
