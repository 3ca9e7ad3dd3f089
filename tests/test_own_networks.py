"""Networks of one's own that return several tensors, raise errors or hold unusual weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import advlab
from advlab.cli.main import main
from advlab.logs import collected
from advlab.networks.adapter import Adapter, AmbiguousOutputError, NetworkError
from advlab.networks.checkpoint import sha256_of
from advlab.results.attack import AttackResult
from advlab.runs import results

SOURCE = """
import sys
from collections import namedtuple
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, call):
        super().__init__()
        torch.manual_seed(0)
        self.net, self.call = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), call

    def forward(self, x):
        return self.call(self.net(x), x)

def raising(error, when):
    def call(z, x):
        if when(x):
            raise error
        return z
    return call

class Backwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        raise KeyError("backwards")

def plain(): return Net(lambda z, x: z)
def loss_first(): return Net(lambda z, x: (z.sum(), z))
def features_first(): return Net(lambda z, x: (x.flatten(1), z))
def auxiliary(): return Net(lambda z, x: {"aux": -z, "out": z})
def named_tuple(): return Net(lambda z, x: namedtuple("Out", "other logits")(-z, z))
def two(): return Net(lambda z, x: (-z, z))
def large(): return Net(raising(ZeroDivisionError("too many"), lambda x: len(x) > 32))
def leaving(): return Net(raising(SystemExit(0), lambda x: len(x) > 32))
def under_attack(): return Net(raising(KeyError("k"), lambda x: x.requires_grad))
def backwards(): return Net(lambda z, x: Backwards.apply(z))
def quantised(): return torch.ao.quantization.quantize_dynamic(plain().net, {nn.Linear})
def without_values(): return plain().to("meta")
"""


class Net(nn.Module):
    """Returns what ``call`` makes of the logits."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, x: Tensor) -> object:
        return self.net(x)


class Pair(Net):
    def forward(self, x: Tensor) -> object:
        return -self.net(x), self.net(x)


class LossAndLogits(Net):
    def forward(self, x: Tensor) -> object:
        return self.net(x).sum(), self.net(x)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("own") / "own.py"
    file.write_text(SOURCE)
    return file


def attack(file: Path, function: str, out: Path, *words: str) -> int:
    line = f"attack fgsm --dataset digits --limit 40 --device cpu --precision fp32 --out {out}"
    return main([*line.split(), "--model", f"{file}:{function}", "--name", function, *words])


def figures(out: Path, function: str) -> tuple[float, float]:
    metrics = json.loads((out / "attack" / function / "metrics.json").read_text())
    return metrics["clean_accuracy"], metrics["robust_accuracy"]


def test_logits_are_found_among_several_tensors(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(file, "plain", tmp_path) == 0
    assert "--output" not in capsys.readouterr().out
    taken = {
        "loss_first": "1 (2 × 10) holds the logits; --output names another: 0 (a number)",
        "features_first": "1 (2 × 10) holds the logits; --output names another: 0 (2 × 784)",
        "auxiliary": "out (2 × 10) holds the logits; --output names another: aux (2 × 10)",
        "named_tuple": "logits (2 × 10) holds the logits; --output names another: other (2 × 10)",
    }
    for function, words in taken.items():
        assert attack(file, function, tmp_path) == 0
        assert capsys.readouterr().out.count(words) == 1
        assert figures(tmp_path, function) == figures(tmp_path, "plain")


def test_two_tensors_of_one_shape_are_refused_unless_one_is_named(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(file, "two", tmp_path) == 2
    message = capsys.readouterr().err
    assert "0 (2 × 10), 1 (2 × 10); name them with --output" in message
    assert attack(file, "plain", tmp_path) == 0
    assert attack(file, "two", tmp_path, "--output", "1") == 0
    assert figures(tmp_path, "two") == figures(tmp_path, "plain")


def test_python_chooses_in_the_same_way() -> None:
    images, labels = torch.rand(5, 1, 28, 28), torch.arange(5)
    expected = advlab.attack(Net().eval(), images, labels, "fgsm", eps=0.1)
    with collected() as lines:
        found = advlab.attack(LossAndLogits().eval(), images, labels, "fgsm", eps=0.1)
    assert torch.equal(found.images, expected.images)
    assert any("1 (5 × 10) holds the logits" in line for line in lines)
    with pytest.raises(AmbiguousOutputError, match=r"name them with output=$"):
        advlab.attack(Pair().eval(), images, labels, "fgsm", eps=0.1)


def test_the_number_of_classes_decides_and_a_choice_is_kept() -> None:
    class Growing(Net):
        def forward(self, x: Tensor) -> object:
            return x.flatten(1)[:, : 2 + len(x)], self.net(x)[:, :3]

    adapter = Adapter(Growing(), classes=3)
    assert adapter(torch.rand(2, 1, 28, 28)).shape == (2, 3)
    assert adapter(torch.rand(1, 1, 28, 28)).shape == (1, 3)  # both are (1, 3)
    assert adapter.around(Growing())(torch.rand(1, 1, 28, 28)).shape == (1, 3)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            "large",
            "(Net) raises ZeroDivisionError: too many, on a batch of 40 images of",
        ),
        ("leaving", "(Net) raises SystemExit: 0, on a batch of 40 images of"),
        ("under_attack", "(Net) raises KeyError: 'k', on a batch of"),
        ("backwards", "(Net) raises KeyError: 'backwards', on a batch of"),
        ("without_values", "0.weight: it is on the device meta"),
    ],
)
def test_an_error_of_the_network_is_named(
    function: str, words: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert attack(file, function, tmp_path) == 2
    message = capsys.readouterr().err
    assert words.removeprefix("0.") in message
    assert len(message.strip().splitlines()) == 1
    assert "fault of advlab" not in message


def test_an_evaluation_names_the_error_of_the_network(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"evaluate quick --dataset digits --limit 40 --precision fp32 --out {tmp_path} --model"
    assert main([*line.split(), f"{file}:large"]) == 2
    assert "raises ZeroDivisionError: too many, on a batch of 40" in capsys.readouterr().err


def test_small_batches_reach_a_network_that_takes_no_large_ones(file: Path, tmp_path: Path) -> None:
    assert attack(file, "large", tmp_path, "--batch-size", "32") == 0
    assert attack(file, "plain", tmp_path) == 0
    assert figures(tmp_path, "large") == figures(tmp_path, "plain")


def test_the_cause_of_a_network_error_is_kept() -> None:
    class Failing(Net):
        def forward(self, x: Tensor) -> object:
            raise IndexError("mine")

    with pytest.raises(
        NetworkError, match=r"IndexError: mine, on a batch of 1 image of 1 × 28 × 28$"
    ) as e:
        Adapter(Failing())(torch.rand(1, 1, 28, 28))
    assert isinstance(e.value.__cause__, IndexError)


@pytest.mark.filterwarnings("ignore:.*quantiz.*")
@pytest.mark.filterwarnings("ignore:.*torch.ao.*")
def test_quantised_layers_are_hashed_by_their_packed_weights(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        layers = nn.Sequential(nn.Linear(4, 3))
        quantised: nn.Module = torch.ao.quantization.quantize_dynamic(layers, {nn.Linear})
        return quantised

    assert sha256_of(made(0)) == sha256_of(made(0)) != sha256_of(made(1))
    assert attack(file, "quantised", tmp_path) == 0
    assert "CHECK FAILED" in capsys.readouterr().out


# --- figures that are not to be believed ----------------------------------------------------------
DOUBTFUL = """
from own import Net
import torch

def filled(when, value): return Net(lambda z, x: z.masked_fill(when(x)[:, None], value))
def bright(x): return x.mean((1, 2, 3)) > 0.16
def moved(x): return ((x > 0.05) & (x < 0.15)).double().mean((1, 2, 3)) > 0.3
def rounded(): return Net(lambda z, x: (10 * z).round())
def nan_some(): return filled(bright, torch.nan)
def inf_some(): return filled(bright, torch.inf)
def nan_class(): return Net(lambda z, x: z.index_fill(1, torch.tensor([9]), torch.nan))
def nan_under_attack(): return filled(moved, torch.nan)
def masked(): return Net(lambda z, x: z.index_fill(1, torch.tensor([9]), -torch.inf))
def plain(): return Net(lambda z, x: z)
"""


@pytest.mark.parametrize(
    ("function", "check", "words"),
    [
        ("rounded", "zero gradients", "100 % of the"),
        ("nan_some", "non-finite outputs", "images get outputs that are not finite"),
        ("inf_some", "non-finite outputs", "images get outputs that are not finite"),
        ("nan_class", "non-finite outputs", "40 of 40 images get outputs that are not finite"),
        ("nan_under_attack", "non-finite outputs", "not finite under attack, and count as broken"),
        ("masked", None, ""),
        ("plain", None, ""),
    ],
)
def test_an_attack_doubts_what_is_not_to_be_believed(
    function: str,
    check: str | None,
    words: str,
    file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    doubtful = file.with_name("doubtful.py")
    doubtful.write_text(DOUBTFUL)
    assert attack(doubtful, function, tmp_path) == 0
    printed = capsys.readouterr().out
    result = results.read(tmp_path / "attack" / function)
    assert isinstance(result, AttackResult)
    if check is None:
        assert "CHECK FAILED" not in printed
        assert result.checks_failed == {}
        assert result.doubt() == ""
        return
    assert f"CHECK FAILED: {check}: " in printed
    assert words in result.checks_failed[check]
    assert check in result.doubt()
    assert main(["list", "--out", str(tmp_path)]) == 0
    assert "NOT TO BE BELIEVED" in capsys.readouterr().out


def test_zero_gradients_survive_a_resumption(file: Path, tmp_path: Path) -> None:
    doubtful = file.with_name("doubtful.py")
    doubtful.write_text(DOUBTFUL)
    found = []
    for _ in range(2):
        assert attack(doubtful, "rounded", tmp_path) == 0
        metrics = tmp_path / "attack" / "rounded" / "metrics.json"
        found.append(json.loads(metrics.read_text())["checks_failed"])
        metrics.unlink()  # as if it had been killed before the result was written
    assert found[0] == found[1]
    assert "zero gradients" in found[0]


def test_motions_and_python_doubt_outputs_that_are_not_finite(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Undefined(Net):
        def forward(self, x: Tensor) -> object:
            return self.net(x).masked_fill((x.mean((1, 2, 3)) < 0.4)[:, None], torch.nan)

    images, labels = torch.rand(5, 1, 28, 28) * torch.linspace(0.2, 1, 5).view(-1, 1, 1, 1), [0] * 5
    for name, eps in (("spatial", None), ("fgsm", 0.1)):
        found = advlab.attack(Undefined().eval(), images, torch.tensor(labels), name, eps=eps)
        assert "non-finite outputs" in found.checks_failed
    doubtful = file.with_name("doubtful.py")
    doubtful.write_text(DOUBTFUL)
    line = f"attack spatial --dataset digits --limit 10 --angles 3 --shifts 1 --out {tmp_path}"
    assert main([*line.split(), "--model", f"{doubtful}:nan_class"]) == 0
    assert "CHECK FAILED: non-finite outputs: 10 of 10" in capsys.readouterr().out


def test_images_whose_channels_come_last_are_told_from_a_batch_that_is_too_large() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 64, 2)).eval()
    with pytest.raises(NetworkError, match="2 images of 10 × 10 × 3; the last dimension looks"):
        Adapter(network)(torch.rand(2, 10, 10, 3))


def test_code_that_changes_folder_and_logging_or_names_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "moves.py").write_text(
        "import logging\nimport os\nfrom torch import nn\n\n"
        "os.chdir('elsewhere')\nlogging.disable(logging.CRITICAL)\n"
        "made = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n\ndef make():\n    return made\n"
    )
    line = ["attack", "fgsm", "--dataset", "digits", "--limit", "10", "--name", "moved", "--model"]
    assert main([*line, "moves.py:make"]) == 0
    assert (tmp_path / "samples" / "attack" / "moved" / "metrics.json").is_file()
    assert "robust accuracy" in capsys.readouterr().out
    assert main([*line, "moves.py:made"]) == 2
    assert "made is a network, and a function that makes one is needed" in capsys.readouterr().err
