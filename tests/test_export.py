"""``advlab export tensorboard``: what TensorBoard reads is what the runs hold."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from advlab.cli.main import main


def read_back(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    return events


def exported(runs: Path, out: Path, *words: str) -> int:
    return main(["export", "tensorboard", *words, "--out", str(runs), "--to", str(out)])


def test_tensorboard_reads_the_history_the_figures_and_the_options(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(runs, tmp_path, "train/small", "train/other") == 0
    assert "2 runs" in capsys.readouterr().out
    for name in ("small", "other"):
        run = runs / "train" / name
        metrics = json.loads((run / "metrics.json").read_text())
        history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
        events = read_back(tmp_path / "train" / name)
        for figure in ("loss", "val_accuracy", "lr"):
            scalars = events.Scalars(figure)
            assert [scalar.step for scalar in scalars] == [line["epoch"] for line in history]
            assert [scalar.value for scalar in scalars] == pytest.approx(
                [line[figure] for line in history], rel=1e-6
            )
            clocks = [scalar.wall_time for scalar in scalars]
            assert np.diff(clocks) == pytest.approx(
                np.diff([line["seconds"] for line in history]), abs=1e-2
            )
        (accuracy,) = events.Scalars("test_accuracy")
        assert accuracy.value == pytest.approx(metrics["test_accuracy"], rel=1e-6)
        assert set(events.Tags()["images"]) == {path.stem for path in run.glob("*.png")}
        (curves,) = events.Images("curves")
        with Image.open(run / "curves.png") as picture:
            assert (curves.width, curves.height) == picture.size
        parameters = events.SummaryMetadata("_hparams_/session_start_info")
        assert b"batch_size" in parameters.plugin_data.content


def test_an_export_is_replaced_where_it_is_asked_for(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(runs, tmp_path, "train/other") == 0
    (tmp_path / "train" / "other" / "mine.txt").write_text("mine")
    assert exported(runs, tmp_path, "train/other") == 2
    assert "holds event files already; --overwrite replaces them" in capsys.readouterr().err
    assert exported(runs, tmp_path, "train/other", "--overwrite") == 0
    assert len(read_back(tmp_path / "train" / "other").Scalars("test_accuracy")) == 1
    assert (tmp_path / "train" / "other" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 2, "export: which form? 'advlab export tensorboard RUN ...'"),
        (["tensorbord", "train/small"], 2, "did you mean 'tensorboard'?"),
        (["tensorboard"], 2, "names of runs are missing"),
        (["tensorboard", "train/nothing"], 2, "there is no finished run train/nothing"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_line(
    words: list[str],
    status: int,
    message: str,
    runs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["export", *words, "--out", str(runs), "--to", str(tmp_path / "to")]) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "to").exists()


def test_the_package_is_named_where_it_is_missing(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    assert exported(runs, tmp_path / "to", "train/small") == 1
    assert "pip install 'advlab[tensorboard]'" in capsys.readouterr().err


def test_a_damaged_history_is_named(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "train" / "broken"
    run.mkdir(parents=True)
    for name in ("metrics.json", "identity.json"):
        (run / name).write_bytes((runs / "train" / "small" / name).read_bytes())
    (run / "history.jsonl").write_text('{"epoch": 1\n')
    assert exported(tmp_path, tmp_path / "to", "train/broken") == 1
    assert f"{run / 'history.jsonl'} is damaged" in capsys.readouterr().err


# --- while a run is under way ---------------------------------------------------------------------
TRACKED = (
    "train mlp --dataset digits --train-size 100 --width 8 --batch-size 50 --precision fp32 "
    "--device cpu --threads 1 --name it --epochs 3"
)


def test_a_run_is_tracked_while_it_is_under_way_and_once_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped after its second epoch, when two epochs can be seen; three after it has gone on."""
    from advlab.training import fit

    monkeypatch.setattr("advlab.runs.trackers._BETWEEN_LOOKS", 0.01)
    events = tmp_path / "tensorboard" / "train" / "it"
    write = fit._write_history

    def stops(folder: Path, progress: fit.TrainingProgress) -> None:
        write(folder, progress)
        if progress.epoch == 2:
            raise KeyboardInterrupt

    line = [*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path)]
    with monkeypatch.context() as patched:
        patched.setattr(fit, "_write_history", stops)
        assert main(line) == 130
    assert [scalar.step for scalar in read_back(events).Scalars("loss")] == [1, 2]
    capsys.readouterr()
    assert main(line) == 0
    after = read_back(events)
    history = (tmp_path / "train/it/history.jsonl").read_text().splitlines()
    losses = [json.loads(record)["loss"] for record in history]
    assert [scalar.step for scalar in after.Scalars("loss")] == [1, 2, 3]
    assert [scalar.value for scalar in after.Scalars("loss")] == pytest.approx(losses, rel=1e-6)
    assert "curves" in after.Tags()["images"]
    assert len(after.Scalars("test_accuracy")) == 1
    assert exported(tmp_path, tmp_path / "tensorboard", "train/it") == 2, "it is there already"


def test_tracking_changes_no_run(tmp_path: Path) -> None:
    plain = [*TRACKED.split(), "--out", str(tmp_path / "plain")]
    assert main(plain) == 0
    assert (
        main([*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path / "tracked")]) == 0
    )
    for name in ("model.safetensors", "identity.json"):
        files = [tmp_path / place / "train/it" / name for place in ("plain", "tracked")]
        assert files[0].read_bytes() == files[1].read_bytes()
    assert main([*plain, "--track", "tensorboard"]) == 0, "it is the same run"
    assert not (tmp_path / "plain" / "tensorboard").exists()


def test_what_cannot_be_written_ends_the_tracking_and_not_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch.utils.tensorboard import SummaryWriter

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    line = [*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path)]
    assert main(line) == 0
    assert "--track tensorboard: stopped, [Errno 28] No space left" in capsys.readouterr().out
    assert (tmp_path / "train/it/metrics.json").is_file()


def test_tracking_without_tensorboard_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    line = [*TRACKED.split(), "--track", "tensorboard", "--out", str(tmp_path / "out")]
    assert main(line) == 1
    assert "--track tensorboard needs the package tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
