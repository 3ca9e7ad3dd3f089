"""What makes one's own network another one beside its weights."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import re
import subprocess
import sys
import warnings
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import KDTree
from sklearn.tree import DecisionTreeClassifier
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

    def __init__(self, value: Any) -> None:
        self.value = value


class Scaling(nn.Module):
    """Multiplies by an attribute, which neither its text nor its weights show."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Knotted:
    """Holds itself, and another in a list."""

    def __init__(self, value: float) -> None:
        self.value, self.owner = value, [self]


def holding_itself(value: float) -> nn.Module:
    network = Scaled(Knotted(value))
    network.factor.network = [network, network.layer]
    return network


class NamingAGlobal(nn.Module):
    """Reads a global of this file."""

    def forward(self, x: Tensor) -> Tensor:
        return helped(x)


def helped(x: Tensor) -> Tensor:
    return x * SETTINGS["factor"]  # type: ignore[no-any-return]


SETTINGS: dict[str, Any] = {"factor": 1.0}


def naming_a_global(factor: Any) -> str:
    before = dict(SETTINGS)
    SETTINGS["factor"] = factor
    try:
        return code_hash(NamingAGlobal())
    finally:
        SETTINGS.update(before)


class WithClassAttribute(nn.Module):
    factor = 1.0


def of_class(factor: float) -> str:
    WithClassAttribute.factor = factor
    return code_hash(WithClassAttribute())


def backwards(name: str, factor: float) -> nn.Module:
    network = nn.Sequential(linear())
    getattr(network[0], name)(lambda module, *gradients: (factor * gradients[0][0],))
    return network


def with_hooked_parameter(factor: float) -> nn.Module:
    network = linear()
    network.weight.register_hook(lambda gradient: factor * gradient)
    return network


def scripted(factor: float) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script: nn.Module = torch.jit.script(Scaling(factor))
    return script


def nested(depth: int, value: int) -> list[Any]:
    return [nested(depth - 1, value)] if depth else [value]


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
    "an attribute of a network in a list": (
        lambda: Scaled([Scaling(1.0)]),
        lambda: Scaled([Scaling(2.0)]),
    ),
    "of a network in a network in an object": (
        lambda: Scaled({"all": Slotted([nn.Sequential(Scaling(1.0))])}),
        lambda: Scaled({"all": Slotted([nn.Sequential(Scaling(2.0))])}),
    ),
    "a hook of a network in a list": (lambda: Scaled([hooked(1.0)]), lambda: Scaled([hooked(2.0)])),
    "an object that holds itself": (lambda: holding_itself(1.0), lambda: holding_itself(2.0)),
    "deep within lists": (lambda: Scaled(nested(30, 1)), lambda: Scaled(nested(30, 2))),
    "an array of objects": (
        lambda: Scaled(np.array(["a", 1], dtype=object)),
        lambda: Scaled(np.array(["a", 2], dtype=object)),
    ),
    "a sparse tensor": (
        lambda: Scaled(torch.eye(4).to_sparse()),
        lambda: Scaled(2 * torch.eye(4).to_sparse()),
    ),
    "a quantised tensor": (
        lambda: Scaled(torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8)),
        lambda: Scaled(torch.quantize_per_tensor(torch.ones(2), 0.2, 0, torch.qint8)),
    ),
    "a pattern": (
        lambda: Scaled(re.compile(300 * "a")),
        lambda: Scaled(re.compile(301 * "a")),
    ),
    "a cached function": (
        lambda: Scaled(functools.lru_cache(other_linear)),
        lambda: Scaled(functools.lru_cache(linear)),
    ),
    "an attribute of a script": (lambda: scripted(1.0), lambda: scripted(2.0)),
    "a backward hook": (
        lambda: backwards("register_full_backward_hook", 1.0),
        lambda: backwards("register_full_backward_hook", 0.0),
    ),
    "a hook before the backward pass": (
        lambda: backwards("register_full_backward_pre_hook", 1.0),
        lambda: backwards("register_full_backward_pre_hook", 0.0),
    ),
    "a hook of a parameter": (lambda: with_hooked_parameter(1.0), lambda: with_hooked_parameter(0)),
    "a hook": (lambda: nn.Sequential(linear()), lambda: hooked(1.0)),
    "what a hook closes over": (lambda: hooked(1.0), lambda: hooked(2.0)),
    "another forward": (lambda: nn.Sequential(linear()), lambda: replaced(linear())),
    "weights in a closure": (lambda: replaced(linear()), lambda: replaced(other_linear())),
    "a buffer that is not saved": (lambda: buffered(0.0), lambda: buffered(1.0)),
    "heads": (lambda: attention(2), lambda: attention(4)),
    "an option of torch's": (lambda: attention(2), lambda: attention(2, norm_first=False)),
}


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation.*")
@pytest.mark.parametrize("what", DIFFERENT)
def test_networks_that_compute_something_else_differ(what: str) -> None:
    first, second = DIFFERENT[what]
    assert code_hash(first()) == code_hash(first())
    assert code_hash(first()) != code_hash(second())


@pytest.mark.parametrize("value", [2.0, torch.ones(2), [linear()], Scaling, functools.partial(abs)])
def test_globals_that_methods_and_their_functions_name_count(value: Any) -> None:
    assert naming_a_global(1.0) == naming_a_global(1.0)
    assert naming_a_global(1.0) != naming_a_global(value)
    assert naming_a_global(value) == naming_a_global(value)


def test_attributes_of_classes_count() -> None:
    assert of_class(1.0) == of_class(1.0) != of_class(2.0)


def fitted_tree(seed: int) -> DecisionTreeClassifier:
    """A decision tree, whose nodes are no attributes."""
    rows = np.random.default_rng(seed).random((20, 3))
    return DecisionTreeClassifier(random_state=0).fit(rows, rows[:, 0] > rows[:, 1])


def data_frame(number: int) -> Any:
    """A table with one cell, which lies in blocks of compiled code."""
    return importlib.import_module("pandas").DataFrame({"a": [number]})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (fitted_tree(0), fitted_tree(1)),
        (KDTree(np.eye(3)), KDTree(2 * np.eye(3))),
        (data_frame(1), data_frame(2)),
        (Image.new("L", (2, 2), 0), Image.new("L", (2, 2), 9)),
        (torch.ones(2).mul, torch.zeros(2).mul),
        (defaultdict(int), defaultdict(float)),
        (memoryview(b"a"), memoryview(b"b")),
        (itertools.count(1), itertools.count(2)),
        ("/1", "/7"),
        (__file__, str(Path(__file__).parent)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_compiled_code_and_texts_hold_counts(one: Any, other: Any) -> None:
    assert holding(one) == holding(one)
    assert holding(one) != holding(other)


def holding(value: Any) -> str:
    """The hash of a network with this attribute."""
    network = linear()
    network.value = value
    return code_hash(network)


def test_the_place_of_a_file_does_not_count(tmp_path: Path) -> None:
    places = [tmp_path / folder / "rows.npy" for folder in ("a", "b")]
    for place in places:
        place.parent.mkdir()
        place.touch()
    assert holding(str(places[0])) == holding(str(places[1]))


PROCESS = """
import sys
from torch import nn
from advlab.networks import code
from advlab.networks.code_hash import code_hash

print(code_hash(nn.TransformerEncoderLayer(8, 2, 8)))
for number in range(2):
    print(code_hash(code.load(sys.argv[1] + ":make", "--model")))
"""
NETWORK = """
import logging, random, threading, weakref
import numpy as np
import torch
from torch import nn

log, lock, free = logging.getLogger(__name__), threading.Lock(), random.Random()
drawn, words = np.random.default_rng(), {"a", "b", "c", "d", "e"}
table = {object(): 1}
seen = []

class Clipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.lock, self.own = nn.Linear(4, 2), lock, weakref.ref(log)
        self.handle = self.layer.register_forward_hook(lambda *_: None)
        self.parent, self.nothing = [self], object()

    def forward(self, x):
        with lock:
            log.debug("%s %s %s %s %s", __name__, free, drawn, words, table)
            return self.layer(Clipped.apply(x))

def make():
    return Net()
"""


def other_order() -> dict[str, str]:
    """An environment in which a Python orders the words of ``NETWORK`` otherwise than this one."""
    words = {"a", "b", "c", "d", "e"}
    for seed in range(10):
        changed = {**os.environ, "PYTHONHASHSEED": str(seed)}
        line = [sys.executable, "-S", "-c", f"print(*set({sorted(words)!r}))"]
        asked = subprocess.run(line, capture_output=True, text=True, check=True, env=changed)
        if asked.stdout.split() != list(words):
            return changed
    raise AssertionError("ten seeds of ten give the order of this process")


def test_the_hash_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Addresses, the order of sets, locks and what was made before do not count: there it is next
    to nothing, and here whatever the tests before have made."""
    (tmp_path / "script.py").write_text(PROCESS)
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "net.py").write_text(NETWORK)
    answer = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "there/net.py"],
        capture_output=True,
        text=True,
        check=True,
        env=other_order(),
    )
    own = [code.load(f"{tmp_path}/here/net.py:make", "--model") for _ in range(2)]
    here = [code_hash(one) for one in (nn.TransformerEncoderLayer(8, 2, 8), *own)]
    assert answer.stdout.split() == here
    assert here[1] == here[2]


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
