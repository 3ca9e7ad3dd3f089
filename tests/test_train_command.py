"""``advlab train`` through the front door: what a run writes, how it is repeated, compared, stopped and refused."""

from __future__ import annotations

import ast
import errno
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

import advlab
from advlab import names
from advlab.cli.main import main
from advlab.config.commands import DataOptions
from advlab.datasets import _load
from advlab.metrics.classification import accuracy
from advlab.training import checkpoint

SMALL = "mlp --width 16 --dataset digits --precision fp32 --threads 1 --batch-size 64"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def train(line: str) -> int:
    return main(["train", *line.split()])


def metrics(folder: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((Path("samples/train") / folder / "metrics.json").read_text())
    return result


def weights(folder: str | Path) -> str:
    """A hash of all tensors of a run's network."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(Path(folder) / "model.safetensors").items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def history(folder: str | Path) -> list[dict[str, float]]:
    """Its lines without what the clock says."""
    lines = [json.loads(line) for line in (Path(folder) / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in ("seconds", "images_per_second")} for line in lines]


# --- one run ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("model", names.modules_in("advlab.models"))
def test_every_network_trains_and_reports_what_its_checkpoint_does(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(f"{model} --dataset digits --train-size 100 --epochs 1 --batch-size 50 --precision fp32 --name run") == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0] == "data set: digits, 1,437 + 360 handwritten digits (scikit-learn's 8x8 set, enlarged)"
    result = metrics("run")
    assert result["model"] == model
    assert result["dataset"] == "digits"
    assert result["seed"] == 0
    assert result["seconds"] > 0
    assert 0 <= result["val_accuracy"] <= 1
    assert f"{result['parameters']:,}" in said
    network, card = checkpoint.load(Path("samples/train/run"))
    test = _load.load(DataOptions(dataset="digits")).test
    with torch.no_grad():
        again = accuracy(torch.cat([network(part) for part in test.inputs(slice(None)).split(200)]), test.labels)
    assert result["test_accuracy"] == again
    assert result["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert card.classes == tuple("0123456789")
    assert len(history("samples/train/run")) == 1
    for picture in ("curves.png", "confusion.png", "mistakes.png"):
        with Image.open(f"samples/train/run/{picture}") as image:
            pixels = np.asarray(image.convert("L"))
        assert min(pixels.shape) > 200
        assert len(np.unique(pixels)) > 20, "it is not empty"
    assert not list(Path("samples/train/run").glob("resume*"))
    assert not list(Path("samples/train/run").glob(".*.tmp"))


def test_the_same_line_is_done_once_and_its_configuration_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(f"{SMALL} --epochs 2") == 0
    (folder,) = Path("samples/train").iterdir()
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    capsys.readouterr()
    assert train(f"{SMALL} --epochs 2") == 0
    assert "finished already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert main(["--config", str(folder / "config.yaml"), "--out", "again"]) == 0
    again = Path("again/train") / folder.name
    assert weights(again) == weights(folder)
    assert history(again) == history(folder)
    same = ("curves.png", "confusion.png", "mistakes.png", "config.yaml")
    assert all((again / name).read_bytes() == (folder / name).read_bytes() for name in same if name != "config.yaml")
    assert {**yaml.safe_load((again / "config.yaml").read_text()), "out": "samples"} == yaml.safe_load((folder / "config.yaml").read_text())


def test_a_folder_with_a_run_of_other_settings_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert train(f"{SMALL} --epochs 1 --name mine") == 0
    kept = weights("samples/train/mine")
    capsys.readouterr()
    assert train(f"{SMALL} --epochs 2 --name mine") == 2
    said = capsys.readouterr().err
    assert "holds a run of other settings (epochs 1 there, 2 here)" in said
    assert len(said.splitlines()) == 1
    assert weights("samples/train/mine") == kept
    assert train(f"{SMALL} --epochs 2 --name mine --overwrite") == 0
    assert weights("samples/train/mine") != kept
    assert metrics("mine")["epochs"] == 2


@pytest.mark.parametrize("line", ["--batch-size 1", "--epochs 0", "--lr -1", "--train-size 3", "--device cuda:9", "--dropout 1"])
def test_what_cannot_be_trained_is_refused_before_anything_is_written(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    if "cuda" in line and torch.cuda.device_count() > 9:
        pytest.skip("this machine has that many devices")
    assert train(f"mlp --dataset digits {line}") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(Path().iterdir())


# --- many runs ----------------------------------------------------------------------------------------------------------
def test_a_grid_runs_every_cell_once_and_gathers_them(capsys: pytest.CaptureFixture[str]) -> None:
    line = f"{SMALL} --epochs 2 --lr 1e-3 1e-2 --seeds 2"
    assert train(line) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].startswith("[1/4] lr 0.001, seed 0; data set: digits")
    folders = sorted(path.name for path in Path("samples/train").iterdir())
    assert len(folders) == 4
    (comparison,) = Path("samples/compare").iterdir()
    gathered = json.loads((comparison / "metrics.json").read_text())
    assert [setting["setting"] for setting in gathered["settings"]] == ["lr 0.001", "lr 0.01"]
    table = (comparison / "table.md").read_text()
    for setting in gathered["settings"]:
        shares = [json.loads((Path(run["folder"]) / "metrics.json").read_text())["test_accuracy"] for run in setting["each"]]
        assert setting["test_accuracy_mean"] == pytest.approx(mean(shares))
        assert setting["test_accuracy_std"] == pytest.approx(stdev(shares))
        assert f"{100 * mean(shares):.2f} ± {100 * stdev(shares):.2f} %" in table
        assert f"{100 * mean(shares):.2f} ± {100 * stdev(shares):.2f} %" in said
    assert (comparison / "comparison.png").stat().st_size > 5000
    written = {file: file.stat().st_mtime_ns for file in Path("samples/train").rglob("model.safetensors")}
    assert train(line) == 0
    assert capsys.readouterr().out.count("finished already") == 4
    assert {file: file.stat().st_mtime_ns for file in Path("samples/train").rglob("model.safetensors")} == written
    alone = f"{SMALL} --epochs 2 --lr 1e-2 --seed 1"
    assert train(alone) == 0
    assert "finished already" in capsys.readouterr().out, "a cell is nothing but its own line"


def test_a_cell_that_the_world_stops_does_not_stop_the_others(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from advlab.errors import WorldError

    experiment = importlib.import_module("advlab.experiments.train")
    fit, calls = vars(experiment)["fit"], []

    def failing(*args: Any, **rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise WorldError("the loss stopped being a number")
        return fit(*args, **rest)

    monkeypatch.setattr(experiment, "fit", failing)
    line = f"{SMALL} --epochs 1 --seeds 2"
    assert train(line) == 1
    said = capsys.readouterr().out
    assert "not finished: the loss stopped being a number" in said
    assert "1 of 2 runs did not finish" in said
    assert len(list(Path("samples/train").glob("*/metrics.json"))) == 1
    assert train(line) == 0
    assert len(list(Path("samples/train").glob("*/metrics.json"))) == 2


# --- interruption -------------------------------------------------------------------------------------------------------
KILLING = """
import os, signal, sys
from pathlib import Path
at, line = int(sys.argv[1]), sys.argv[2:]
seen = 0
replace = Path.replace
def counted(self, target):
    # Between a file's last byte and its name: the worst moment there is.
    global seen
    seen += 1
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)
Path.replace = counted
from advlab.cli.main import main
sys.exit(main(line))
"""
STOPPED = f"{SMALL} --epochs 4 --dropout 0.3 --average-decay 0.9"


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    assert main(["train", *STOPPED.split(), "--name", "run", "--out", str(out)]) == 0
    return out / "train" / "run"


def ends_like(folder: Path, whole: Path) -> None:
    assert weights(folder) == weights(whole)
    assert history(folder) == history(whole)
    clock = ("seconds", "total_seconds")
    ours, theirs = (json.loads((at / "metrics.json").read_text()) for at in (folder, whole))
    assert {key: value for key, value in ours.items() if key not in clock} == {
        key: value for key, value in theirs.items() if key not in clock
    }
    assert not [path for path in folder.iterdir() if path.name.startswith("resume") or path.name.endswith(".tmp")]


@pytest.mark.parametrize("at", [2, 4, 6, 9, 12])
def test_a_run_killed_while_it_writes_ends_in_the_same_bits(at: int, unbroken: Path) -> None:
    """Killed between a file's last byte and its renaming: configuration, checkpoint, state, history, pictures."""
    line = ["train", *STOPPED.split(), "--name", "run"]
    killed = subprocess.run([sys.executable, "-c", KILLING, str(at), *line], capture_output=True, text=True, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not Path("samples/train/run/metrics.json").exists()
    assert main(line) == 0
    ends_like(Path("samples/train/run"), unbroken)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_stopped_in_an_epoch_says_so_and_goes_on(number: signal.Signals, status: int, unbroken: Path) -> None:
    line = ["train", *STOPPED.split(), "--name", "run"]
    slow = (
        "import sys, time\nfrom advlab.training import fit\nplain = fit._epoch\n"
        "def epoch(*args):\n    time.sleep(0.4)\n    return plain(*args)\nfit._epoch = epoch\n"
        "from advlab.cli.main import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", slow, *line], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    written = Path("samples/train/run/history.jsonl")
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (written.is_file() and written.read_text()):
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert process.returncode == status
    assert len(said.strip().splitlines()) == 1, said
    assert "Traceback" not in said
    assert 1 <= len(history("samples/train/run")) < 4
    assert main(line) == 0
    ends_like(Path("samples/train/run"), unbroken)


def test_a_full_disk_is_one_line_and_leaves_old_files_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    line = f"{SMALL} --epochs 3 --name run"
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(1)
        if len(calls) > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert train(line) == 1
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert len(said.splitlines()) == 1
    folder = Path("samples/train/run")
    assert not list(folder.glob(".*.tmp"))
    assert not (folder / "metrics.json").exists()
    checkpoint.load(folder)
    assert train(line) == 0


def test_a_folder_that_cannot_be_written_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert train(f"{SMALL} --epochs 1 --out file") == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert Path("file").read_text() == "in the way"


def test_two_processes_do_not_share_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    from filelock import FileLock

    folder = Path("samples/train/run")
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert train(f"{SMALL} --epochs 1 --name run") == 1
    assert "in use by another process" in capsys.readouterr().err


def test_a_checkpoint_with_foreign_cards_or_weights_is_refused(unbroken: Path) -> None:
    from safetensors.torch import save_file

    from advlab.errors import UserError

    content = (unbroken / "model.safetensors").read_bytes()
    for name, change, said in (
        ("cut", content[:-100], "not a checkpoint"),
        ("empty", b"", "not a checkpoint"),
        ("text", b"nothing but text", "not a checkpoint"),
    ):
        Path(name).write_bytes(change)
        with pytest.raises(UserError, match=said):
            checkpoint.load(Path(name))
    save_file({"weight": torch.zeros(2)}, "foreign.safetensors")
    with pytest.raises(UserError, match="carries no card"):
        checkpoint.load(Path("foreign.safetensors"))
    card = checkpoint.read_card(unbroken / "model.safetensors")
    for changed in ({"model": "os"}, {"model": "../../evil"}, {"architecture": {"width": 17}}, {"architecture": {"depth": 3}}):
        tensors = load_file(unbroken / "model.safetensors")
        save_file(tensors, "changed.safetensors", metadata={"advlab": card.model_copy(update=changed).model_dump_json()})
        with pytest.raises(UserError):
            checkpoint.load(Path("changed.safetensors"))


# --- the house ----------------------------------------------------------------------------------------------------------
FLOORS = [
    "cli",
    "experiments",
    "attacks",
    "perturbation",
    "training",
    "datasets models",
    "metrics plots",
    "runs",
    "config",
    "names",
    "errors",
]


def test_imports_go_down_only() -> None:
    root = Path(advlab.__file__).parent
    height = {part: -number for number, parts in enumerate([*FLOORS, "__init__"]) for part in parts.split()}
    wrong = []
    for file in sorted(root.rglob("*.py")):
        own = file.relative_to(root).parts[0].removesuffix(".py")
        for module in _imported(file):
            other = module.split(".")[1] if "." in module else "__init__"
            if own not in (other, "__main__") and height[other] >= height[own]:
                wrong.append(f"{file.relative_to(root)} imports {module}")
    assert not wrong, wrong


def _imported(file: Path) -> list[str]:
    """The modules of advlab that a file imports, at its top or in a function."""
    found: list[str] = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return [module for module in found if module.split(".")[0] == "advlab"]
