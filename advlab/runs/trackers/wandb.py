"""Weights & Biases: an offline run, which ``wandb sync`` uploads.

With ``WANDB_MODE=online`` in the environment it goes to the server meanwhile.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab.components import optional

if TYPE_CHECKING:
    from advlab.runs.tracking import Conclusion

SHOWS = "wandb sync {top}/*/*/wandb/offline-run-*"

_STEP = "step"


def check(what: str) -> None:
    """Refuse to track where wandb is not installed; see ``tensorboard.check``."""
    optional("wandb", what, "wandb")


_WANDB = partial(optional, "wandb", "--track wandb", "wandb")


def holds(top: Path, name: str) -> bool:
    """Whether the folder ``top`` holds the run ``name`` already."""
    return (top / name / "wandb").is_dir()


class Tracker:
    """Writes one run, in place of what was written of it before."""

    def __init__(self, top: Path, name: str) -> None:
        """Begin the run ``name`` in the folder ``top``."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb = _WANDB()
        target = top / name
        shutil.rmtree(target / "wandb", ignore_errors=True)
        target.mkdir(parents=True, exist_ok=True)
        # No code, no output of the terminal and nothing of the repository leaves this machine.
        settings = wandb.Settings(
            silent=True, console="off", disable_git=True, save_code=False, disable_job_creation=True
        )
        mode = os.environ.get("WANDB_MODE", "offline")
        self._run: Any = wandb.init(
            project="advlab",
            name=name,
            dir=str(target),
            mode=mode,
            reinit="create_new",
            settings=settings,
        )
        # Histories of epochs and of steps are numbered each on its own.
        self._run.define_metric(_STEP)
        self._run.define_metric("*", step_metric=_STEP)
        self._waiting: dict[int, dict[str, float]] = {}

    def figure(self, name: str, value: float, step: int, clock: float) -> None:
        """A figure of one step; wandb takes the time of its own clock."""
        self._waiting.setdefault(step, {})[name] = value

    def flush(self) -> None:
        """Write the figures of each step together."""
        for step, figures in self._waiting.items():
            self._run.log({**figures, _STEP: step})
        self._waiting.clear()

    def conclude(self, end: Conclusion) -> None:
        """Write what a run has at its end: pictures, the summary, options and the headline."""
        wandb = _WANDB()
        self._run.config.update(dict(end.options))
        pictures = {picture.stem: wandb.Image(str(picture)) for picture in end.pictures}
        if pictures:
            self._run.log({**pictures, _STEP: end.step})
        for name, value in end.headline.items():
            self._run.summary[name] = value
        self._run.notes = end.summary

    def close(self) -> None:
        """End the run, whole or not."""
        self.flush()
        self._run.finish()
