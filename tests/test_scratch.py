"""``advlab scratch``: derivatives against two references, an epoch against torch, and the command
through the front door."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn
from torch.nn import functional

from advlab.cli.main import main
from advlab.experiments.scratch import check as scratch_check
from advlab.experiments.scratch import figures, train
from advlab.experiments.scratch.derivatives import derivatives
from advlab.scratch import layers
from advlab.scratch import network as scratch_network
from advlab.scratch.finite_differences import central
from advlab.scratch.layers import Array, Linear, Sigmoid, Softmax, softmax_jacobian
from advlab.scratch.loss import cross_entropy, cross_entropy_of_logits, error, one_hot
from advlab.scratch.network import Network
from advlab.scratch.sgd import accuracy, epoch

SMALL = ["--dataset", "digits", "--hidden", "16", "--train-size", "200", "--epochs", "3"]


def metrics(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return found


# --- derivatives ----------------------------------------------------------------------------------
@pytest.mark.parametrize("hidden", [[128], [9, 5]], ids=str)
def test_every_derivative_is_autograds_and_that_of_finite_differences(hidden: list[int]) -> None:
    found = derivatives(np.random.default_rng(0), 5, hidden, 20)
    for one in found:
        assert one.autograd < 1e-13, one
        assert one.finite_differences < 1e-9, one
    named = {one.of for one in found}
    assert {
        "linear, input",
        "linear, weight",
        "linear, bias",
        "sigmoid, input",
        "softmax, input",
        "softmax, Jacobian",
    } <= named
    assert {
        f"whole network, {number}.{kind}"
        for number in range(len(hidden) + 1)
        for kind in ("weight", "bias")
    } <= named


@pytest.mark.parametrize("broken", ["sigmoid", "softmax", "linear"])
def test_a_wrong_derivative_is_found(
    broken: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def sigmoid(self: Any, gradient: Array) -> Array:
        slope: Array = gradient * self._outputs * (1 - self._outputs) * 1.0000001
        return slope

    def softmax(self: Any, gradient: Array) -> Array:
        diagonal: Array = gradient * self._outputs * (1 - self._outputs)
        return diagonal

    def linear(self: Any, gradient: Array) -> None:
        self.weight_gradient[...] = self._inputs.T @ gradient
        self.bias_gradient[...] = gradient.mean(axis=0)

    kind, name, wrong = {
        "sigmoid": (Sigmoid, "backward", sigmoid),
        "softmax": (Softmax, "backward", softmax),
        "linear": (Linear, "learn", linear),
    }[broken]
    monkeypatch.setattr(kind, name, wrong)
    assert (
        main(["scratch", "check", "--hidden", "8", "--entries", "8", "--out", str(tmp_path)]) == 1
    )
    assert "from its reference, and 1e-08 was the limit" in capsys.readouterr().err


def test_the_softmax_jacobian_is_what_its_definition_says() -> None:
    z = np.array([[0.5, -1.0, 2.0]])
    p = np.exp(z[0]) / np.exp(z[0]).sum()
    jacobian = softmax_jacobian(Softmax().forward(z)[0])
    for i in range(3):
        for k in range(3):
            assert jacobian[i, k] == pytest.approx(
                p[i] * (1 - p[i]) if i == k else -p[i] * p[k], abs=1e-15
            )
    assert np.abs(jacobian.sum(axis=0)).max() < 1e-15


def test_finite_differences_of_a_polynomial_are_exact() -> None:
    x = np.array([[1.0, -2.0], [0.5, 3.0]])
    before = x.copy()
    assert central(lambda: float((x**3).sum()), x) == pytest.approx(
        3 * x.reshape(-1) ** 2, abs=1e-9
    )
    assert (x == before).all()
    with pytest.raises(ValueError, match="float64"):
        central(lambda: 0.0, x.astype(np.float32))


def test_layers_that_others_overflow_in() -> None:
    with np.errstate(all="raise"):
        assert Sigmoid().forward(np.array([[-1000.0, 0.0, 1000.0]])).tolist() == [[0.0, 0.5, 1.0]]
    assert Softmax().forward(np.array([[1000.0, 0.0]], np.float32)).tolist() == [[1.0, 0.0]]
    far = np.array([[1000.0, 0.0]])
    assert cross_entropy_of_logits(far, np.array([1])) == 1000.0


def test_both_forms_of_the_loss_agree() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.standard_normal((6, 4)), random.integers(0, 4, 6)
    targets = one_hot(labels, 4, logits)
    theirs = float(functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)))
    assert cross_entropy(Softmax().forward(logits), targets)[0] == pytest.approx(theirs, abs=1e-12)
    assert cross_entropy_of_logits(logits, labels) == pytest.approx(theirs, abs=1e-12)
    assert error(logits, targets).sum(axis=1) == pytest.approx(np.zeros(6), abs=1e-12)


# --- training -------------------------------------------------------------------------------------
def test_an_epoch_is_the_epoch_of_torch() -> None:
    """Two hidden layers, a last batch that is smaller, float64: the same losses and the same
    weights as torch's SGD."""
    random = np.random.default_rng(0)
    images, labels = random.random((50, 12)), random.integers(0, 4, 50)
    network = Network.drawn([12, 9, 7, 4], random, np.float64)
    linears = [
        nn.Linear(inputs, outputs, dtype=torch.float64)
        for inputs, outputs in ((12, 9), (9, 7), (7, 4))
    ]
    for theirs, ours in zip(linears, network.linears, strict=True):
        theirs.load_state_dict(
            {
                "weight": torch.from_numpy(ours.weight.T.copy()),
                "bias": torch.from_numpy(ours.bias.copy()),
            }
        )
    model = nn.Sequential(linears[0], nn.Sigmoid(), linears[1], nn.Sigmoid(), linears[2])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.7)
    order = random.permutation(50)
    losses, right = [], 0
    for batch in torch.from_numpy(order).split(16):
        logits, truth = model(torch.from_numpy(images)[batch]), torch.from_numpy(labels)[batch]
        loss = functional.cross_entropy(logits, truth)
        losses.append(float(loss.detach()) * len(batch))
        right += int((logits.argmax(1) == truth).sum())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    told: list[int] = []
    assert epoch(network, images, labels, order, 16, 0.7, told.append) == pytest.approx(
        (sum(losses) / 50, right / 50), abs=1e-12
    )
    assert sum(told) == 50
    for theirs, ours in zip(linears, network.linears, strict=True):
        assert np.abs(theirs.weight.detach().numpy().T - ours.weight).max() < 1e-12
        assert np.abs(theirs.bias.detach().numpy() - ours.bias).max() < 1e-12


def test_a_tie_counts_as_wrong() -> None:
    assert (
        accuracy(
            np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [math.nan, 0.0]]), np.array([0, 0, 0, 0])
        )
        == 0.25
    )


def test_weights_of_another_network_are_refused() -> None:
    random = np.random.default_rng(0)
    with pytest.raises(ValueError, match="other layers"):
        Network.drawn([4, 3, 2], random).load(Network.drawn([4, 5, 2], random).parameters)


def test_no_module_of_it_imports_torch() -> None:
    folder = Path(layers.__file__).parent
    names = [
        f"advlab.scratch.{file.stem}" for file in folder.glob("*.py") if file.stem != "__init__"
    ]
    assert len(names) > 5
    check = "import sys; sys.exit(' '.join({'torch', 'torchvision'} & set(sys.modules)) or 0)"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import importlib\nfor name in {names!r}: importlib.import_module(name)\n{check}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


# --- the command ----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("samples")
    assert main(["scratch", *SMALL, "--name", "one", "--out", str(out)]) == 0
    return out / "scratch" / "one"


def test_what_a_training_leaves(one: Path) -> None:
    said = metrics(one)
    assert said["seed"] == 42
    assert said["model"] == "784-16-10"
    assert said["parameters"] == 784 * 16 + 16 + 16 * 10 + 10
    assert said["examples"]["train"] == 200
    assert 0.3 < said["test_accuracy"] <= 1
    assert said["seconds"] > 0
    assert len(said["data_sha256"]) == 64
    assert {"model.safetensors", "curves.png", "confusion.png", "config.yaml", "history.jsonl"} <= {
        file.name for file in one.iterdir()
    }
    assert not list(one.glob("resume*"))
    history = [json.loads(line) for line in (one / "history.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2, 3]
    assert history[-1]["loss"] < history[0]["loss"]


def test_the_figure_is_that_of_the_file(one: Path) -> None:
    from advlab.config.options.run import DataOptions
    from advlab.data import load_images

    test = load_images.load(DataOptions(dataset="digits")).test
    weights = {
        name: torch.from_numpy(array)
        for name, array in load_file(one / "model.safetensors").items()
    }
    hidden = torch.sigmoid(
        test.inputs(slice(None)).flatten(1) @ weights["0.weight"] + weights["0.bias"]
    )
    predicted = (hidden @ weights["1.weight"] + weights["1.bias"]).argmax(1)
    assert float((predicted == test.labels).double().mean()) == metrics(one)["test_accuracy"]


def test_the_same_line_gives_the_same_bits_and_typed_twice_does_nothing(
    one: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["scratch", "train", *SMALL, "--name", "two", "--out", str(tmp_path)]
    assert main(line) == 0
    assert (tmp_path / "scratch" / "two" / "model.safetensors").read_bytes() == (
        one / "model.safetensors"
    ).read_bytes()
    before = (tmp_path / "scratch" / "two" / "metrics.json").stat().st_mtime_ns
    assert main(line) == 0
    assert "finished already" in capsys.readouterr().out
    assert (tmp_path / "scratch" / "two" / "metrics.json").stat().st_mtime_ns == before
    assert main([*line[:-4], "--seed", "1", "--name", "three", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "scratch" / "three" / "model.safetensors").read_bytes() != (
        one / "model.safetensors"
    ).read_bytes()


def test_a_training_that_was_stopped_goes_on_to_the_same_bits(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = 0

    def stop(*arguments: Any) -> tuple[float, float]:
        nonlocal calls
        calls += 1
        result = epoch(*arguments)
        if calls == 3:  # the third epoch is under way, and the network has learned from it
            raise KeyboardInterrupt
        return result

    line = ["scratch", *SMALL, "--name", "one", "--out", str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(train, "epoch", stop)
        assert main(line) == 130
    folder = tmp_path / "scratch" / "one"
    assert not (folder / "metrics.json").exists()
    assert main(line) == 0
    assert "going on after epoch 2 of 3" in capsys.readouterr().out
    assert (folder / "model.safetensors").read_bytes() == (one / "model.safetensors").read_bytes()
    told = [
        [json.loads(line) for line in (place / "history.jsonl").read_text().splitlines()]
        for place in (folder, one)
    ]
    timeless = [
        [{key: value for key, value in line.items() if "second" not in key} for line in lines]
        for lines in told
    ]
    assert timeless[0] == timeless[1]


def test_a_damaged_state_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["scratch", *SMALL, "--name", "one", "--out", str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(
            scratch_network.Network, "logits", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert main(line) == 130
    (tmp_path / "scratch" / "one" / "resume.safetensors").write_bytes(b"torn")
    assert main(line) == 1
    assert "is damaged" in capsys.readouterr().err
    assert main([*line, "--overwrite"]) == 0


@pytest.mark.painted
def test_a_sweep_ends_in_a_table_and_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        main(
            ["scratch", *SMALL, "--lr", "1e-3", "0.1", "1", "--seeds", "2", "--out", str(tmp_path)]
        )
        == 0
    )
    printed = capsys.readouterr().out
    assert "report" not in printed  # its figures are of another network on MNIST
    assert "best on the validation images: learning rate 1" in printed
    (folder,) = (tmp_path / "compare").iterdir()
    assert {"sweep.png", "sweep.md", "epochs.png", "table.md", "metrics.json"} <= {
        file.name for file in folder.iterdir()
    }
    assert len(list((tmp_path / "scratch").iterdir())) == 6
    # As if the report were of this network.
    (one, *_) = (tmp_path / "scratch").iterdir()
    model = json.loads((one / "metrics.json").read_text())["model"]
    monkeypatch.setattr(figures, "_REPORTED_OF", (model, "digits"))
    shutil.rmtree(folder)
    line = ["scratch", *SMALL, "--lr", "1e-3", "0.1", "1", "--seeds", "2", "--out", str(tmp_path)]
    assert main(line) == 0
    assert "60 % or 88 %" in capsys.readouterr().out


def test_a_check_writes_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [
        "scratch",
        "check",
        "--hidden",
        "8",
        "6",
        "--entries",
        "10",
        "--batch-size",
        "3",
        "--out",
        str(tmp_path),
    ]
    assert main(line) == 0
    (folder,) = (tmp_path / "scratch").iterdir()
    said = metrics(folder)
    assert said["largest_difference"] < 1e-9 < said["limit"] == scratch_check.LIMIT == 1e-8
    assert said["model"] == "784-8-6-10"
    assert {"derivatives.md", "derivatives.png"} <= {file.name for file in folder.iterdir()}
    assert "diag(p) − p pᵀ" in capsys.readouterr().out
    assert main(line) == 0
    assert "finished already" in capsys.readouterr().out


def test_checks_over_seeds_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "scratch",
                "check",
                "--hidden",
                "4",
                "--entries",
                "4",
                "--seeds",
                "2",
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert "largest difference" in capsys.readouterr().out
    (folder,) = (tmp_path / "compare").iterdir()
    assert metrics(folder)["figure"] == "largest_difference"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["--hidden", "0"], 2, "--hidden: must be at least 1"),
        (["--lr", "0"], 2, "--lr: must be greater than 0"),
        (["--epochs", "0"], 2, "--epochs: must be at least 1"),
        (["--batch-size", "0"], 2, "--batch-size: must be at least 1"),
        (["--train-size", "5"], 2, "cannot train on 5 images"),
        (["--device", "cuda"], 2, "--device"),
        (["--entries", "3"], 2, "--entries"),
        (["--lr", "1e38"], 1, "the loss stopped being a number in epoch 1, at learning rate 1e+38"),
        (["--dataset", "reviews"], 2, "--dataset"),
    ],
)
def test_bad_lines(
    words: list[str], status: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [
        word
        for flag, value in zip(SMALL[::2], SMALL[1::2], strict=True)
        if flag not in words
        for word in (flag, value)
    ]
    assert main(["scratch", *small, *words, "--out", str(tmp_path)]) == status
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_training_and_checking_do_not_go_into_one_comparison(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scratch", "train", "check", "--out", str(tmp_path)]) == 2
    assert "name one of them" in capsys.readouterr().err
