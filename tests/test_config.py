"""From what is typed and what a file says to the cells that run: precedence, grids, variants, and
the way back to a file."""

from __future__ import annotations

import itertools
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from advlab.cli.main import main
from advlab.components import component_names, load_component
from advlab.config.base import flag_of, identity_of
from advlab.config.former import FORMER_NAMES
from advlab.config.registry import COMMANDS, command_named
from advlab.config.resolve import Config, Plan, from_mapping, resolve, to_mapping
from advlab.config.source import MOST_CELLS
from advlab.config.yamlfile import Document, dump_text, read
from advlab.errors import UsageError

ROOT = Path(__file__).parents[1]
CONFIGURATIONS = sorted((ROOT / "advlab" / "recipes").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that the command line would have carried out."""
    plans: list[Plan] = []

    def carry_out(plan: Plan) -> int:
        plans.append(plan)
        return 0

    for command in COMMANDS.values():
        experiment = ModuleType(command.experiment)
        vars(experiment)["main"] = carry_out
        monkeypatch.setitem(sys.modules, command.experiment, experiment)
    return plans


def plan_of(planned: list[Plan], line: str) -> Plan:
    """What ``advlab`` followed by ``line`` comes to."""
    planned.clear()
    assert main(shlex.split(line)) == 0
    (plan,) = planned
    return plan


def options_of(planned: list[Plan], line: str) -> Any:
    """The options of the only cell of ``line``."""
    (cell,) = plan_of(planned, line).cells
    return cell.options


# --- precedence -----------------------------------------------------------------------------------


def test_a_default_holds_where_nothing_is_said(planned: list[Plan]) -> None:
    options = options_of(planned, "train cnn")
    assert options.lr == command_named("train").options("cnn").model_fields["lr"].default
    assert options.dropout == 0.0


ORDERS = [
    " ".join(order) for order in itertools.permutations(["--config f.yaml", "--lr 0.3", "--seed 7"])
]


@pytest.mark.parametrize("flags", ORDERS)
def test_flag_beats_file_beats_default_in_any_order(flags: str, planned: list[Plan]) -> None:
    Path("f.yaml").write_text("lr: 0.2\nepochs: 4\nseed: 5\n")
    options = options_of(planned, f"train cnn {flags}")
    assert (options.lr, options.epochs, options.seed, options.momentum) == (0.3, 4, 7, 0.9)


@pytest.mark.parametrize(
    "line",
    [
        "--config f.yaml train mlp --lr 0.3",
        "--config=f.yaml train mlp --lr 0.3",
        "train --config f.yaml mlp --lr 0.3",
        "train mlp --config f.yaml --lr 0.3",
        "train mlp --lr 0.3 --config f.yaml",
        "train mlp --lr=0.3 --config=f.yaml",
        "train --config f.yaml --lr 0.3",
        "--config f.yaml train --lr 0.3",
        "--config f.yaml --lr 0.3",
        "--lr 0.3 --config f.yaml",
    ],
)
def test_the_file_may_be_named_anywhere(line: str, planned: list[Plan]) -> None:
    Path("f.yaml").write_text("command: train\nmodel: mlp\nlr: 0.2\nepochs: 4\n")
    (cell,) = plan_of(planned, line).cells
    assert (cell.command, cell.component, cell.options.lr, cell.options.epochs) == (
        "train",
        "mlp",
        0.3,
        4,
    )


def test_a_file_alone_is_a_line(planned: list[Plan]) -> None:
    Path("f.yaml").write_text("command: attack\nattack: pgd\nsteps: 3\n")
    (cell,) = plan_of(planned, "--config f.yaml").cells
    assert (cell.command, cell.component, cell.options.steps) == ("attack", "pgd", 3)


def test_a_typed_component_beats_the_files(planned: list[Plan]) -> None:
    Path("f.yaml").write_text("command: train\nmodel: mlp\nlr: 0.2\n")
    (cell,) = plan_of(planned, "train separable --config f.yaml").cells
    assert (cell.component, cell.options.lr) == ("separable", 0.2)


@pytest.mark.parametrize(
    ("line", "seed"),
    [("train cnn --config f.yaml", [1, 2]), ("train cnn --config f.yaml --seed 9", [9])],
)
def test_a_flag_replaces_a_files_list(line: str, seed: list[int], planned: list[Plan]) -> None:
    Path("f.yaml").write_text("seed: [1, 2]\n")
    assert [cell.options.seed for cell in plan_of(planned, line).cells] == seed


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "dropout"),
    [
        ("", 0.0),
        ("--dropout", 0.5),
        ("--dropout 0.2", 0.2),
        ("--dropout --seed 1", 0.5),
        ("--dropout=0", 0.0),
    ],
)
def test_dropout_alone_means_a_half(typed: str, dropout: float, planned: list[Plan]) -> None:
    assert options_of(planned, f"train cnn {typed}").dropout == dropout


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("1.e-3", 0.001),
        (".001", 0.001),
        ("+0.001", 0.001),
        ("2", 2.0),
        ("'1e-3'", 0.001),
    ],
)
def test_a_number_in_a_file(text: str, value: float, planned: list[Plan]) -> None:
    Path("f.yaml").write_text(f"lr: {text}\n")
    assert options_of(planned, "train cnn --config f.yaml").lr == value


def test_a_file_without_quotes_reads_numbers_as_numbers() -> None:
    Path("f.yaml").write_text(
        "a: 1e-3\nb: 10\nc: no\nd: 1:30\ne: true\nf: 2026-01-01\ng: .inf\nh: ~\ni: 0x10\nj: "
        "-2.5e+3\n"
    )
    wanted = {
        "a": 0.001,
        "b": 10,
        "c": "no",
        "d": "1:30",
        "e": True,
        "f": "2026-01-01",
        "g": float("inf"),
        "h": None,
        "i": 16,
    }
    values = read("f.yaml").values
    assert values == {**wanted, "j": -2500.0}
    for key, kind in {"a": float, "b": int, "e": bool}.items():
        assert isinstance(values[key], kind)


@pytest.mark.parametrize("text", ["1.10", "1e3", "0x1F", "2024"])
def test_a_number_of_a_file_is_its_own_text_where_a_text_is_wanted(
    text: str, planned: list[Plan]
) -> None:
    Path("f.yaml").write_text(f"name: {text}\nlr: 1e-3\nepochs: 0x2\n")
    options = options_of(planned, "train mlp --config f.yaml")
    assert options.name == text
    assert (type(options.lr), type(options.epochs)) == (float, int)


@pytest.mark.parametrize(
    ("text", "value"),
    [("10", 10), ("+7", 7), ("-7", -7), ("0", 0), ("0o17", 15), ("0x1F", 31), ("1_000", 1000)],
)
def test_a_whole_number_in_a_file(text: str, value: int, planned: list[Plan]) -> None:
    Path("f.yaml").write_text(f"a: {text}\n")
    read_back = read("f.yaml").values["a"]
    assert read_back == (text if "_" in text else value)
    if value > 0:
        Path("f.yaml").write_text(f"epochs: {text}\n")
        assert options_of(planned, "train mlp --config f.yaml").epochs == value


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "epochs: 010",
            "010 starts with a zero, which YAML's versions read differently; write 10, or '010'",
        ),
        (
            "seed: [1, 0123]",
            "0123 starts with a zero, which YAML's versions read differently; write 123,",
        ),
        ("name: -007", "write -7, or '-007' in quotes for a text"),
        ("epochs: 00", "write 0, or '00'"),
        ("epochs: 1:30", "epochs: must be a whole number"),
        ("epochs: 0b1", "epochs: must be a whole number"),
        ("010: 3", "keys are names such as lr, not '010'"),
    ],
)
def test_a_number_that_can_be_misread_in_a_file(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("f.yaml").write_text(f"# a comment\n{line}\n")
    assert main(["train", "mlp", "--config", "f.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("advlab: f.yaml:2: ")
    assert said in error
    assert error.count("\n") == 1


def test_a_number_does_for_text_in_a_file(planned: list[Plan]) -> None:
    Path("f.yaml").write_text("target: 3\nname: 20\n")
    options = options_of(planned, "attack fgsm --config f.yaml")
    assert (options.target, options.name) == ("3", "20")


@pytest.mark.parametrize(
    ("typed", "resume", "overwrite"),
    [("", True, False), ("--no-resume", False, False), ("--overwrite", True, True)],
)
def test_switches(typed: str, resume: bool, overwrite: bool, planned: list[Plan]) -> None:
    options = options_of(planned, f"train cnn {typed}")
    assert (options.resume, options.overwrite) == (resume, overwrite)


@pytest.mark.parametrize(
    "line", ["train cnn --batch_size 8", "train cnn --batch-size 8", "train cnn --config f.yaml"]
)
@pytest.mark.parametrize("key", ["batch-size", "batch_size"])
def test_both_spellings_of_a_name(line: str, key: str, planned: list[Plan]) -> None:
    Path("f.yaml").write_text(f"{key}: 8\n")
    assert options_of(planned, line).batch_size == 8


def test_infinity_where_it_has_a_meaning(planned: list[Plan]) -> None:
    Path("f.yaml").write_text("p: .inf\n")
    assert options_of(planned, "attack lp --p inf").p == float("inf")
    assert options_of(planned, "attack lp --config f.yaml").p == float("inf")


# --- grids, seeds, components, variants -----------------------------------------------------------


def test_several_values_are_multiplied_out(planned: list[Plan]) -> None:
    plan = plan_of(planned, "train cnn --lr 0.1 0.2 --batch-size 8 16 32")
    assert [(cell.options.batch_size, cell.options.lr) for cell in plan.cells] == list(
        itertools.product([8, 16, 32], [0.1, 0.2])
    )
    assert plan.axes == {"batch_size": (8, 16, 32), "lr": (0.1, 0.2)}
    assert plan.labels[1] == "batch size 8, lr 0.2"
    assert len(set(plan.labels)) == 6


def test_the_order_of_typing_makes_no_other_grid(planned: list[Plan]) -> None:
    one = plan_of(planned, "train cnn --lr 0.1 0.2 --batch-size 8 16")
    other = plan_of(planned, "train cnn --batch-size 8 16 --lr 0.1 0.2")
    assert (one.cells, one.labels, list(one.axes)) == (other.cells, other.labels, list(other.axes))


def test_seeds_are_counted_up(planned: list[Plan]) -> None:
    plan = plan_of(planned, "train cnn --seed 4 --seeds 3")
    assert [(cell.options.seed, cell.options.seeds) for cell in plan.cells] == [
        (4, 1),
        (5, 1),
        (6, 1),
    ]
    assert plan.axes == {"seed": (4, 5, 6)}
    assert set(plan.labels) == {"cnn"}


def test_seeds_go_with_every_setting(planned: list[Plan]) -> None:
    plan = plan_of(planned, "train cnn --seeds 2 --lr 0.1 0.2")
    assert [(cell.options.lr, cell.options.seed) for cell in plan.cells] == [
        (0.1, 0),
        (0.1, 1),
        (0.2, 0),
        (0.2, 1),
    ]
    assert list(plan.axes) == ["lr", "seed"]
    assert plan.labels == ("lr 0.1", "lr 0.1", "lr 0.2", "lr 0.2")


def test_one_value_varies_nothing(planned: list[Plan]) -> None:
    Path("f.yaml").write_text("lr: [0.1]\n")
    plan = plan_of(planned, "train cnn --config f.yaml --seeds 1")
    assert len(plan.cells) == 1
    assert plan.axes == {}


def test_several_radii_are_one_run(planned: list[Plan]) -> None:
    plan = plan_of(planned, "attack fgsm --eps 0 0.1 0.2")
    assert [cell.options.eps for cell in plan.cells] == [[0.0, 0.1, 0.2]]
    assert plan.axes == {}


@pytest.mark.parametrize("line", ["train cnn mlp --seeds 2", "train --config f.yaml"])
def test_several_components(line: str, planned: list[Plan]) -> None:
    Path("f.yaml").write_text("model: [cnn, mlp]\nseeds: 2\n")
    plan = plan_of(planned, line)
    assert [(cell.component, cell.options.seed) for cell in plan.cells] == [
        ("cnn", 0),
        ("cnn", 1),
        ("mlp", 0),
        ("mlp", 1),
    ]
    assert plan.labels == ("cnn", "cnn", "mlp", "mlp")
    assert plan.axes == {"model": ("cnn", "mlp"), "seed": (0, 1)}


def test_each_component_keeps_its_own_defaults(planned: list[Plan]) -> None:
    cells = plan_of(planned, "train mlp separable").cells
    for cell in cells:
        assert cell.options == command_named("train").options(cell.component)()
    assert cells[0].options.batch_size != cells[1].options.batch_size


VARIANTS = """
command: train
epochs: 4
variants:
- {label: small, model: mlp, width: 8}
- {label: large, model: mlp, width: 16, epochs: 9}
- {label: other, model: cnn, lr: [0.1, 0.2]}
"""


def test_variants_are_laid_over_the_file(planned: list[Plan]) -> None:
    Path("f.yaml").write_text(VARIANTS)
    plan = plan_of(planned, "--config f.yaml --batch-size 7")
    assert [cell.options.epochs for cell in plan.cells] == [4, 9, 4, 4]
    assert [getattr(cell.options, "width", None) for cell in plan.cells] == [8, 16, None, None]
    assert {cell.options.batch_size for cell in plan.cells} == {7}
    assert plan.labels == ("small", "large", "other, lr 0.1", "other, lr 0.2")
    assert plan.axes == {"variant": ("small", "large", "other"), "lr": (0.1, 0.2)}


def test_a_flag_beats_a_variant(planned: list[Plan]) -> None:
    Path("f.yaml").write_text(VARIANTS)
    assert {
        cell.options.epochs for cell in plan_of(planned, "--config f.yaml --epochs 2").cells
    } == {2}


def test_variants_without_labels_are_called_by_their_component(planned: list[Plan]) -> None:
    Path("f.yaml").write_text("variants: [{model: cnn}, {model: mlp, lr: 0.1}]\n")
    plan = plan_of(planned, "train --config f.yaml")
    assert plan.labels == ("cnn", "mlp")
    assert plan.axes == {"model": ("cnn", "mlp")}


def test_a_variant_with_several_components_names_each(planned: list[Plan]) -> None:
    Path("f.yaml").write_text(
        "variants: [{label: A, model: [cnn, mlp]}, {label: B, model: convnet}]\n"
    )
    assert plan_of(planned, "train --config f.yaml").labels == ("A, cnn", "A, mlp", "B")


def test_axes_of_variants_are_joined(planned: list[Plan]) -> None:
    Path("f.yaml").write_text(
        "variants: [{label: A, model: cnn, lr: [0.1, 0.2]}, {label: B, model: mlp, lr: [0.2, "
        "0.3], seeds: 2}]\n"
    )
    plan = plan_of(planned, "train --config f.yaml")
    assert plan.axes == {"variant": ("A", "B"), "lr": (0.1, 0.2, 0.3), "seed": (0, 1)}
    assert list(plan.axes)[-1] == "seed"


@pytest.mark.parametrize(
    ("line", "whole", "cell"),
    [("train cnn --name x", None, "x"), ("train cnn --name x --seeds 2", "x", None)],
)
def test_a_name_is_the_runs_or_the_comparisons(
    line: str, whole: str | None, cell: str | None, planned: list[Plan]
) -> None:
    plan = plan_of(planned, line)
    assert plan.name == whole
    assert {one.options.name for one in plan.cells} == {cell}


# --- cells ----------------------------------------------------------------------------------------


def test_changed_makes_another_and_validates_it() -> None:
    (cell,) = resolve("train", ["cnn"], {"lr": "0.1"}, None).cells
    other = cell.changed(lr=0.2, dataset="digits")
    assert (other.options.lr, other.options.dataset, other.component) == (0.2, "digits", "cnn")
    assert (cell.options.lr, cell.options.dataset) == (0.1, "auto")
    assert type(other.options) is type(cell.options)
    with pytest.raises(ValidationError):
        cell.changed(lr=-1)
    with pytest.raises(ValidationError):
        cell.changed(nothing=1)


def test_nothing_changes_a_cells_options() -> None:
    (cell,) = resolve("train", ["cnn"], {}, None).cells
    with pytest.raises(ValidationError, match="frozen"):
        cell.options.lr = 3


def every_component() -> list[tuple[str, str]]:
    return [
        (command.name, component)
        for command in COMMANDS.values()
        for component in command.components()
    ]


@pytest.mark.parametrize(("command", "component"), every_component())
def test_a_cell_comes_back_from_its_mapping_and_from_its_text(command: str, component: str) -> None:
    given = {"seed": "3", "seeds": "1", "name": "1e-3", "out": "no", "threads": "2"}
    known = COMMANDS[command].options(component).model_fields
    (cell,) = resolve(
        command, [component], {key: value for key, value in given.items() if key in known}, None
    ).cells
    mapping = to_mapping(cell)
    assert mapping["command"] == command
    assert mapping[COMMANDS[command].kind] == component
    assert from_mapping(mapping) == cell
    Path("f.yaml").write_text(dump_text(mapping))
    assert from_mapping(read("f.yaml").values) == cell


def test_a_mapping_of_several_runs_is_no_cell() -> None:
    with pytest.raises(UsageError, match="single run"):
        from_mapping({"command": "train", "model": "cnn", "seeds": 2})


@pytest.mark.parametrize(
    "text",
    [
        "1e-3",
        "yes",
        "true",
        "null",
        "~",
        "10",
        "1:30",
        "2026-01-01",
        "a: b",
        "# a",
        "é",
        "[x",
        "*a",
        "!t",
        "-",
        ".5",
        "1_0",
        "010",
        "0o7",
        "0x1f",
        "on",
    ],
)
def test_text_comes_back_from_yaml_as_it_was(text: str) -> None:
    Path("f.yaml").write_text(dump_text({"a": text, "b": [text, text]}), encoding="utf-8")
    assert read("f.yaml").values == {"a": text, "b": [text, text]}


@pytest.mark.parametrize(
    "number", [0.1, 1e-3, 1e-12, 1e22, 5e-324, 1 / 3, 3, -7, float("inf"), True, None]
)
def test_a_number_comes_back_from_yaml_as_it_was(number: float | None) -> None:
    Path("f.yaml").write_text(dump_text({"a": number, "b": [number]}))
    assert read("f.yaml").values == {"a": number, "b": [number]}
    assert isinstance(read("f.yaml").values["a"], type(number))


def test_where_and_how_a_run_is_carried_out_is_not_what_it_is() -> None:
    (plain,) = resolve("train", ["cnn"], {}, None).cells
    (elsewhere,) = resolve(
        "train",
        ["cnn"],
        {"out": "o", "name": "n", "overwrite": True, "resume": False, "data_dir": "d"},
        None,
    ).cells
    (different,) = resolve("train", ["cnn"], {"lr": "0.1"}, None).cells
    assert identity_of(plain.options) == identity_of(elsewhere.options)
    assert identity_of(plain.options) != identity_of(different.options)


# --- --print-config -------------------------------------------------------------------------------

LINES = [
    "train cnn",
    "train cnn --dropout --seed 3 --name x",
    "train cnn --name 1e3 --out no",
    "train cnn --lr 0.1 0.2 --batch-size 8 16 --seeds 3 --name sweep",
    "train cnn --seed 4 9",
    "train cnn mlp separable --seeds 2",
    "train cnn mlp --lr 0.1 0.2 --name both",
    "train cnn --epochs 3 --optimizer adam sgd",
    "attack fgsm",
    "attack fgsm --eps 0 0.1 0.2 --limit 5",
    "attack pgd --norm l2 linf --eps 0.1 0.5 --no-random-start",
    "attack lp --p 1 3 inf",
    "attack fgsm pgd noise --eps 0.1 --model cnn mlp",
    "attack fgsm --target 3 each",
    "--config variants.yaml",
    "--config variants.yaml --seeds 2 --name x",
    "--config unlabelled.yaml",
    "--config mixed.yaml",
    "--config single.yaml",
    "--config several.yaml",
]


@pytest.mark.parametrize("line", LINES)
def test_a_printed_configuration_given_back_is_the_same_plan(
    line: str, planned: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("variants.yaml").write_text(VARIANTS)
    Path("unlabelled.yaml").write_text(
        "command: train\nvariants: [{model: cnn, lr: [0.1, 0.2]}, {model: mlp, width: 8}]\n"
    )
    Path("mixed.yaml").write_text(
        "command: train\nvariants: [{model: cnn}, {label: wide, model: mlp, width: 8}]\n"
    )
    Path("single.yaml").write_text(
        "command: train\nvariants: [{label: only, model: cnn, lr: 0.1}]\n"
    )
    Path("several.yaml").write_text(
        "command: train\nvariants: [{label: A, model: [cnn, mlp]}, {label: 2, model: convnet}]\n"
    )
    plan = plan_of(planned, line)
    planned.clear()
    capsys.readouterr()
    assert main([*shlex.split(line), "--print-config"]) == 0
    text = capsys.readouterr().out
    assert planned == []  # it prints and stops
    Path("printed.yaml").write_text(text)
    again = plan_of(planned, "--config printed.yaml")
    assert again.cells == plan.cells
    assert again.labels == plan.labels
    assert again.axes == plan.axes
    assert again.name == plan.name
    assert again.mapping == plan.mapping


@pytest.mark.parametrize(("command", "component"), every_component())
def test_a_printed_configuration_holds_every_option(
    command: str, component: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, component, "--print-config"]) == 0
    Path("printed.yaml").write_text(capsys.readouterr().out)
    fields = COMMANDS[command].options(component).model_fields
    assert set(read("printed.yaml").values) == {"command", COMMANDS[command].kind, *fields}


def test_a_printed_configuration_has_a_line_for_each_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "cnn", "--print-config"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["command: train", "model: cnn"]
    assert len(lines) == 2 + len(COMMANDS["train"].options("cnn").model_fields)


@pytest.mark.parametrize(
    "line",
    [
        "--print-config train cnn --lr 0.1",
        "train --print-config cnn --lr 0.1",
        "train cnn --lr 0.1 --print-config",
    ],
)
def test_a_configuration_may_be_asked_for_anywhere(
    line: str, planned: list[Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(line)) == 0
    assert planned == []
    assert "\nlr: 0.1\n" in capsys.readouterr().out


# --- the shipped configurations -------------------------------------------------------------------


def test_there_are_shipped_configurations() -> None:
    assert CONFIGURATIONS


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_a_shipped_configuration_resolves(file: Path) -> None:
    document = read(file)
    plan = resolve(None, [], {}, document)
    assert all(isinstance(cell, Config) for cell in plan.cells)
    assert plan.command.name == document.values["command"]


VALUES = {
    "feature_classifier": "a",
    "endpoints": "3 4",
    "evaluate_every": "3",
    "evaluation_samples": "77",
    "target_classes": "2",
}
"""Other values than the default for options that have had another name; a half for the rest."""


def test_the_former_key_of_a_component_is_understood_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: list[Plan]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.yaml").write_text("command: inspect\nlook: filters\ncount: 3\n")
    assert main(["--config", "file.yaml"]) == 0
    assert [(cell.component, cell.options.count) for cell in planned[0].cells] == [("filters", 3)]


@pytest.mark.parametrize("former", [name for name in FORMER_NAMES if name != "look"])
def test_an_option_is_understood_by_its_former_name(
    former: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    planned: list[Plan],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As a flag in both spellings and in a file; help shows the present name alone."""
    monkeypatch.chdir(tmp_path)
    present = FORMER_NAMES[former]
    command, component = next(
        (command, name)
        for command in COMMANDS.values()
        for name in command.components()
        if present in command.options(name).model_fields
    )
    value = VALUES.get(present, "0.5")
    lines = [
        f"{command.name} {component} --{flag} {value}"
        for flag in (former.replace("_", "-"), former, present.replace("_", "-"))
    ]
    Path("file.yaml").write_text(
        f"{former}: [{value.replace(' ', ', ')}]\n" if " " in value else f"{former}: {value}\n"
    )
    Path("variants.yaml").write_text("variants:\n  - " + Path("file.yaml").read_text())
    lines += [f"{command.name} {component} --config {file}.yaml" for file in ("file", "variants")]
    chosen = [getattr(plan_of(planned, line).cells[0].options, present) for line in lines]
    assert chosen.count(chosen[0]) == len(chosen)
    assert (
        chosen[0] != command.options(component).model_fields[present].default
        or present == "clean_fraction"
    )
    assert (
        main(
            [
                command.name,
                component,
                f"--{former.replace('_', '-')}",
                *value.split(),
                f"--{present.replace('_', '-')}",
                *value.split(),
            ]
        )
        == 2
    )
    assert "given twice" in capsys.readouterr().err
    assert main([command.name, component, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"--{present.replace('_', '-')}" in shown
    assert f"--{former.replace('_', '-')} " not in shown


@pytest.mark.parametrize("path", CONFIGURATIONS, ids=lambda path: path.stem)
def test_the_first_line_of_a_recipe_is_a_whole_sentence(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith("."), "'advlab list' describes the recipe by this line"


def test_a_recipe_is_found_by_its_name_from_any_folder_and_a_file_of_that_name_comes_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    planned: list[Plan],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(plan_of(planned, "train --config mnist-four --seeds 1").cells) == 4
    assert main(["--config", "mnist-for"]) == 2
    assert "no configuration at mnist-for (did you mean 'mnist-four'?)" in capsys.readouterr().err
    Path("mnist-four").write_text("command: train\nmodel: mlp\nwidth: 7\n")
    (cell,) = plan_of(planned, "--config mnist-four").cells
    assert cell.options.width == 7


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_a_shipped_configuration_says_how_to_run_it(
    file: Path, monkeypatch: pytest.MonkeyPatch, planned: list[Plan]
) -> None:
    monkeypatch.chdir(ROOT)
    head = list(
        itertools.takewhile(
            lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines()
        )
    )
    lines = [line.lstrip("# ") for line in head]
    shown = [
        line for line in lines if line.startswith("advlab ") and f"--config {file.stem}" in line
    ]
    assert lines[0].strip(), "the first line says what it is"
    assert shown, f"no line 'advlab ... --config {file.stem}' in the head comment"
    for line in shown:
        assert plan_of(planned, line.removeprefix("advlab ").split("  ")[0]).cells


def test_a_document_says_where_a_key_stands() -> None:
    Path("f.yaml").write_text("lr: 1\n\nvariants:\n- label: A\n  seed: 1\n")
    document = read("f.yaml")
    assert isinstance(document, Document)
    assert (document.where("lr"), document.where("seed")) == ("f.yaml:1: lr", "f.yaml: seed")
    assert document.variant_lines == ({"label": 4, "seed": 5},)


def test_a_grid_may_be_as_large_as_the_limit() -> None:
    flags = {"seeds": str(MOST_CELLS)}
    assert len(resolve("train", ["cnn"], flags, None).cells) == MOST_CELLS


@pytest.mark.parametrize(
    ("line", "option", "value"),
    [
        (
            "poison cnn --repair Fine-Pruning neural-cleanse",
            "repair",
            "fine_pruning neural_cleanse",
        ),
        ("train cnn --dataset Fashion-MNIST", "dataset", "fashion_mnist"),
    ],
)
def test_names_of_files_are_taken_in_any_case_and_with_hyphens(
    line: str, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--print-config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)[option]
    assert (printed if isinstance(printed, str) else " ".join(printed)) == value


def test_detectors_that_read_texts_are_none_of_images() -> None:
    every = component_names("advlab.poisoning.detectors")
    modules = {name: load_component("advlab.poisoning.detectors", name, "") for name in every}
    reading = [name for name, module in modules.items() if getattr(module, "NEEDS", "") == "texts"]
    field = command_named("poison").options("cnn").model_fields["detect"]
    words = flag_of(field).words
    assert words is not None
    assert reading
    assert set(every) - set(words()) == set(reading)


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        (
            "attack simba --basis pixel dct --low-frequencies .5",
            {"basis pixel": 0.125, "basis dct": 0.5},
        ),
        (
            "attack simba --basis pixel dct --low-frequencies .5 .25",
            {
                "basis pixel": 0.125,
                "basis dct, low frequencies 0.5": 0.5,
                "basis dct, low frequencies 0.25": 0.25,
            },
        ),
    ],
)
def test_a_grid_gives_an_option_to_the_cells_that_have_a_use_for_it(
    line: str, cells: dict[str, float], planned: list[Plan]
) -> None:
    assert main(line.split()) == 0
    (plan,) = planned
    options = [cell.options.low_frequencies for cell in plan.cells]
    assert dict(zip(plan.labels, options, strict=True)) == cells
    assert plan.axes["basis"] == ("pixel", "dct")


@pytest.mark.parametrize(
    "line",
    [
        "attack simba --basis pixel dct --low-frequencies .5",
        # With another option that varies, and that has no condition.
        "attack simba --basis pixel dct --low-frequencies .5 --queries 10 20",
        "train mlp --lr 0.01 0.001 --schedule step cosine --step-epochs 3 --dataset digits",
        "attack pgd --norm l1 l2 --restarts 1 2 --sparsity 0.1",
        "attack pgd --norm l1 l2 --restarts 1 2",
        "gan train --loss wgan-gp nonsaturating --lr 0.1 0.01 --penalty 3",
        # Defaults that follow from what varies.
        "gan train --loss wgan hinge --lr-critic 1e-4",
        "attack fgsm --model robustbench:One robustbench:cifar10/L2/Two --limit 4",
        "attack fgsm --model robustbench:One robustbench:cifar10/L2/Two --eps 0.1",
    ],
)
def test_a_printed_grid_is_the_same_plan(
    line: str, planned: list[Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*line.split(), "--print-config"]) == 0
    (tmp_path / "grid.yaml").write_text(capsys.readouterr().out)
    assert main(line.split()) == main(["--config", str(tmp_path / "grid.yaml")]) == 0
    assert planned[0].cells == planned[1].cells


def test_a_search_draws_an_option_where_it_is_of_use(planned: list[Plan]) -> None:
    line = "defend smooth --training gaussian macer --radius-weight 1..3 --search 20"
    assert main(line.split()) == 0
    (plan,) = planned
    drawn = {(one.options.training, one.options.radius_weight != 12.0) for one in plan.cells}
    assert drawn == {("gaussian", False), ("macer", True)}


def test_what_an_option_goes_with_is_an_option_that_can_have_these_values() -> None:
    conditional = 0
    for command, component in every_component():
        options = command_named(command).options(component)
        for name, (other, wanted) in options.conditions().items():
            conditional += 1
            assert name in options.model_fields
            words = flag_of(options.model_fields[other]).words
            allowed = words() if words else get_args(options.model_fields[other].annotation)
            assert set(wanted) < set(allowed), (command, component, name)
    assert conditional > 20
