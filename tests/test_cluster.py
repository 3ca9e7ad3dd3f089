"""Grids on a Dask cluster: the same bits, clear refusals, and nothing is lost with a worker."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from made_results import train_result
from safetensors.torch import load_file

from advlab.cli.main import main
from advlab.config.resolve import Config, resolve
from advlab.experiments import cluster as clusters
from advlab.experiments.cluster import ClusterTeam
from advlab.experiments.workers import side_by_side
from advlab.results.train import TrainResult
from advlab.runs.results import Finished

NOWHERE = "tcp://127.0.0.1:1"
TINY = (
    "train mlp --width 8 --dataset digits --train-size 40 --batch-size 20 --epochs 1 --precision "
    "fp32 --device cpu --threads 1 --lr 1e-3 1e-2 --seeds 2"
)

needs_dask = pytest.mark.skipif(
    importlib.util.find_spec("distributed") is None,
    reason="needs the package distributed: pip install 'advlab[cluster]'",
)


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers of one thread each, processes of this machine."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as started:
        yield started


def refusal(line: str, status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that refuses ``line``."""
    assert main(line.split()) == status
    (said,) = capsys.readouterr().err.splitlines()
    assert not Path("samples").exists(), "nothing was written"
    return said


# --- refusals -------------------------------------------------------------------------------------
def test_a_missing_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = refusal(f"{TINY} --cluster {NOWHERE}", 1, capsys)
    assert said == "advlab: --cluster needs the package distributed; pip install 'advlab[cluster]'"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"{TINY} --cluster host:8786", "must be the address of a Dask scheduler"),
        (f"{TINY} --cluster {NOWHERE} --workers 2", "leave one of them out"),
        (f"train mlp --dataset digits --cluster {NOWHERE}", "this line asks for one"),
    ],
)
def test_lines_that_no_cluster_can_carry_out(
    line: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert why in refusal(line, 2, capsys)


def test_no_file_names_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    """What a cluster answers is unpickled, and a file may come from anybody."""
    Path("f.yaml").write_text(f"cluster: {NOWHERE}\n")
    said = refusal(f"{TINY} --config f.yaml", 2, capsys)
    assert "f.yaml:1: cluster: names a cluster whose answers can run code" in said


@needs_dask
def test_a_cluster_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clusters, "_CONNECTING", 0.5)
    assert "no Dask scheduler answers there" in refusal(f"{TINY} --cluster {NOWHERE}", 1, capsys)


@needs_dask
def test_a_folder_that_is_not_shared_is_refused(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def written_elsewhere(folder: Path) -> Iterator[tuple[str, str]]:
        yield "a-file-that-workers-do-not-see", "token"

    monkeypatch.setattr(clusters, "_token_in", written_elsewhere)
    said = refusal(f"{TINY} --cluster {cluster.scheduler_address}", 1, capsys)
    assert "--out must be a folder that all hosts share" in said


@needs_dask
def test_a_worker_with_other_versions_is_refused(
    cluster: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = clusters._versions()
    monkeypatch.setattr(clusters, "_versions", lambda: "advlab 0")
    said = refusal(f"{TINY} --cluster {cluster.scheduler_address}", 1, capsys)
    assert f"has {here}, and this process advlab 0; install the same versions there" in said


# --- runs -----------------------------------------------------------------------------------------
@needs_dask
def test_a_cluster_computes_the_same_bits(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(f"{TINY} --out turn".split()) == 0
    in_turn = capsys.readouterr().out
    assert main(f"{TINY} --out far --cluster {cluster.scheduler_address}".split()) == 0
    far = capsys.readouterr().out
    assert sorted(line for line in far.splitlines() if line.startswith("[")) == [
        line for line in in_turn.splitlines() if line.startswith("[")
    ]
    files = sorted(Path("turn/train").glob("*/model.safetensors"))
    assert len(files) == 4
    for file in files:
        assert file.read_bytes() == Path("far", *file.parts[1:]).read_bytes()
    (configuration,) = Path("far/compare").glob("*/config.yaml")
    assert "cluster: null" in configuration.read_text(), "no file names a cluster"
    assert not [path.name for path in Path("far").iterdir() if path.name.startswith(".")]


@needs_dask
def test_a_cluster_shares_the_images_of_one_run(cluster: Any, runs: Path) -> None:
    line = (
        f"attack fgsm --checkpoint {runs / 'train' / 'small'} --eps 0.05 0.1 --limit 40 "
        "--batch-size 10 --precision fp32 --threads 1"
    )
    assert main(f"{line} --out alone".split()) == 0
    assert main(f"{line} --out far --cluster {cluster.scheduler_address}".split()) == 0
    files = sorted(Path("alone/attack").glob("*/images-*.safetensors"))
    assert len(files) == 2
    for file in files:
        ours, theirs = load_file(file), load_file(Path("far", *file.parts[1:]))
        assert torch.equal(ours["perturbed"], theirs["perturbed"])
    (configuration,) = Path("far/attack").glob("*/config.yaml")
    assert "cluster: null" in configuration.read_text(), "no file names a cluster"


def cells(number: int) -> tuple[Config, ...]:
    return resolve("train", ["mlp"], {"dataset": "digits", "seeds": number}, None).cells


@needs_dask
def test_a_cell_whose_worker_is_killed_is_tried_on_another(cluster: Any, tmp_path: Path) -> None:
    def run(config: Config) -> Finished[TrainResult]:
        import os
        import signal

        if config.options.seed == 0 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Finished(train_result(seed=config.options.seed), tmp_path)

    team = ClusterTeam(cluster.scheduler_address, str(tmp_path / "out"), None)
    outcomes = dict(side_by_side(run, cells(4), team))
    assert (tmp_path / "killed").exists()
    assert all(outcomes[place].finished is not None for place in range(4))


@needs_dask
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for a process in /proc")
def test_leaving_early_ends_the_calls(cluster: Any, tmp_path: Path) -> None:
    """As Ctrl-C does: a call that would take minutes is over at once, and its process with it."""

    def run(config: Config) -> Finished[TrainResult]:
        import os
        import time

        if config.options.seed:
            with (tmp_path / "pids").open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(300)
        while not (tmp_path / "pids").exists():
            time.sleep(0.05)
        return Finished(train_result(seed=config.options.seed), tmp_path)

    team = ClusterTeam(cluster.scheduler_address, str(tmp_path / "out"), None)
    outcomes = side_by_side(run, cells(2), team)
    assert next(outcomes)[0] == 0
    outcomes.close()
    (pid,) = (tmp_path / "pids").read_text().split()
    process = Path(f"/proc/{pid}/stat")
    assert not process.exists() or process.read_text().split()[2] == "Z"
