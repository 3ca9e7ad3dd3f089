"""What makes one's own network another one beside its weights."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advlab.networks import code
from advlab.networks.code_hash import code_hash


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 2)


class Scaled(nn.Module):
    """With an attribute of any kind, read in ``forward``."""

    def __init__(self, factor: Any) -> None:
        super().__init__()
        self.layer, self.factor = linear(), factor

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.factor)  # type: ignore[no-any-return]


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


def hooked(factor: float) -> nn.Module:
    network = nn.Sequential(linear())
    network.register_forward_pre_hook(lambda module, inputs: (factor * inputs[0],))
    return network


def replaced(layer: nn.Module) -> nn.Module:
    network = nn.Sequential(linear())
    network.forward = lambda x: layer(x)  # type: ignore[method-assign]
    return network


def buffered(value: float) -> nn.Module:
    network = nn.Sequential(linear())
    network.register_buffer("mask", torch.full((4,), value), persistent=False)
    return network


def attention(heads: int, norm_first: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return nn.TransformerEncoderLayer(8, heads, 8, norm_first=norm_first, batch_first=True)


def other_linear() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(4, 2)


DIFFERENT: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "a number": (lambda: Scaled(1.0), lambda: Scaled(2.0)),
    "a tensor": (lambda: Scaled(torch.ones(4)), lambda: Scaled(torch.zeros(4))),
    "a dtype": (lambda: Scaled(torch.float32), lambda: Scaled(torch.float64)),
    "a number of NumPy": (lambda: Scaled(np.float32(1)), lambda: Scaled(np.float32(2))),
    "a fraction": (lambda: Scaled(Fraction(1, 2)), lambda: Scaled(Fraction(1, 3))),
    "a slot": (lambda: Scaled(Slotted(1)), lambda: Scaled(Slotted(2))),
    "in a dictionary": (lambda: Scaled({"a": [1, 2]}), lambda: Scaled({"a": [1, 3]})),
    "a function": (lambda: Scaled(torch.relu), lambda: Scaled(torch.tanh)),
    "arguments of a function": (
        lambda: Scaled(functools.partial(torch.mul, other=1)),
        lambda: Scaled(functools.partial(torch.mul, other=2)),
    ),
    "a network in a list": (lambda: Scaled([linear()]), lambda: Scaled([other_linear()])),
    "a hook": (lambda: nn.Sequential(linear()), lambda: hooked(1.0)),
    "what a hook closes over": (lambda: hooked(1.0), lambda: hooked(2.0)),
    "another forward": (lambda: nn.Sequential(linear()), lambda: replaced(linear())),
    "weights in a closure": (lambda: replaced(linear()), lambda: replaced(other_linear())),
    "a buffer that is not saved": (lambda: buffered(0.0), lambda: buffered(1.0)),
    "heads": (lambda: attention(2), lambda: attention(4)),
    "an option of torch's": (lambda: attention(2), lambda: attention(2, norm_first=False)),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_networks_that_compute_something_else_differ(what: str) -> None:
    first, second = DIFFERENT[what]
    assert code_hash(first()) == code_hash(first())
    assert code_hash(first()) != code_hash(second())


def test_weights_are_left_to_another_hash() -> None:
    assert code_hash(linear()) == code_hash(other_linear())


SOURCES = {
    "net.py": """import torch
from parts.layers import Layer

def make():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), Layer())

def doubled(module, inputs):
    return (2 * inputs[0],)

class Held:
    factor = 2

def hooked():
    network = make()
    network.register_forward_pre_hook(doubled)
    network.held = Held()
    return network
""",
    "parts/__init__.py": "",
    "parts/layers.py": """import torch
from . import constants

class Layer(torch.nn.Module):
    def forward(self, x):
        from parts.later import shifted
        return shifted(constants.FACTOR * x)
""",
    "parts/constants.py": "FACTOR = 1\n",
    "parts/later.py": "def shifted(x):\n    return x\n",
    "other.py": "nothing = 'to do with it'\n",
}


def hashed(folder: Path, function: str = "make") -> str:
    """The hash of a network of ``net.py``, read anew."""
    for name in [name for name in sys.modules if name.partition(".")[0] in ("parts", "other")]:
        del sys.modules[name]
    importlib.invalidate_caches()
    return code_hash(code.load(f"{folder}/net.py:{function}", "--model"))


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("parts/layers.py", True),
        ("parts/constants.py", True),
        ("parts/later.py", True),
        ("other.py", False),
        ("net.py", False),  # which makes the network and takes no part in what it computes
    ],
)
def test_files_that_the_network_imports_count(
    file: str, counts: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "parts").mkdir()
    for name, content in SOURCES.items():
        (tmp_path / name).write_text(content)
    before = hashed(tmp_path)
    assert hashed(tmp_path) == before
    (tmp_path / file).write_text(SOURCES[file] + "\n# changed\n")
    assert (hashed(tmp_path) != before) == counts


def test_a_file_that_is_changed_within_the_second_is_read_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "quick.py"
    sizes = []
    for size in (3, 4):
        file.write_text(f"from torch import nn\n\ndef make():\n    return nn.Linear({size}, 2)\n")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        network = code.load(f"{file}:make", "--model")
        assert isinstance(network, nn.Linear)
        sizes.append(network.in_features)
    assert sizes == [3, 4]
    assert [path.name for path in tmp_path.iterdir()] == ["quick.py"]


def test_the_place_of_the_code_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = []
    for place in ("here", "there"):
        folder = tmp_path / place
        (folder / "parts").mkdir(parents=True)
        for name, content in SOURCES.items():
            (folder / name).write_text(content)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [str(folder), *sys.path])
            found.append(hashed(folder, "hooked"))
    assert found[0] == found[1]
