"""TensorBoard: an event file for each run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from advlab.components import optional

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from advlab.runs.tracking import Conclusion

SHOWS = "tensorboard --logdir {top}"

_EVENTS = "events.out.tfevents.*"


def check(what: str) -> None:
    """Refuse to write event files where TensorBoard is not installed.

    Args:
        what: what needs it, for the refusal.

    Raises:
        EnvironmentFailure: it is not.
    """
    optional("tensorboard", what, "tensorboard")


def holds(top: Path, name: str) -> bool:
    """Whether the folder ``top`` holds the run ``name``, such as ``train/first``, already."""
    return next((top / name).glob(_EVENTS), None) is not None


class Tracker:
    """Writes one run, in place of what was written of it before."""

    def __init__(self, top: Path, name: str) -> None:
        """Begin the run ``name`` in the folder ``top``."""
        from torch.utils.tensorboard import SummaryWriter

        self._target = top / name
        for earlier in self._target.glob(_EVENTS):
            earlier.unlink()
        self._writer: SummaryWriter = SummaryWriter(str(self._target))

    def figure(self, name: str, value: float, step: int, clock: float) -> None:
        """A figure of one step, measured at a time in seconds since 1970."""
        self._writer.add_scalar(name, value, step, walltime=clock)

    def flush(self) -> None:
        """Let what was written be seen."""
        self._writer.flush()

    def conclude(self, end: Conclusion) -> None:
        """Write what a run has at its end: pictures, the summary, options and the headline."""
        import numpy as np
        from PIL import Image

        for picture in end.pictures:
            with Image.open(picture) as image:
                pixels = np.asarray(image.convert("RGB"))
            self._writer.add_image(picture.stem, pixels, end.step, dataformats="HWC")
        self._writer.add_text("summary", end.summary, end.step)
        if end.headline:
            self._writer.add_hparams(
                dict(end.options),
                dict(end.headline),
                run_name=str(self._target.resolve()),
                global_step=end.step,
            )

    def close(self) -> None:
        """End the run, whole or not."""
        self._writer.close()
