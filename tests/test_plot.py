"""``advlab plot``: figures drawn again from their records."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from PIL import Image
from safetensors.numpy import load_file, save_file

from advlab.cli.main import main
from advlab.errors import EnvironmentFailure
from advlab.plots import record
from advlab.plots.confusion import confusion
from advlab.plots.sheets import Tile, sheet
from advlab.plots.style import save

LINES = {
    "train": "train mlp --width 8 --epochs 2 --dataset digits",
    "attack": "attack fgsm --eps 0.05 0.1 --limit 12 --dataset digits",
    "evaluate": "evaluate quick --eps 0.05 --limit 8 --steps 2 --queries 3 --dataset digits",
    "inspect": "inspect saliency --image 3 --samples 2 --steps 2 --dataset digits",
    "scratch": "scratch --epochs 1 --dataset digits",
    "poison": "poison bow --epochs 1 --poison-rate 1",
    "memorize": "memorize mlp --width 8 --epochs 1 --train-size 50 --dataset digits",
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> Path:
    """A finished run of each command in ``LINES``, its pictures really painted."""
    root = tmp_path_factory.mktemp("plotted")
    for command, line in LINES.items():
        given = ["--out", str(root), "--name", "a"]
        if command in ("attack", "evaluate", "inspect"):
            given += ["--model", str(runs / "train" / "small")]
        if command in ("poison", "memorize"):
            given += ["--seeds", "1"]
        assert main([*line.split(), *given]) == 0
    return root


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (".files", ".lock")
    }


@pytest.mark.painted
@pytest.mark.parametrize("command", LINES)
def test_every_figure_of_a_run_is_drawn_again_to_the_same_bytes(command: str, out: Path) -> None:
    folder = out / command / "a"
    before = files(folder)
    pictures = {name for name in before if name.endswith(".png")}
    assert pictures
    for name in pictures:
        (folder / name).unlink()
    assert main(["plot", f"{command}/a", "--out", str(out), "--format", "png"]) == 0
    assert files(folder) == before


@pytest.mark.painted
@pytest.mark.parametrize("style", ["screen", "paper", "slide", "dark"])
def test_formats_and_styles(style: str, out: Path, tmp_path: Path) -> None:
    heads = {"pdf": b"%PDF", "svg": b"<?xml", "png": b"\x89PNG"}
    before = files(out / "attack" / "a")
    for kind, head in heads.items():
        line = f"plot attack/a --out {out} --to {tmp_path} --format {kind} --style {style}"
        line += " --figure curve"
        assert main(line.split()) == 0
        end = "" if style == "screen" else f"-{style}"
        drawn = tmp_path / f"curve{end}.{kind}"
        first = drawn.read_bytes()
        assert first.startswith(head)
        assert main(line.split()) == 0
        assert drawn.read_bytes() == first, "the same figure has the same bytes"
    assert files(out / "attack" / "a") == before
    corner = Image.open(tmp_path / f"curve{end}.png").convert("RGB").getpixel((1, 1))
    assert isinstance(corner, tuple)
    assert (max(corner) < 60) == (style == "dark")


@pytest.mark.painted
def test_every_figure_takes_the_dark_style(out: Path, tmp_path: Path) -> None:
    runs = [f"{command}/a" for command in LINES]
    line = ["plot", *runs, "--out", str(out), "--to", str(tmp_path), "--format", "png"]
    assert main([*line, "--style", "dark"]) == 0
    for command in LINES:
        usual = {path.stem for path in (out / command / "a").glob("*.png")}
        dark = {path.stem.removesuffix("-dark") for path in (tmp_path / command / "a").iterdir()}
        assert dark == usual


@pytest.mark.painted
def test_a_width_scales_the_whole_figure(out: Path, tmp_path: Path) -> None:
    line = f"plot train/a --out {out} --figure curves --format png"
    assert main([*line.split(), "--to", str(tmp_path / "usual")]) == 0
    assert main([*line.split(), "--to", str(tmp_path / "smaller"), "--width", "7.2"]) == 0
    usual = Image.open(tmp_path / "usual" / "curves.png")
    smaller = Image.open(tmp_path / "smaller" / "curves-7.2in.png")
    assert (usual.width, smaller.width) == (9 * 130, round(7.2 * 130))
    assert smaller.height == pytest.approx(0.8 * usual.height, abs=1)
    assert [path.name for path in (tmp_path / "smaller").iterdir()] == ["curves-7.2in.png"]


def test_figures_of_several_runs_get_a_folder_each(out: Path, tmp_path: Path) -> None:
    line = f"plot train/a attack/a --out {out} --to {tmp_path} --figure confusion --format png"
    assert main(line.split()) == 0  # both runs are called a
    assert (tmp_path / "train" / "a" / "confusion.png").is_file()
    assert (tmp_path / "attack" / "a" / "confusion.png").is_file()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "names of runs are missing"),
        ("train/b", "there is no run train/b"),
        ("train/a --figure confuson", "did you mean 'confusion'?"),
        ("train/a --format jpg", "--format: must be one of png, svg, pdf"),
        ("train/a --width 0.1", "--width: must be at least 1"),
        ("train/a --style light", "--style: must be one of screen, paper, slide, dark"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    line: str, words: str, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(out)
    assert main(["plot", *line.split(), "--out", str(out)]) == 2
    (refusal,) = capsys.readouterr().err.splitlines()
    assert words in refusal
    assert files(out) == before


def test_a_run_without_records_is_refused(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(out / "train" / "a", tmp_path / "train" / "a")
    for file in (tmp_path / "train" / "a").glob(".*.figure"):
        file.unlink()
    assert main(["plot", "train/a", "--out", str(tmp_path)]) == 2
    assert "holds no records of figures" in capsys.readouterr().err


def test_a_removed_run_leaves_nothing(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "train" / "a", tmp_path / "train" / "a")
    assert main(["plot", "train/a", "--out", str(tmp_path), "--figure", "curves"]) == 0
    assert (tmp_path / "train" / "a" / "curves.pdf").is_file()
    assert main(["remove", "train/a", "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "train" / "a").exists()


# --- records --------------------------------------------------------------------------------------
VALUES = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**40), 2**40)
    | strategies.floats(allow_nan=False)
    | strategies.text(max_size=5),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.lists(inner, max_size=3).map(tuple)
        | strategies.dictionaries(
            strategies.text(max_size=3) | strategies.floats(allow_nan=False), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(VALUES)
def test_values_come_back_as_they_were(value: Any) -> None:
    arrays: dict[str, Any] = {}
    text = json.dumps(record._packed(value, arrays), allow_nan=False)
    found = record._unpacked(json.loads(text), arrays)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.arange(256, dtype=np.float32) / np.float32(255),
        np.linspace(0, 1, 7, dtype=np.float32),
        np.array([np.nan, np.inf, -1.0], dtype=np.float32),
        np.zeros((0, 3), dtype=np.float32),
        np.array([[True, False]]),
        np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2],
    ],
)
def test_arrays_come_back_bit_by_bit(array: Any) -> None:
    arrays: dict[str, Any] = {}
    found = record._unpacked(record._packed({"x": array}, arrays), arrays)["x"]
    assert found.dtype == array.dtype
    assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_images_of_bytes_are_kept_as_bytes(tmp_path: Path) -> None:
    image = np.arange(768, dtype=np.uint8).reshape(3, 16, 16).astype(np.float32) / np.float32(255)
    save(sheet([Tile(image, "words")], "title", "caption"), tmp_path / "sheet.png")
    (array,) = load_file(record.record_of(tmp_path / "sheet.png")).values()
    assert array.dtype == np.uint8


@pytest.mark.parametrize(
    "function",
    [
        "style:save",
        "record:write",
        "os:system",
        "..runs.files:write_text",
        "sheets:show",
        "sheets:Tile",
        "confusion:nothing",
        "nothing:confusion",
    ],
)
def test_a_record_calls_nothing_but_functions_that_draw(function: str, tmp_path: Path) -> None:
    save(confusion(np.eye(2, dtype=np.int64), ["a", "b"], "t", "c"), tmp_path / "x.png")
    file = record.record_of(tmp_path / "x.png")
    content = {"function": function, "arguments": {"mapping": [["path", "ran"]]}}
    save_file(load_file(file), file, metadata={"advlab-figure": json.dumps(content)})
    with pytest.raises(EnvironmentFailure, match="is damaged, or of another version"):
        record.drawn_again(file)


def test_a_record_of_other_arguments_is_of_another_version(tmp_path: Path) -> None:
    file = record.record_of(tmp_path / "x.png")
    content = {"function": "defence:certified", "arguments": {"mapping": [["title", "x"]]}}
    save_file({}, file, {"advlab-figure": json.dumps(content)})
    with pytest.raises(EnvironmentFailure, match=r"another version of advlab \(missing a required"):
        record.drawn_again(file)


def test_a_damaged_record_is_named(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = record.record_of(out / "scratch" / "a" / "x.png")
    file.write_bytes(b"damaged")
    assert main(["plot", "scratch/a", "--out", str(out), "--figure", "x"]) == 1
    assert ".x.figure: this record of a figure is damaged" in capsys.readouterr().err
    file.unlink()
