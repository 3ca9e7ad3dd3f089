"""Networks that several tests attack, trained once a session through the front door, on the
embedded digits."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from painting import paint_blank

OFFLINE = {"ADVLAB_OFFLINE": "1"}

# A shell starts background jobs with Ctrl-C ignored, which the processes of tests would inherit.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Networks this small gain nothing from a second thread, and lose a lot where the machine has other
# things to do. Torch reads it when it is imported, and so do the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """No test asks the network for anything; those of the downloads serve their own files and say
    so."""
    before = os.environ.get("ADVLAB_OFFLINE")
    os.environ.update(OFFLINE)
    yield
    if before is None:
        del os.environ["ADVLAB_OFFLINE"]
    else:
        os.environ["ADVLAB_OFFLINE"] = before


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What is written need not have reached the disk: a test kills processes, not the machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # which refuses a closed file as well
        yield


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``samples`` folder with two finished trainings in float32: ``train/small`` (a cnn) and
    ``train/other`` (an mlp)."""
    from advlab.cli.main import main

    out = tmp_path_factory.mktemp("samples")
    common = [
        "--dataset",
        "digits",
        "--precision",
        "fp32",
        "--out",
        str(out),
        "--epochs",
        "12",
        "--batch-size",
        "64",
    ]
    assert (
        main(
            [
                "train",
                "cnn",
                "--channels",
                "8",
                "--hidden",
                "32",
                "--dropout",
                "0.2",
                "--name",
                "small",
                *common,
            ]
        )
        == 0
    )
    assert main(["train", "mlp", "--width", "64", "--name", "other", *common]) == 0
    return out


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Pictures are blank, but in tests marked ``painted``, their fixtures included."""
    paint_blank(item.get_closest_marker("painted") is None)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> Iterator[None]:
    """Ends the run at once where a process died: what the others would still show is not worth the
    wait."""
    yield
    if str(report.when) == "???":  # what xdist says of a test whose process died
        pytest.exit(str(report.longrepr), returncode=1)


# A file goes to one process as a whole, so the longest come first: no process is left with one
# while the others have nothing to do.
LONGEST = (
    "test_attacks",
    "test_interruption",
    "test_documents",
    "test_target_model",
    "test_workers",
    "test_gan_command",
    "test_attack_command",
    "test_contrast",
    "test_grid",
    "test_evaluate_command",
    "test_victims",
    "test_attacks_reference",
    "test_fab",
    "test_plot",
    "test_hopskipjump",
    "test_defend_command",
    "test_poisoning",
    "test_cli_help",
    "test_plots",
    "test_lifecycle",
    "test_minimum_norm",
    "test_photo",
    "test_adapter",
    "test_api",
    "test_train_command",
    "test_distributed",
    "test_shards",
    "test_repairs",
    "test_decision_attacks",
    "test_inspect",
    "test_starting",
    "test_paired",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: (
            LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        )
    )


def pytest_collection() -> None:
    """No garbage is collected meanwhile: collection leaves next to none."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Takes what collection has made out of the garbage collector's sight, and has it look more
    rarely: full collections, through the imports and thousands of tests each time, are a twentieth
    of the whole run otherwise."""
    gc.enable()
    gc.collect()
    gc.freeze()
    # Libraries are cleared away as Python ends, which some of them complain of otherwise. Pytest
    # collects garbage several times as it ends, and must not go through all of it.
    atexit.register(gc.unfreeze)
    gc.set_threshold(5_000, 10, 10)  # of Python's 700
