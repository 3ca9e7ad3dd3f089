"""What makes a run the one it is: it never passes for another, nothing damaged is used, nothing
foreign is touched."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from advlab.cli.main import main
from advlab.config.registry import COMMANDS
from advlab.config.resolve import Config
from advlab.errors import AdvlabError, EnvironmentFailure, UsageError
from advlab.runs import results, sealed
from advlab.runs.files import write_text
from advlab.runs.folder import RunFolder


@dataclass(frozen=True)
class Case:
    """A command as these tests type it.

    Attributes:
        line: a quick run of it on ``--dataset folder:images``.
        option: another value for one of its options, and how a refusal names the difference.
        component: another component in place of the line's own; the words of the refusal.
        stops: what is called when all files for a resumption are on the disk.
        state: the file that a resumption reads; empty where a run starts anew.
    """

    line: str
    option: tuple[str, str]
    component: tuple[str, str]
    stops: str
    state: str = ""


# Commands join this table, and ``COMMANDS`` of the tests of interruption, as they are.
CASES = {
    "train": Case(
        "train mlp --width 8 --dataset folder:images --image-size 8 --epochs 2 --batch-size 8 "
        "--precision fp32 --name run",
        ("--width 9", "width 8 there, 9 here"),
        ("separable", "component mlp there, separable here"),
        "advlab.experiments.train.run.train_result",
        "resume.pt",
    ),
    "memorize": Case(
        "memorize mlp --width 8 --dataset folder:images --image-size 8 --epochs 2 --train-size "
        "10 --precision fp32 --seeds 1 --name run",
        ("--train-size 12", "train_size 10 there, 12 here"),
        ("cnn", "component mlp there, cnn here"),
        "advlab.experiments.memorize.run.draw",
    ),
    "scratch": Case(
        "scratch train --hidden 4 --dataset folder:images --image-size 8 --epochs 2 --name run",
        ("--hidden 5", "hidden 4 there, 5 here"),
        ("check", "component train there, check here"),
        "advlab.experiments.scratch.train._draw",
        "resume.safetensors",
    ),
}
each = pytest.mark.parametrize("command", CASES)
finished_or_not = pytest.mark.parametrize("finished", [True, False], ids=["finished", "stopped"])


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def draw_images(count: int = 30) -> None:
    """Dark images and bright ones, as a folder data set."""
    for name, base in (("dark", 0), ("bright", 120)):
        Path("images", name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            noise = np.random.default_rng(number).integers(base, base + 130, (8, 8), dtype=np.uint8)
            Image.fromarray(noise).save(Path("images", name, f"{number}.png"))


def type_in(line: str) -> int:
    return main(line.split())


def begun(command: str, finished: bool, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, or of one that was stopped when it had everything but its
    result."""
    draw_images()
    case = CASES[command]
    if finished:
        assert type_in(case.line) == 0
    else:
        with monkeypatch.context() as patch:
            patch.setattr(case.stops, stop)
            assert type_in(case.line) == 130
    folder = Path("samples") / command / "run"
    assert (folder / "metrics.json").is_file() == finished
    assert (folder / "history.jsonl").is_file()
    return folder


def stop(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def refused(line: str, status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of a line that ends with this status: one line, and no fault of advlab."""
    capsys.readouterr()
    assert type_in(line) == status
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "fault of advlab" not in said
    return said


# --- every command --------------------------------------------------------------------------------
@pytest.mark.parametrize("command", COMMANDS)
def test_no_component_passes_for_another_under_one_name(command: str) -> None:
    """Every pair, at its defaults, which are often the same options."""

    def folder_of(component: str) -> RunFolder:
        options = COMMANDS[command].options(component).model_validate({"name": "same"})
        return RunFolder.of(Config(command, component, options), {"data": "a" * 64})

    components = COMMANDS[command].components()
    assert components
    for one in components:
        folder = folder_of(one)
        with folder.claim(), folder.begin():
            write_text(folder.path / "history.jsonl", "")
        folder_of(one).check_same()
        for other in components:
            if other != one:
                with pytest.raises(
                    UsageError, match=f"holds another run .*component {one} there, {other} here"
                ):
                    folder_of(other).check_same()
        shutil.rmtree(folder.path)


def test_no_command_passes_for_another() -> None:
    """Their folders are different ones already; were they not, their identities still are."""
    identities = {}
    for command in COMMANDS.values():
        for component in command.components():
            config = Config(
                command.name, component, command.options(component).model_validate({"name": "same"})
            )
            identities[command.name, component] = RunFolder.of(config, {}).identity.text()
    assert all(one != other for one, other in itertools.combinations(identities.values(), 2))


# --- another run ----------------------------------------------------------------------------------
@each
@finished_or_not
def test_another_option_or_component_under_one_name_is_refused(
    command: str,
    finished: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = begun(command, finished, monkeypatch)
    before, case = content(folder), CASES[command]
    flag, value = case.option[0].split()
    words = case.line.split()
    words[words.index(flag) + 1] = value
    component, named = case.component
    scratch_check = "scratch check --hidden 4 --name run"
    other = scratch_check if component == "check" else case.line.replace("mlp --width 8", component)
    for line, difference in ((" ".join(words), case.option[1]), (other, named)):
        said = refused(line, UsageError.exit_status, capsys)
        assert f"{folder} holds another run (" in said
        assert difference in said
        assert "another --name, or --overwrite" in said
    assert content(folder) == before
    assert type_in(case.line) == 0, "and the run itself can be finished, or is"


@each
@finished_or_not
@pytest.mark.parametrize("change", ["replaced", "added"])
def test_data_that_changed_are_another_run(
    command: str,
    finished: bool,
    change: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = begun(command, finished, monkeypatch)
    before = content(folder)
    if change == "replaced":
        Image.fromarray(np.full((8, 8), 77, dtype=np.uint8)).save("images/dark/0.png")
    else:
        draw_images(31)
    said = refused(CASES[command].line, UsageError.exit_status, capsys)
    assert f"{folder} holds another run (data " in said
    assert content(folder) == before
    assert type_in(f"{CASES[command].line} --overwrite") == 0


@each
@finished_or_not
def test_the_same_data_elsewhere_in_the_file_system_are_the_same_run_after_a_touch(
    command: str,
    finished: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    begun(command, finished, monkeypatch)
    draw_images()  # the same pixels, in files of another date
    assert type_in(CASES[command].line) == 0
    assert ("finished already" in capsys.readouterr().out) == finished


# --- damaged state --------------------------------------------------------------------------------
WITH_STATE = [command for command, case in CASES.items() if case.state]


@pytest.mark.parametrize("command", WITH_STATE)
def test_every_flipped_bit_of_a_state_is_found(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = begun(command, False, monkeypatch) / CASES[command].state
    whole = file.read_bytes()
    assert sealed.read_bytes(file) is not None
    head = whole.index(b"\n") + 1
    places = [
        *range(8 * head + 64),
        *range(8 * head + 64, 8 * len(whole), max(1, 8 * len(whole) // 400)),
    ]
    for place in places:
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        file.write_bytes(flipped)
        with pytest.raises(EnvironmentFailure, match="is damaged"):
            sealed.read_bytes(file)


@pytest.mark.parametrize("command", WITH_STATE)
@pytest.mark.parametrize("damage", ["first byte", "middle", "last byte", "empty", "cut", "longer"])
def test_a_damaged_state_is_refused_and_overwrite_is_the_way_out(
    command: str, damage: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = begun(command, False, monkeypatch) / CASES[command].state
    whole = file.read_bytes()
    flipped = bytearray(whole)
    flipped[{"middle": len(whole) // 2, "last byte": -1}.get(damage, 0)] ^= 4
    file.write_bytes(
        {"empty": b"", "cut": whole[: len(whole) // 2], "longer": whole + b"\0"}.get(
            damage, bytes(flipped)
        )
    )
    said = refused(CASES[command].line, EnvironmentFailure.exit_status, capsys)
    assert f"{file} is damaged" in said
    assert "--overwrite starts over" in said
    assert type_in(f"{CASES[command].line} --overwrite") == 0
    assert not file.exists()


@pytest.mark.parametrize("command", WITH_STATE)
def test_a_state_that_was_copied_from_another_run_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = CASES[command]
    folder = begun(command, False, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(case.stops, stop)
        assert type_in(case.line.replace("--name run", "--name other --seed 7")) == 130
    shutil.copy(folder.parent / "other" / case.state, folder / case.state)
    said = refused(case.line, UsageError.exit_status, capsys)
    assert f"{folder / case.state} belongs to a run of other settings, data or networks" in said
    assert "--overwrite starts over" in said
    assert type_in(f"{case.line} --overwrite") == 0


@each
def test_a_history_that_was_tampered_with_is_written_anew(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It is for people: no resumption reads it."""
    file = begun(command, False, monkeypatch) / "history.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text('{"epoch": 1, "loss": -1.0}\nnot even JSON\n')
    assert type_in(CASES[command].line) == 0
    again = [json.loads(line) for line in file.read_text().splitlines()]
    timing = {"seconds", "images_per_second"}
    assert [{key: line[key] for key in line.keys() - timing} for line in again] == [
        {key: line[key] for key in line.keys() - timing} for line in lines
    ]


# --- damaged results ------------------------------------------------------------------------------
DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut": lambda whole: whole[: len(whole) // 2],
    "a list": lambda whole: b"[]",
    "a number": lambda whole: b"3",
    "an empty object": lambda whole: b'{"schema_version": 1, "kind": "train"}',
    "binary": lambda whole: b"\xff\xfe\0\x01",
    "NaN": lambda whole: (
        whole.replace(b'": 0', b'": NaN', 1)
        if b'": 0' in whole
        else whole.replace(b"false", b"NaN", 1)
    ),
    "an infinity": lambda whole: whole.replace(b'": 0', b'": -Infinity', 1),
    "a word for a table": lambda whole: whole.replace(
        b'"options": {', b'"options": 3, "more": {'
    ).replace(b'"machine": {', b'"machine": 3, "more": {'),
    "nested without end": lambda whole: b'{"a":' * 100_000,
}


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which a training was carried to its end."""
    place = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        draw_images()
        assert type_in(CASES["train"].line) == 0
    return place


@pytest.mark.parametrize("name", ["metrics.json", "identity.json"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_one_line_that_names_it_and_the_way_out(
    name: str, damage: str, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    file = Path("samples/train/run") / name
    whole = file.read_bytes()
    assert DAMAGES[damage](whole) != whole
    file.write_bytes(DAMAGES[damage](whole))
    said = refused(CASES["train"].line, EnvironmentFailure.exit_status, capsys)
    assert f"{file} is damaged (" in said
    assert "--overwrite runs it again" in said


@pytest.mark.parametrize("name", ["metrics.json", "identity.json"])
def test_what_a_refusal_advises_works(name: str, finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    file = Path("samples/train/run") / name
    file.write_bytes(b"")
    assert type_in(f"{CASES['train'].line} --overwrite") == 0
    assert type_in(CASES["train"].line) == 0


def test_a_flipped_bit_in_a_result_is_found_wherever_it_makes_no_other_result(
    finished_run: Path, tmp_path: Path
) -> None:
    """A figure that became another figure cannot be told; all that names, counts or holds together
    can."""
    whole = (finished_run / "samples/train/run/metrics.json").read_bytes()
    reference = json.loads(whole)
    unseen = 0
    for place in range(0, 8 * len(whole), 7):
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        (tmp_path / "metrics.json").write_bytes(flipped)
        try:
            result = results.read(tmp_path)
        except AdvlabError:
            continue
        unseen += 1
        assert isinstance(result, results.Result)
        assert result.model_dump().keys() == reference.keys()
    assert unseen < 0.6 * len(range(0, 8 * len(whole), 7))


# --- what is not advlab's -------------------------------------------------------------------------
@each
def test_photos_are_never_deleted(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    draw_images()
    folder = Path("samples") / command / "run"
    (folder / "holidays").mkdir(parents=True)
    for name in ("cat.png", "holidays/metrics.json"):
        (folder / name).write_bytes(b"somebody's")
    before = content(folder)
    for switch in ("", " --overwrite", " --no-resume"):
        said = refused(CASES[command].line + switch, UsageError.exit_status, capsys)
        assert f"{folder} holds files that advlab did not write (cat.png)" in said
    assert content(folder) == before


@each
@finished_or_not
def test_notes_beside_a_run_stay(
    command: str, finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(command, finished, monkeypatch)
    (folder / "notes.txt").write_text("do not forget")
    (folder / "more").mkdir()
    (folder / "more" / "metrics.json").write_text("mine")
    assert type_in(f"{CASES[command].line} --overwrite") == 0
    assert (folder / "notes.txt").read_text() == "do not forget"
    assert (folder / "more" / "metrics.json").read_text() == "mine"
    assert (folder / "metrics.json").is_file()
