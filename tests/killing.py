"""Processes that are killed on purpose, by signals that are really sent, and what their runs leave.

One Python imports torch once and forks a process for each run that is to be killed, which is a
second for all of them where a Python for each would be minutes.
"""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forking import ForkingServer
from safetensors.torch import load_file

from advlab.runs import checksums
from advlab.runs.results import TIMING

# Reads {"folder", "line", "kill", "signal"} a line, answers {"status", "events", "err"} a line. A
# run's events are what it does to the disk, and its optimiser steps; the one numbered "kill" is
# where the signal comes.
LAUNCHED = r"""
import contextlib, gc, importlib, io, json, os, pkgutil, signal, sys
from pathlib import Path
from painting import paint_blank, put_nothing_together
put_nothing_together()
import torch
from advlab.cli.main import main
from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.experiments.demo import run as demo
from advlab.training import fit
from chapters import small_chapters
from PIL import Image

paint_blank()
Image.preinit()
demo.CHAPTERS = small_chapters()[:2]
# What is the same in every run is done once, here.
# No backward pass: autograd's threads do not survive a fork.
digits = load_images.load(DataOptions(dataset="digits"))
load_images.load = lambda options: digits
with torch.no_grad():
    torch.nn.Linear(2, 2)(torch.zeros(1, 2))
for package in ("experiments", "plots", "models", "attacks", "evaluation.suites"):
    path = importlib.import_module(f"advlab.{package}").__path__
    for module in pkgutil.walk_packages(path, f"advlab.{package}."):
        importlib.import_module(module.name)
# The options of a command are built where they are first needed, which each child would do anew.
with contextlib.redirect_stdout(io.StringIO()):
    for line in ("train mlp", "memorize mlp", "scratch", "evaluate", "attack fgsm"):
        main([*line.split(), "--print-config"])
gc.collect()
gc.freeze()  # a collection in a child would copy every page that the imports have filled
os.fsync = os.fstat  # processes are killed, not the machine: nobody waits for the disk
events = []
fsync, replace, unlink, rate = os.fsync, Path.replace, Path.unlink, fit.learning_rate

def happens(what, case):
    events.append(what)
    if len(events) == case["kill"]:
        os.kill(os.getpid(), case["signal"])

def child(case):
    def syncing(descriptor):
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        name = name.split(".", 1)[1].rsplit(".", 2)[0]
        if len(events) + 1 == case["kill"]:
            # half of it never left the memory
            os.ftruncate(descriptor, os.fstat(descriptor).st_size // 2)
        happens(f"half of {name}", case)
        fsync(descriptor)
    def replacing(self, target):
        happens(f"before {Path(target).name}", case)
        done = replace(self, target)
        happens(f"after {Path(target).name}", case)
        return done
    def unlinking(self, missing_ok=False):
        happens(f"drop {self.name}", case)
        unlink(self, missing_ok=missing_ok)
    def stepping(*args):
        happens("step", case)
        return rate(*args)
    os.fsync, Path.replace, Path.unlink, fit.learning_rate = syncing, replacing, unlinking, stepping
    os.chdir(case["folder"])
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    status = main(case["line"])
    os.fsync, Path.replace, Path.unlink = fsync, replace, unlink
    Path("events").write_text(json.dumps(events))
    os._exit(status)

for text in sys.stdin:
    case = json.loads(text)
    pid = os.fork()
    if not pid:
        try:
            child(case)
        finally:
            os._exit(99)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    seen = Path(case["folder"], "events")
    found = json.loads(seen.read_text()) if seen.exists() else []
    seen.unlink(missing_ok=True)
    err = Path(case["folder"], "err").read_text()
    print(json.dumps({"status": status, "events": found, "err": err}), flush=True)
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (minus a signal's number), its events and its stderr."""

    status: int
    events: list[str]
    err: str


class Launcher(ForkingServer):
    """Starts processes that are to be killed."""

    def __init__(self) -> None:
        super().__init__(LAUNCHED)

    def run(self, folder: Path, line: str, kill: int = 0, number: int = signal.SIGKILL) -> Ended:
        """Type ``line`` in ``folder``, and send the signal at event ``kill``, counted from 1; 0
        lets it be."""
        case = {"folder": str(folder), "line": line.split(), "kill": kill, "signal": int(number)}
        return Ended(**self.ask(case))


CLOCKS = {*TIMING, "images_per_second"}


def without_clocks(value: Any) -> Any:
    """A JSON value without what the clock says, at any depth."""
    if isinstance(value, Mapping):
        return {key: without_clocks(inner) for key, inner in value.items() if key not in CLOCKS}
    return [without_clocks(inner) for inner in value] if isinstance(value, list) else value


def state(folder: Path) -> dict[str, Any]:
    """All that a finished run's folder holds, by file, without what the clock says."""
    found: dict[str, Any] = {}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        if file.suffix == ".safetensors":  # what is said beside the tensors holds seconds too
            tensors = load_file(file).items()
            hashes = {
                name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
                for name, tensor in tensors
                if name not in CLOCKS
            }
            found[f"{file.name}, tensors"] = hashes
        if file.name == ".checksums":  # of files that hold seconds
            checksums.check(folder)
            found[file.name] = [line.split()[1] for line in content.decode().splitlines()]
        elif file.name == "metrics.json":
            found[file.name] = without_clocks(json.loads(content))
        elif file.name == "history.jsonl":
            found[file.name] = [without_clocks(json.loads(line)) for line in content.splitlines()]
        elif not (file.suffix == ".safetensors" and file.name.startswith("images")):
            found[file.name] = hashlib.sha256(content).hexdigest()
    return found


def nth(events: Sequence[str], what: str, number: int) -> int:
    """The place, from 1, of the ``number``-th event (from 1) that is called so."""
    return [place for place, event in enumerate(events, start=1) if event == what][number - 1]
