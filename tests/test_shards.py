"""Shards: the images of one run in several processes. However many there are, and in whatever order
they end, the bits are those of one process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from advlab.attacks import noise
from advlab.cli.main import main
from advlab.errors import EnvironmentFailure, UsageError
from advlab.experiments import grid, shard_worker, shards
from advlab.experiments.evaluate.spread import following
from advlab.experiments.shard_worker import Job, Shard, ShardOutcome
from advlab.experiments.workers import LocalTeam, WorkerKilled
from advlab.perturbation.sweep import AttackedBatch
from advlab.perturbation.victim import GradientCount
from advlab.runs.machine import Machine

TIMINGS = ("seconds", "total_seconds", "date", "images_per_second")
EVALUATE = (
    "evaluate standard --eps 0.05 0.12 --limit 30 --batch-size 8 --steps 2 --queries 10 "
    "--attacks noise PGD transfer Square --precision fp32 --threads 1"
)
ATTACK = (
    "attack pgd --eps 0.03 0.06 --limit 10 --batch-size 25 --steps 2 --target each --precision "
    "fp32 --threads 1"
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In an empty folder; what a worker does to its own process is not done to that of the
    tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shard_worker, "silence", lambda: None)
    yield
    shard_worker._kept.clear()


@pytest.fixture(scope="module")
def networks(runs: Path) -> str:
    """The options that name a target and a surrogate."""
    return f"--checkpoint {runs / 'train' / 'small'} --surrogate {runs / 'train' / 'other'}"


@pytest.fixture(scope="module")
def alone(networks: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of ``EVALUATE`` in one process."""
    out = tmp_path_factory.mktemp("alone")
    assert main(f"{EVALUATE} {networks} --out {out}".split()) == 0
    return out


class Backwards:
    """A team of this process that carries out the newest call first, one each time that it is
    asked how many it takes."""

    def __init__(self, processes: int, calls: int = 1_000_000, deaths: Sequence[int] = ()) -> None:
        """Of a capacity; Ctrl-C comes instead of the call behind so many; the worker of the calls
        numbered in ``deaths`` dies."""
        self.processes, self.calls, self.deaths = processes, calls, deaths
        self.pending: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.done, self.ended = 0, ""

    def capacity(self) -> int:
        if self.pending:
            if self.done == self.calls:
                raise KeyboardInterrupt
            future, call, arguments = self.pending.pop()
            if self.done in self.deaths:
                future.set_exception(WorkerKilled())
            else:
                future.set_result(call(*arguments))
            self.done += 1
        return self.processes

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        assert len(self.pending) < self.processes
        self.pending.append((Future(), call, arguments))
        return self.pending[-1][0]

    def close(self) -> None:
        self.ended = "closed"

    def stop(self) -> None:
        self.ended = "stopped"


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Backwards], Backwards]:
    """Has ``--workers`` take the given team."""

    def used(team: Backwards) -> Backwards:
        monkeypatch.setattr(grid, "LocalTeam", lambda *_: team)
        monkeypatch.setattr(shards, "POLL", 0.0)  # nothing happens while it is waited for
        return team

    return used


def untimed(value: Any) -> Any:
    """A result without what was measured by the clock."""
    if isinstance(value, dict):
        return {key: untimed(one) for key, one in value.items() if key not in TIMINGS}
    return [untimed(one) for one in value] if isinstance(value, list) else value


def outcome(out: str | Path) -> tuple[Any, dict[str, torch.Tensor], list[str]]:
    """What a run left: figures, stored images, names of its files."""
    (folder,) = Path(out).glob("*/*")
    tensors = {
        f"{file.name}/{key}": tensor
        for file in folder.glob("*.safetensors")
        for key, tensor in load_file(file).items()
        if key not in TIMINGS
    }
    names = sorted(file.name for file in folder.iterdir())
    return untimed(json.loads((folder / "metrics.json").read_text())), tensors, names


def assert_same(one: str | Path, other: str | Path) -> None:
    (figures, images, names), (theirs, their_images, their_names) = outcome(one), outcome(other)
    assert figures == theirs
    assert names == their_names
    assert images.keys() == their_images.keys()
    for name, tensor in images.items():
        assert torch.equal(tensor, their_images[name]), name


# --- bits -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("processes", [1, 3])
def test_any_number_of_processes_gives_the_bits_of_one(
    processes: int, networks: str, alone: Path, use: Callable[[Backwards], Backwards]
) -> None:
    """The attack by transfer included; images break at both ε."""
    team = use(Backwards(processes))
    assert main(f"{EVALUATE} {networks} --out shared --workers 4".split()) == 0
    assert_same(alone, "shared")
    assert team.ended == "closed"
    figures, _, _ = outcome(alone)
    batches = [-(-row["attacked"] // 8) for row in figures["attacks"]]
    assert team.done == sum(batches), "no shard is attacked twice"
    assert all(
        any(row["broken"] for row in figures["attacks"] if row["eps"] == eps)
        for eps in figures["eps"]
    )


def test_a_process_of_its_own_gives_the_same_bits(
    networks: str,
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One, since each takes seconds to start."""
    monkeypatch.setattr(grid, "LocalTeam", lambda *_: LocalTeam(1, 1))
    assert main(f"{EVALUATE} {networks} --out shared --workers 2".split()) == 0
    assert_same(alone, "shared")
    lines = [text for text in capsys.readouterr().out.splitlines() if "broken," in text]
    figures, _, _ = outcome(alone)
    assert len(lines) == sum(row["attacked"] > 0 for row in figures["attacks"])


@pytest.mark.parametrize("more", ["", "--keep-broken"])
def test_an_attack_with_targets_has_the_same_bits_as_well(
    more: str, networks: str, use: Callable[[Backwards], Backwards]
) -> None:
    line = f"{ATTACK} {networks} {more}"
    assert main(f"{line} --out alone".split()) == 0
    team = use(Backwards(3))
    assert main(f"{line} --out shared --workers 4".split()) == 0
    assert_same("alone", "shared")
    assert team.done >= 6, "there are several shards at each ε"


def test_own_code_and_a_network_without_checkpoint_are_loaded_by_workers(
    use: Callable[[Backwards], Backwards],
) -> None:
    Path("own.py").write_text(
        "import torch\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)).eval()\n"
    )
    line = "attack fgsm --model own.py:make --dataset digits --limit 30 --batch-size 10 --threads 1"
    assert main(f"{line} --out alone".split()) == 0
    use(Backwards(2))
    assert main(f"{line} --out shared --workers 2".split()) == 0
    assert_same("alone", "shared")


def shard(label: str, *index: int) -> Shard:
    return Shard(label, 0.1, index, (0,) * len(index), "noise", noise.Options())


def known(broken: Sequence[int], *done: Shard) -> dict[Shard, ShardOutcome]:
    """Outcomes of shards, in which these images were broken."""
    batch = AttackedBatch(torch.zeros(0), GradientCount(), 0.0)
    return {
        one: ShardOutcome(batch, torch.tensor([image in broken for image in one.index]))
        for one in done
    }


def test_only_batches_that_are_certain_begin_before_the_attack_before_is_over() -> None:
    """Behind a batch that is not known, nobody knows which images a later batch holds."""

    def make(place: int, index: Sequence[int]) -> Shard:
        return shard("abc"[place], *index)

    def certain(done: dict[Shard, ShardOutcome]) -> list[Shard]:
        return list(following(make, 0, 3, range(5), done, 2))

    first = [shard("a", 0, 1), shard("a", 2, 3), shard("a", 4)]
    assert certain({}) == first
    assert certain(known([], *first[1:])) == first
    assert certain(known([], first[0])) == [*first, shard("b", 0, 1)]
    assert certain(known([1], first[0])) == first, "image 0 shares a batch with what follows"
    assert certain(known([1], *first[:2])) == [*first, shard("b", 0, 2)]
    begun = known([1], *first[:2], shard("b", 0, 2))
    assert certain(begun) == [*first, shard("b", 0, 2), shard("c", 0, 2)]
    over = known([1], *first)
    assert certain(over) == [*first, shard("b", 0, 2), shard("b", 3, 4)]
    assert certain(known(range(5), *first)) == first, "nothing is left"


# --- what stops a run -----------------------------------------------------------------------------
def test_a_stopped_run_goes_on_from_the_shards_that_are_done(
    networks: str,
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    use: Callable[[Backwards], Backwards],
) -> None:
    """With another number of workers, or without any."""
    monkeypatch.setattr(shards, "WORTH_STORING", 0.0)
    line = f"{EVALUATE} {networks}"
    stopped = use(Backwards(2, calls=3))
    assert main(f"{line} --out stopped --workers 2".split()) == 130
    assert stopped.ended == "stopped"
    (folder,) = Path("stopped").glob("*/*")
    assert len(list(folder.glob("resume-shard-*"))) == 3
    shutil.copytree("stopped", "again")
    resumed = use(Backwards(1))
    assert main(f"{line} --out stopped --workers 3".split()) == 0
    figures, _, _ = outcome("stopped")
    batches = [-(-row["attacked"] // 8) for row in figures["attacks"]]
    assert resumed.done == sum(batches) - 3, "what was done is not done again"
    assert_same(alone, "stopped")
    assert main(f"{line} --out again".split()) == 0
    assert_same(alone, "again")


@pytest.mark.parametrize(("deaths", "status"), [(2, 0), (3, 1)])
def test_a_shard_whose_worker_is_killed_is_tried_again_twice(
    deaths: int,
    status: int,
    networks: str,
    use: Callable[[Backwards], Backwards],
    capsys: pytest.CaptureFixture[str],
) -> None:
    team = use(Backwards(1, deaths=range(deaths)))
    line = f"attack fgsm {networks} --limit 20 --batch-size 10 --workers 2"
    assert main(line.split()) == status
    assert team.ended == ("closed" if status == 0 else "stopped")
    if status:
        assert capsys.readouterr().err.splitlines() == [
            "advlab: fgsm at ε 0.1 on 10 images from number 0 on: its worker was killed every "
            "time, for want of memory perhaps; fewer workers leave more to each"
        ]


@pytest.mark.parametrize(
    ("error", "status"), [(UsageError("no such class"), 2), (EnvironmentFailure("disk full"), 1)]
)
def test_what_stops_a_shard_stops_the_run_in_one_line(
    error: Exception,
    status: int,
    networks: str,
    use: Callable[[Backwards], Backwards],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def failing(job: Job) -> Any:
        raise error

    monkeypatch.setattr(shard_worker, "_loaded", failing)
    team = use(Backwards(2))
    line = f"attack fgsm {networks} --limit 20 --batch-size 10 --workers 2"
    assert main(line.split()) == status
    assert capsys.readouterr().err.splitlines() == [f"advlab: {error}"]
    assert team.ended == "stopped"


def test_a_worker_that_loads_another_network_is_refused(runs: Path) -> None:
    """As where the user's own code draws random weights."""
    from advlab.config.resolve import resolve, to_mapping

    flags = {"checkpoint": str(runs / "train" / "small"), "dataset": "digits"}
    (cell,) = resolve("attack", ["fgsm"], flags, None).cells
    machine = Machine(torch.device("cpu"), "fp32")
    job = Job(to_mapping(cell), {"network": "0" * 64}, None, machine, 1, first=0, images=4)
    refused = shard_worker.attack_shard(job, shard("fgsm", 0, 1))
    assert refused.batch is None
    assert not refused.usage_error
    assert "a worker loaded another network than the first process" in refused.refusal


class Peculiar(Exception):
    """An error that cannot be unpickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def test_errors_of_the_users_own_code_reach_the_first_process() -> None:
    assert str(shard_worker._portable(Peculiar(1, 2))) == "Peculiar: 1 and 2"
    error = ValueError("plain")
    assert shard_worker._portable(error) is error


# --- runs that one process carries out ------------------------------------------------------------
def test_a_run_that_cannot_be_divided_says_so(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = runs / "train" / "small"
    line = f"evaluate corruptions --checkpoint {place} --corruptions shot_noise --severities 1"
    assert main(f"{line} --limit 10 --workers 2".split()) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[0]
        .startswith(
            "--workers 2 has no effect on this single run: several processes share the runs"
        )
    )
    assert main(f"{line} --limit 10 --cluster tcp://127.0.0.1:1".split()) == 2
    assert "this line asks for one" in capsys.readouterr().err
