"""Training in several processes: the same step as one process, one writer, and clear ends."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rank_checks
import torch
from filelock import FileLock
from killing import state
from ranks import KILLED, RankLauncher
from torch import Tensor

from advlab.cli.main import main
from advlab.components import component_names
from advlab.runs.processes import Started, started

COMMON = "--dataset digits --precision fp32 --device cpu --threads 1"
RUN = (
    "train cnn --channels 2 --hidden 8 --dropout 0.3 --train-size 61 --batch-size 20 --epochs 3 "
    f"--optimizer adamw --average-decay 0.9 --name run {COMMON}"
)
FOLDER = "samples/train/run"


@pytest.fixture(scope="module")
def launcher() -> Iterator[RankLauncher]:
    made = RankLauncher()
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(launcher: RankLauncher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run in two processes."""
    place = tmp_path_factory.mktemp("whole")
    ended = launcher.run(place, RUN)
    assert [one.status for one in ended] == [0, 0], ended
    assert "on cpu in 2 processes, seed 0" in ended[0].out
    assert not ended[1].out + ended[1].err
    return place / FOLDER


def figures(
    launcher: RankLauncher, folder: Path, check: str, ranks: int = 2
) -> list[dict[str, dict[str, Tensor]]]:
    """What several processes found, and then one."""
    ended = launcher.run(folder, check=check, ranks=ranks)
    assert [one.status for one in ended] == [0] * ranks, [one.err for one in ended]
    (alone,) = launcher.run(folder, check=check, ranks=1)
    assert alone.status == 0, alone.err
    files = [*(f"{rank} of {ranks}.pt" for rank in range(ranks)), "0 of 1.pt"]
    return [torch.load(folder / file) for file in files]


# --- one step -------------------------------------------------------------------------------------
def test_every_objective_takes_the_steps_of_one_process(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    first, second, alone = figures(launcher, tmp_path, "objectives")
    assert set(alone) == set(rank_checks.OBJECTIVES)
    trained = {name for name, _ in rank_checks.OBJECTIVES.values()}
    # What these draw for an image differs, since each process draws for its own part; so does what
    # the plain training of ``smooth`` draws.
    assert trained == set(component_names("advlab.defenses")) - {"augment", "filter"}
    for objective, wanted in alone.items():
        for name, value in wanted.items():
            assert torch.equal(first[objective][name], second[objective][name]), (objective, name)
            assert torch.allclose(first[objective][name], value, rtol=1e-9, atol=1e-12), (
                objective,
                name,
            )
    assert not torch.equal(alone["pgd"]["weight 0.weight"], alone["fast"]["weight 0.weight"])


def test_nt_xent_compares_the_views_of_all_processes(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    first, second, alone = figures(launcher, tmp_path, "contrast")
    for name, value in alone["all"].items():
        assert torch.equal(first["all"][name], second["all"][name]), name
        assert torch.allclose(first["all"][name], value, rtol=1e-9, atol=1e-12), name


def test_gradients_are_summed_and_buffers_are_those_of_the_first(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    for found in figures(launcher, tmp_path, "parts")[:2]:
        assert torch.equal(found["alike"]["always"], torch.ones(3, 2))
        assert torch.equal(found["alike"]["mean"], torch.tensor([0.1, 0.2]))
        assert int(found["alike"]["count"]) == 7
        assert torch.equal(found["gradients"]["always"], torch.full((3, 2), 11.0))
        assert torch.equal(found["gradients"]["sometimes"], torch.full((2, 3), 2.0))
        assert bool(found["gradients"]["never"].isnan()), "the optimiser leaves it alone"
        assert torch.equal(found["buffers"]["mean"], torch.tensor([0.1, 0.2])), "to the bit"
        assert float(found["buffers"]["wide"]) == 0.3
        assert found["more"]["numbers"].tolist() == [5, 5]
        words = [bytes(word).decode() for word in found["more"]["words"].tolist()]
        assert words == ["word 0 of 0", "word 1 of 0"]


def test_a_training_without_batch_normalisation_is_that_of_one_process(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    # Parts of 5; the last batch holds one image, and joins another.
    *shared, alone = figures(launcher, tmp_path, "fitted", ranks=3)
    for found in shared:
        for name, value in alone["all"].items():
            assert torch.allclose(found["all"][name], value, rtol=1e-3, atol=1e-5), name
            if name != "history":
                assert torch.equal(found["all"][name], shared[0]["all"][name]), name


# --- runs -----------------------------------------------------------------------------------------
def test_the_same_line_gives_the_same_bits(
    launcher: RankLauncher, whole: Path, tmp_path: Path
) -> None:
    launcher.run(tmp_path, RUN)
    assert state(tmp_path / FOLDER) == state(whole)
    metrics = json.loads((whole / "metrics.json").read_text())
    assert metrics["machine"]["processes"] == 2
    assert metrics["examples"]["train"] == 61


def test_a_killed_process_ends_the_other_and_the_run_goes_on(
    launcher: RankLauncher, whole: Path, tmp_path: Path
) -> None:
    first, second = launcher.run(tmp_path, RUN, kill=5)
    assert second.status == KILLED
    assert first.status == 1
    assert first.err.splitlines()[-1] == (
        "advlab: another process of this training ended or cannot be reached; the same line typed "
        "again goes on after the last finished epoch"
    )
    assert (tmp_path / FOLDER / "resume.pt").is_file()
    ended = launcher.run(tmp_path, RUN)
    assert [one.status for one in ended] == [0, 0], ended
    assert "going on after epoch 1 of 3" in ended[0].out
    assert state(tmp_path / FOLDER) == state(whole)
    again = launcher.run(tmp_path, RUN)
    assert [one.status for one in again] == [0, 0], again
    assert "is finished already" in again[0].out


def test_the_number_of_processes_is_part_of_the_run(launcher: RankLauncher, whole: Path) -> None:
    (alone,) = launcher.run(whole.parents[2], RUN, ranks=1)
    assert alone.status == 2
    assert "holds another run (processes 2 there, 1 here)" in alone.err
    (three, *others) = launcher.run(whole.parents[2], RUN, ranks=3)
    assert three.status == 2
    assert "holds another run (processes 2 there, 3 here)" in three.err
    assert all(other.status == 1 for other in others)
    (listed,) = launcher.run(whole.parents[2], "list --command train", ranks=1)
    assert ", 2 processes" in listed.out


def test_a_run_that_another_process_is_at_work_on_is_not_waited_for(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    with FileLock(tmp_path / FOLDER / ".lock"):
        first, second = launcher.run(tmp_path, RUN)
    assert (first.status, second.status) == (1, 1)
    assert first.err == f"advlab: another process of advlab is at work in {FOLDER}\n"


def test_a_loss_that_is_no_number_ends_all_processes(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    ended = launcher.run(tmp_path, RUN, diverge=4)
    assert [one.status for one in ended] == [1, 1]
    for one in ended:
        assert "the loss stopped being a number in epoch 2" in one.err
        assert "the best epoch before it, 1, is kept" in one.err


def test_a_defence_and_its_undefended_network_are_trained_together(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    line = (
        "defend pgd --model mlp --width 8 --train-size 40 --batch-size 20 --epochs 1 --limit 10 "
        f"--check-images 10 --check-steps 2 --steps 2 {COMMON}"
    )
    ended = launcher.run(tmp_path, line)
    assert [one.status for one in ended] == [0, 0], ended
    for command in ("train", "defend"):
        (folder,) = (tmp_path / "samples" / command).iterdir()
        metrics = json.loads((folder / "metrics.json").read_text())
        assert metrics["machine"]["processes"] == 2
        assert json.loads((folder / "identity.json").read_text())["options"]["processes"] == 2


def test_the_runs_of_a_grid_follow_each_other(launcher: RankLauncher, tmp_path: Path) -> None:
    line = f"train mlp --width 8 --train-size 40 --batch-size 20 --epochs 1 --seeds 2 {COMMON}"
    ended = launcher.run(tmp_path, line)
    assert [one.status for one in ended] == [0, 0], ended
    folders = sorted((tmp_path / "samples/train").iterdir())
    assert [folder.name[-16:] for folder in folders] == ["seed0-2processes", "seed1-2processes"]
    (table,) = (tmp_path / "samples/compare").glob("*/table.md")
    assert " ± " in table.read_text(encoding="utf-8")


def test_an_encoder_and_its_baseline_are_trained_together(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    line = (
        f"contrast simclr --width 2 --train-size 40 --batch-size 20 --epochs 1 --name run {COMMON}"
    )
    ended = launcher.run(tmp_path, line)
    assert [one.status for one in ended] == [0, 0], ended
    metrics = json.loads((tmp_path / "samples/contrast/run/metrics.json").read_text())
    assert metrics["machine"]["processes"] == 2
    assert metrics["supervised"]["seconds"] > 0


def test_processes_that_see_other_data_end(launcher: RankLauncher, tmp_path: Path) -> None:
    first, second = launcher.run(tmp_path, RUN, last="--lr 0.01")
    assert (first.status, second.status) == (1, 1)
    assert "another process of this training ended or cannot be reached" in first.err
    assert second.err == (
        f"advlab: process 1: {FOLDER}: this process would carry out another run than the first "
        "one; all hosts need the same data and weights\n"
    )


# --- refusals -------------------------------------------------------------------------------------
def test_a_batch_must_hold_two_examples_for_each_process(
    launcher: RankLauncher, tmp_path: Path
) -> None:
    ended = launcher.run(tmp_path, f"train mlp --batch-size 3 {COMMON}")
    # The second one may still be looking for the first one, which is gone.
    assert ended[0].status == 2
    assert ended[1].status in (1, 2)
    assert ended[0].err == (
        "advlab: --batch-size 3: 2 processes share each batch, and each needs two examples of it "
        "or more; that is 4 at least\n"
    )
    assert not (tmp_path / "samples").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("list", "list runs in a single process; start it without torchrun"),
        ("attack fgsm", "attack runs in a single process; start it without torchrun"),
        ("train mlp --lr 1e-3 2e-3 --workers 2", "--workers carries out several runs at a time"),
        ("train mlp --device cuda:1", "--device cuda:1: 2 processes cannot share it"),
        ("train mlp --device mps", "--device mps: 2 processes cannot share it"),
        ("train mlp --device cuda", "--device cuda: torch sees 0 CUDA devices here"),
    ],
)
def test_lines_that_several_processes_cannot_carry_out(
    line: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "1")
    assert main(line.split()) == 2
    err = capsys.readouterr().err
    assert words in err
    assert len(err.splitlines()) == 1
    assert main(["--version"]) == 0


def test_processes_that_cannot_meet(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert main(["train", "mlp", "--device", "cpu"]) == 1
    err = capsys.readouterr().err
    assert f"the 2 processes did not find each other at 127.0.0.1:{port}" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RANK": None}, "RANK is not set"),
        ({"MASTER_PORT": None}, "MASTER_PORT is not set"),
        ({"RANK": "2"}, "RANK is 2"),
    ],
)
def test_an_environment_that_does_not_fit_together(
    changes: dict[str, str | None], words: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    fitting = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    fitting |= {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    for name, value in fitting.items():
        monkeypatch.setenv(name, value)
    assert started() == Started(rank=1, size=2, local_rank=1)
    monkeypatch.setattr("advlab.cli.main._FIRST_SPEAKS", 0.0)
    for name, changed in changes.items():
        if changed is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, changed)
    assert main(["train", "mlp"]) == 2
    assert words in capsys.readouterr().err
    monkeypatch.delenv("WORLD_SIZE")
    assert started() == Started()
