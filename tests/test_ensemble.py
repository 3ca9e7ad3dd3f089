"""Ensembles of finished runs: the mean of their probabilities, as one network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import advlab
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.config.references import is_reference, is_target
from advlab.data import load_images
from advlab.experiments.ensembles import load_ensemble
from advlab.experiments.target_model import named_by
from advlab.networks.ensemble import Ensemble, log_mean_probability


def typed(runs: Path, *names: str) -> str:
    """The name of the ensemble of these runs."""
    return "ensemble:" + ",".join(str(runs / "train" / name) for name in names)


def linear(weight: list[list[float]]) -> nn.Sequential:
    """A network of two pixels with this matrix, in float64."""
    layer = nn.Linear(2, len(weight), bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
    return nn.Sequential(nn.Flatten(), layer)


def test_the_softmax_is_the_mean_of_the_probabilities() -> None:
    # With x = (1, 0): the first gives odds of 3 to 1, the second of 1 to 4.
    first = linear([[torch.log(torch.tensor(3.0)).item(), 0.0], [0.0, 0.0]])
    second = linear([[0.0, 0.0], [torch.log(torch.tensor(4.0)).item(), 0.0]])
    images = torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(1, 1, 1, 2)
    probabilities = Ensemble([first, second])(images).exp()
    expected = torch.tensor([[(3 / 4 + 1 / 5) / 2, (1 / 4 + 4 / 5) / 2]], dtype=torch.float64)
    torch.testing.assert_close(probabilities, expected, rtol=1e-6, atol=0)


def test_the_gradient_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    networks = [
        nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
        for _ in range(3)
    ]
    images = torch.rand(2, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Ensemble(networks), (images,))


def test_probabilities_too_small_for_float32_keep_their_gradients() -> None:
    logits = torch.tensor([[200.0, 0.0]], requires_grad=True)
    joint = log_mean_probability([logits, logits - torch.tensor([[0.0, 50.0]])])
    joint[0, 1].backward()
    assert joint.isfinite().all()
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, torch.tensor([[-1.0, 1.0]]))


def test_only_the_commands_for_finished_networks_know_the_name() -> None:
    for text in ("ensemble:a,b", "ensemble:samples/train/a,samples/train/b", "ensemble:make"):
        assert is_target(text)
        assert not is_reference(text)


def test_order_is_no_part_of_an_ensemble(runs: Path) -> None:
    one, other = (
        named_by(typed(runs, *names), "--model")
        for names in (("small", "other"), ("other", "small"))
    )
    assert one.contents == other.contents
    images = torch.rand(5, 1, 28, 28)
    assert torch.equal(one.network(images), other.network(images))


def test_an_ensemble_is_the_mean_of_its_runs(runs: Path) -> None:
    images = torch.rand(5, 1, 28, 28)
    members = [advlab.load_model(runs / "train" / name) for name in ("small", "other")]
    joint = advlab.load_model(typed(runs, "small", "other"))
    mean = torch.stack([member(images).softmax(dim=1) for member in members]).mean(dim=0)
    torch.testing.assert_close(joint(images).softmax(dim=1), mean)


def test_another_member_makes_another_ensemble(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("small", "other"):
        shutil.copy(runs / "train" / name / "model.safetensors", tmp_path / f"{name}.safetensors")
    line = ["attack", "fgsm", "--eps", "0.1", "--limit", "8", "--out", str(tmp_path), "--name", "x"]
    text = f"ensemble:{tmp_path}/small.safetensors,{tmp_path}/other.safetensors"
    assert main([*line, "--model", text]) == 0
    result = json.loads((tmp_path / "attack" / "x" / "metrics.json").read_text())
    assert result["network"]["model"] == "ensemble(cnn, mlp)"
    assert len(result["network"]["architecture"]["members"]) == 2
    swapped = f"ensemble:{tmp_path}/other.safetensors,{tmp_path}/small.safetensors"
    capsys.readouterr()
    assert main([*line, "--model", swapped]) == 0
    assert "finished already" in capsys.readouterr().out
    others = ["train", "mlp", "--width", "8", "--epochs", "1", "--dataset", "digits"]
    assert main([*others, "--out", str(tmp_path), "--name", "third"]) == 0
    third = tmp_path / "train" / "third" / "model.safetensors"
    shutil.copy(third, tmp_path / "other.safetensors")
    capsys.readouterr()
    assert main([*line, "--model", text]) == 2
    assert "holds another run" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["evaluate quick --limit 4", "inspect saliency", "attack noise --limit 4"]
)
def test_commands_take_it(runs: Path, tmp_path: Path, line: str) -> None:
    given = ["--model", typed(runs, "small", "other"), "--out", str(tmp_path)]
    assert main([*line.split(), *given]) == 0


def test_it_may_be_the_surrogate(runs: Path, tmp_path: Path) -> None:
    given = ["--model", str(runs / "train" / "small"), "--out", str(tmp_path), "--limit", "4"]
    surrogate = ["--surrogate", typed(runs, "small", "other")]
    assert main(["attack", "fgsm", *given, *surrogate]) == 0


def test_refusals(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(text: str, *line: str) -> str:
        capsys.readouterr()
        words = line or ("attack", "fgsm", "--limit", "4")
        assert main([*words, "--model", text, "--out", str(tmp_path)]) == 2
        return capsys.readouterr().err

    assert "two or more networks" in refused(typed(runs, "small"))
    assert "same network" in refused(typed(runs, "small", "small"))
    assert "absent" in refused(typed(runs, "small", "absent"))
    assert "attacks on texts" in refused(typed(runs, "small", "other"), "attack", "deepwordbug")
    file = tmp_path / "three.npz"
    np.savez(
        file,
        images=np.random.default_rng(0).integers(0, 256, (90, 28, 28), dtype=np.uint8),
        labels=np.arange(90) % 3,
    )
    for seed in ("0", "1"):
        words = f"train mlp --width 8 --epochs 1 --dataset npz:{file} --split-seed {seed}".split()
        assert main([*words, "--name", f"split{seed}", "--out", str(tmp_path)]) == 0
    mixed = f"{typed(runs, 'small')},{tmp_path / 'train' / 'split0'}"
    assert "make no ensemble: their classes differ" in refused(mixed)
    error = refused(typed(tmp_path, "split0", "split1"))
    assert "their data were read with --split-seed 0 and 1" in error


def test_members_are_sorted_by_their_hashes(runs: Path) -> None:
    members = load_ensemble(typed(runs, "small", "other"), "--model").members
    assert [one.sha256 for one in members] == sorted(one.sha256 for one in members)


def joint(out: Path, runs: Path, *names: str) -> list[dict[str, Any]]:
    """What ``compare --ensemble`` writes of the ensemble."""
    line = [str(runs / "train" / name) for name in names]
    given = ["--out", str(out), "--name", "joint", "--overwrite"]
    assert main(["compare", *line, "--ensemble", *given]) == 0
    result = json.loads((out / "compare" / "joint" / "metrics.json").read_text())
    return result["ensemble"]  # type: ignore[no-any-return]


def test_compare_judges_networks_of_images_together(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    validation, test = joint(tmp_path, runs, "small", "other")
    assert "test, 360 images" in capsys.readouterr().out
    target = named_by(typed(runs, "small", "other"), "--model")
    images = load_images.load(DataOptions(dataset="digits")).test
    with torch.no_grad():
        right = target.network(images.inputs(slice(None))).argmax(1) == images.labels
    assert test["examples"] == 360
    assert test["accuracy"] == pytest.approx(float(right.float().mean()))
    for name, member in zip(("small", "other"), test["members"], strict=True):
        own = json.loads((runs / "train" / name / "metrics.json").read_text())
        assert member["accuracy"] == pytest.approx(own["test_accuracy"])
        differ = member["test"]["second_only"] - member["test"]["first_only"]
        assert differ == round(360 * (test["accuracy"] - member["accuracy"]))
    assert validation["part"] == "validation"


def test_networks_read_texts_each_in_its_own_way(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    for name, more in {"whole": [], "parts": ["--subwords", "200"]}.items():
        line = ["train", "nbow", "--epochs", "1", "--out", str(tmp_path), "--name", name]
        assert main([*line, *more]) == 0
    _, test = joint(tmp_path, tmp_path, "whole", "parts")
    for name, member in zip(("whole", "parts"), test["members"], strict=True):
        own = json.loads((tmp_path / "train" / name / "metrics.json").read_text())
        assert member["accuracy"] == pytest.approx(own["test_accuracy"])


def test_compare_refuses_what_is_no_ensemble(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [str(runs / "train" / name) for name in ("small", "other")]
    line = ["compare", *both, "--ensemble", "--out", str(tmp_path)]
    assert main([*line, "--format", "csv"]) == 2
    assert "goes with --format table" in capsys.readouterr().err
    attacked = ["attack", "noise", "--limit", "4", "--out", str(tmp_path)]
    for name, model in zip(("x", "y"), both, strict=True):
        assert main([*attacked, "--model", model, "--name", name]) == 0
    capsys.readouterr()
    assert main(["compare", "attack/x", "attack/y", "--ensemble", "--out", str(tmp_path)]) == 2
    assert "is no run of train" in capsys.readouterr().err
