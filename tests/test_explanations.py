"""Refusals that once explained the wrong thing: each names what was wrong and what would be
right."""

from __future__ import annotations

from pathlib import Path

import pytest

from advlab.cli.main import main
from advlab.components import class_number
from advlab.errors import UsageError

LONG = "n" * 300
NAME = (
    "--name: must be made of letters, digits and . _ + = -, start with a letter or digit, and "
    "have at most 151 characters"
)
LINES = [
    (
        "gan --diffaug nothing",
        "--diffaug: must be one of brightness, saturation, contrast, translation, cutout, not "
        "'nothing'",
    ),
    ("gan --diffaug cutuot", "(did you mean 'cutout'?)"),
    (
        "evaluate --factory os",
        "--factory: must be module:function, package.module:function or FILE.py:function, as in "
        "mine:make, not 'os'",
    ),
    ("train mlp --device tpu", "--device: must be auto, cpu, cuda, cuda:N or mps, not 'tpu'"),
    (
        "defend pgd --model mlp --channels 3",
        "--channels: belongs to the models cnn, convnet and resnet, which --model names, not to",
    ),
    ("gan interpolate --endpoints 1", "--endpoints: needs at least 2 values"),
    (f"train mlp --name {LONG}", NAME),
    ("train mlp --name a/b", f"{NAME}, not 'a/b'"),
    ("train mlp --name ..", f"{NAME}, not '..'"),
    ("train mlp --name=-x", f"{NAME}, not '-x'"),
    ("attack fgsm --epsilon 0.1", "--epsilon: unknown flag (did you mean '--eps'?)"),
    ("train mlp --gpu", "--gpu: unknown flag (did you mean '--device'?)"),
    ("train mlp --learning-rate 1", "(did you mean '--lr'?)"),
    ("train mlp --epoch 1", "(did you mean '--epochs'?)"),
    ("data --datadir x", "(did you mean '--data-dir'?)"),
    ("inspect filters --layer nope --dataset digits", "--layer nope: no such layer"),
    ("inspect filters --model mlp --dataset digits", "the network has no convolution to look at"),
    ("inspect saliency --layer nope --dataset digits", "--layer nope: no such layer"),
    (
        "inspect saliency --explain eleven --dataset digits",
        "--explain eleven: no such class; there are 0, 1, 2",
    ),
]


@pytest.mark.parametrize(("line", "said"), LINES, ids=[line[:60] for line, _ in LINES])
def test_what_is_wrong_is_what_is_said(
    line: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_nul_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("f.yaml").write_text('name: "a\\0b"\n')
    assert main(["train", "mlp", "--config", "f.yaml"]) == 2
    assert "f.yaml:1: name: must be made of letters" in capsys.readouterr().err


def test_no_two_flags_of_a_suite_have_one_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "standard", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--queries QUERIES Square: queries per image" in text
    assert "--decisions DECISIONS HopSkipJump: queries per image" in text


# --- one way to name a class ----------------------------------------------------------------------
CLASSES = ("ant", "2", "red fox", "Bee", "bee")


@pytest.mark.parametrize(
    ("typed", "number"),
    [
        ("ant", 0),
        ("ANT", 0),
        ("2", 1),
        ("red_fox", 2),
        ("Red Fox", 2),
        ("Bee", 3),
        ("bee", 4),
        ("3", 3),
    ],
)
def test_a_class_by_its_name_and_else_by_number(typed: str, number: int) -> None:
    assert class_number(typed, CLASSES, "--target") == number


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("BEE", "2 classes are called so; give the number of one: Bee (3), bee (4)"),
        ("fox", "no class is called just so; one of these may be meant: red fox (2)"),
        ("5", "no such class; there are ant, 2, red fox, Bee, bee (or a number, 0 to 4), each"),
        ("²", "no such class"),
        ("-1", "no such class"),
        ("eahc", "(did you mean 'each'?)"),
    ],
)
def test_no_such_class(typed: str, said: str) -> None:
    with pytest.raises(UsageError, match="--target") as caught:
        class_number(typed, CLASSES, "--target", also=("each",))
    assert said in str(caught.value)


def test_every_command_names_a_class_alike(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--checkpoint", str(runs / "train" / "small")]
    lines = [
        ["attack", "fgsm", *small, "--target", "eleven"],
        ["inspect", "saliency", *small, "--explain", "eleven"],
        ["poison", "cnn", "--dataset", "digits", "--target", "eleven"],
        ["poison", "bow", "--dataset", "ten_reviews", "--entity", "film", "--target", "eleven"],
    ]
    for line in lines:
        assert main([*line, "--out", "o"]) == 2, line
        error = capsys.readouterr().err
        assert "eleven: no such class" in error, line
        assert "(or a number, 0 to " in error, line
        assert error.count("\n") == 1
