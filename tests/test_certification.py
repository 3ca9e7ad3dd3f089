"""``advlab evaluate certification``: figures, resumption, several processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import beta, norm
from torch import Tensor

import advlab
from advlab.cli.main import main
from advlab.config.resolve import resolve
from advlab.evaluation.certify import certify_image
from advlab.experiments.evaluate import certification
from advlab.experiments.workers import Crew, Team

LINE = "evaluate certification --dataset digits --limit 24 --samples 60 --select 10 --alpha 0.05"
TIMES = ("seconds", "total_seconds", "date")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def typed(runs: Path, name: str, more: str = "") -> int:
    line = f"{LINE} --model {runs / 'train' / 'small'} --name {name} {more}"
    return main(line.split())


def result(name: str) -> dict[str, Any]:
    """A result without what the clock says."""
    folder = Path("samples/evaluate") / name
    figures: dict[str, Any] = json.loads((folder / "metrics.json").read_text())
    return {key: value for key, value in figures.items() if key not in TIMES}


def stored(name: str) -> dict[str, Tensor]:
    return load_file(Path("samples/evaluate") / name / "certified.safetensors")


def test_figures_are_those_of_the_stored_votes(runs: Path) -> None:
    assert typed(runs, "a") == 0
    figures, votes = result("a"), stored("a")
    labels = advlab.load_dataset("digits").test.labels[:24]
    right = votes["predicted"] == labels
    assert figures["average_radius"] == pytest.approx(float((votes["radius"] * right).mean()))
    assert figures["certified_accuracy"] == pytest.approx(float(right.double().mean()))
    assert figures["abstained"] == int((votes["predicted"] == -1).sum())
    for point in figures["points"]:
        count = int((right & (votes["radius"] >= point["radius"])).sum())
        assert point["accuracy"] == pytest.approx(count / 24)
        low = beta.ppf(0.025, count, 25 - count) if count else 0.0
        high = beta.ppf(0.975, count + 1, 24 - count) if count < 24 else 1.0
        assert (point["low"], point["high"]) == pytest.approx((low, high))
    largest = 0.25 * norm.ppf(0.05 ** (1 / 60))
    assert 0 < float(votes["radius"].max()) <= largest + 1e-12
    assert (votes["cast"] == 70).all()


def test_they_are_those_of_the_function(runs: Path) -> None:
    assert typed(runs, "a", "--threads 1") == 0
    network = advlab.load_model(str(runs / "train" / "small"))
    test = advlab.load_dataset("digits").test
    images = test.pixels[:24].float() / 255
    certified = advlab.certify(
        network, images, test.labels[:24], sigma=0.25, samples=60, select=10, alpha=0.05
    )
    votes = stored("a")
    assert torch.equal(certified.predictions, votes["predicted"])
    torch.testing.assert_close(certified.radii, votes["radius"])


def test_a_stopped_run_goes_on_to_the_same_bits(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed(runs, "whole") == 0
    certify, calls = certify_image, 0

    def stopping(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 15:  # within the second block
            raise KeyboardInterrupt
        return certify(*arguments)

    monkeypatch.setattr(certification, "certify_image", stopping)
    assert typed(runs, "parts") == 130
    assert len(stored("parts")["radius"]) == 10
    assert typed(runs, "parts") == 0
    assert calls == 15 + 14
    assert result("whole") == result("parts")
    whole, parts = stored("whole"), stored("parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


class LastFirst:
    """A team of processes that is this one; what is submitted last is done first."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def capacity(self) -> int:
        return 3

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, call, arguments))
        if len(self.waiting) == 3:
            for one, called, given in reversed(self.waiting):
                one.set_result(called(*given))
        return future

    def close(self) -> None:
        pass

    def stop(self) -> None:
        pass


def test_several_processes_give_the_same_bits(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("advlab.experiments.shard_worker.silence", lambda: None)  # in this process
    assert typed(runs, "alone", "--threads 1") == 0
    line = f"{LINE} --model {runs / 'train' / 'small'} --name shared --threads 1".split()[2:]
    pairs = zip(line[::2], line[1::2], strict=True)
    options = {flag.removeprefix("--"): value for flag, value in pairs}
    (config,) = resolve("evaluate", ["certification"], options, None).cells
    team: Team = LastFirst()
    certification.run(config, Crew(team, threads=1))
    assert result("alone") == result("shared")
    alone, shared = stored("alone"), stored("shared")
    assert all(torch.equal(alone[name], shared[name]) for name in alone)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("--samples 10 --alpha 0.0005", "10 votes certify no radius even where all agree"),
        ("--sigma 0", "--sigma"),
        ("--alpha 1", "--alpha"),
        ("--eps 0.1", "--eps"),
    ],
)
def test_what_can_certify_nothing_is_refused(
    more: str, words: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"evaluate certification --dataset digits --model {runs / 'train' / 'small'} {more}"
    assert main(line.split()) == 2
    assert words in capsys.readouterr().err
    assert not Path("samples").exists()


NETWORKS = """
import torch
from torch import nn


class Noisy(nn.Module):
    lost = False

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))

    def forward(self, x):
        if not self.lost:
            return self.net(x + torch.randn_like(x))
        clean = (x >= 0).all() & (x <= 1).all()
        return self.net(x) + (0 if clean else torch.nan)


class Crowded(Noisy):
    def forward(self, x):
        return self.net(x - (x.mean(0) if len(x) > 40 else 0))


def crowded():
    return Crowded().eval()


def noisy():
    return Noisy().eval()


def lost():
    network = Noisy()
    network.lost = True
    return network.eval()
"""


@pytest.mark.parametrize(
    ("network", "check"),
    [
        ("noisy", "random outputs"),
        ("lost", "lost votes"),
        ("crowded", "batch-dependent outputs"),
    ],
)
def test_what_says_nothing_of_the_network_is_doubted(
    network: str, check: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("nets.py").write_text(NETWORKS)
    assert main([*LINE.split(), "--model", f"nets.py:{network}", "--name", "a"]) == 0
    said = capsys.readouterr().out
    assert f"CHECK FAILED: {check}: " in said
    assert "--eot" not in said
    assert list(result("a")["checks_failed"]) == [check]
    assert main(["list"]) == 0
    assert f"NOT TO BE BELIEVED ({check})" in capsys.readouterr().out


def test_it_does_not_go_with_attacks(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"evaluate certification quick --dataset digits --model {runs / 'train' / 'small'}"
    assert main(line.split()) == 2
    assert "measure different things" in capsys.readouterr().err
