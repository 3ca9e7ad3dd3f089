"""Attacks and evaluations under one name: no run passes for another, whatever was replaced, killed
or damaged in between."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from advlab.cli.main import main
from advlab.config.options.run import EvaluateOptions
from advlab.config.registry import command_named
from advlab.config.resolve import Config
from advlab.experiments.attack import run as attack_experiment
from advlab.experiments.evaluate import run as evaluate_experiment
from advlab.experiments.evaluate.state import EvaluationState
from advlab.runs.identity import Identity
from advlab.runs.machine import device_of

Refusal = Callable[[str], str]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, and no pictures, which take longer than all else."""
    monkeypatch.chdir(tmp_path)
    for module in (attack_experiment, evaluate_experiment):
        monkeypatch.setattr(module, "draw", lambda *_: None)


@pytest.fixture
def victim(runs: Path) -> Path:
    """A copy of a network that a test may replace."""
    return Path(shutil.copy(runs / "train" / "small" / "model.safetensors", "victim.safetensors"))


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Type a line that must be refused with status 2 in one line, which is given back."""

    def typed(line: str) -> str:
        capsys.readouterr()
        assert main(line.split()) == 2
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1
        return said

    return typed


def stopped_after(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, line: str) -> None:
    """Type the line, and stop it right after its first call of a function."""
    function = getattr(place, name)

    def stopping(*given: Any) -> None:
        function(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place, name, stopping)
        assert main(line.split()) == 130


ATTACK = "attack fgsm --eps 0.05 0.1 --limit 20 --checkpoint victim.safetensors --name a"
EVALUATE = (
    "evaluate quick --attacks noise FGSM --eps 0.05 --limit 20 --checkpoint victim.safetensors "
    "--name a"
)


@pytest.mark.parametrize("line", [ATTACK, EVALUATE])
def test_another_component_of_the_same_name_is_refused(
    line: str, victim: Path, refusal: Refusal
) -> None:
    assert main(line.split()) == 0
    before = {file.name: file.read_bytes() for file in next(Path("samples").glob("*/a")).iterdir()}
    other = line.replace("attack fgsm", "attack noise").replace("quick", "standard")
    said = refusal(other)
    assert "component" in said
    assert "another --name, or --overwrite" in said
    assert before == {
        file.name: file.read_bytes() for file in next(Path("samples").glob("*/a")).iterdir()
    }


def test_what_an_earlier_version_computed_otherwise_is_another_run(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options are the same, and so was the line."""
    line = f"evaluate quick --model {runs}/train/small --attacks FGSM --eps 0.1 --limit 4"
    line += f" --name v --out {tmp_path} --dataset digits"
    with monkeypatch.context() as earlier:
        earlier.setattr(EvaluateOptions, "revision", 1)
        assert main(line.split()) == 0
    capsys.readouterr()
    assert main(line.split()) == 2
    assert "holds another run (revision none there, 3 here)" in capsys.readouterr().err
    assert main([*line.split(), "--overwrite"]) == 0
    assert main(line.split()) == 0
    assert "finished already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "place", "name"),
    [(ATTACK, attack_experiment, "_save_images"), (EVALUATE, EvaluationState, "store")],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_network_that_was_replaced_is_noticed(
    line: str,
    place: Any,
    name: str,
    finished: bool,
    victim: Path,
    runs: Path,
    refusal: Refusal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if finished:
        assert main(line.split()) == 0
    else:
        stopped_after(monkeypatch, place, name, line)
    shutil.copy(runs / "train" / "other" / "model.safetensors", victim)
    said = refusal(line)
    assert "network " in said
    assert "there, " in said
    assert main([*line.split(), "--overwrite"]) == 0


def test_what_an_interrupted_attack_stored_is_checked(
    victim: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped_after(monkeypatch, attack_experiment, "_save_images", ATTACK)
    file = Path("samples/attack/a/images-eps0.05.safetensors")
    whole = file.read_bytes()
    for place in range(9, len(whole), len(whole) // 12):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        capsys.readouterr()
        assert main(ATTACK.split()) == 1, place
        said = capsys.readouterr().err
        assert len(said.splitlines()) == 1
        assert f"{file} is damaged" in said
        assert "--overwrite" in said
    file.write_bytes(whole)
    assert main(ATTACK.split()) == 0


OWN = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed({seed})
        self.layer = nn.Linear(784, 10)

    def forward(self, x):
        return self.layer({expression}.flatten(1))
"""


@pytest.mark.parametrize(
    "changed", [{"seed": 1, "expression": "x"}, {"seed": 0, "expression": "(1 - x)"}]
)
def test_a_factory_that_makes_another_network_is_noticed(
    changed: dict[str, Any], refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other weights, and the same weights in other code."""
    import sys

    monkeypatch.syspath_prepend(str(Path.cwd()))
    line = (
        "evaluate quick --factory own_network:Net --dataset digits --attacks noise FGSM --eps "
        "0.05 --limit 20 --name a"
    )
    Path("own_network.py").write_text(OWN.format(seed=0, expression="x"))
    stopped_after(monkeypatch, EvaluationState, "store", line)
    del sys.modules["own_network"]
    Path("own_network.py").write_text(OWN.format(**changed))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shutil.rmtree("__pycache__", ignore_errors=True)
    assert "network" in refusal(line)
    del sys.modules["own_network"]


@pytest.mark.skipif(device_of("auto").type != "cpu", reason="auto is a GPU on this machine")
@pytest.mark.parametrize(
    ("command", "component", "name", "value", "remains"),
    [
        ("train", "textcnn", "vectors", "vectors.txt", False),
        ("train", "textcnn", "vectors", "train", True),
        ("evaluate", "quick", "weights", "weights.pt", False),
        ("gan", "sample", "weights", "last", True),
    ],
)
def test_a_place_counts_by_its_content_and_a_word_by_itself(
    command: str, component: str, name: str, value: str, remains: bool
) -> None:
    """The identity leaves out where a file lies, and keeps a word that only looks like a place."""
    options = command_named(command).options(component)(**{name: value})
    identity = Identity.of(Config(command, component, options), {})
    assert identity.options.get(name) == (value if remains else None)


def test_the_device_that_auto_is_makes_the_same_run(
    victim: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"attack fgsm --checkpoint {victim} --limit 5 --name one"
    assert main(line.split()) == 0
    for device in ("cpu", "auto"):
        capsys.readouterr()
        assert main([*line.split(), "--device", device]) == 0
        assert "finished already" in capsys.readouterr().out
