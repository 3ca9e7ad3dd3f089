"""``advlab attack spatial`` on images of a data set: rotations and translations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from advlab.attacks import spatial
from advlab.config.resolve import Config
from advlab.experiments.attack import transformed
from advlab.experiments.attack.transformed import Transformation
from advlab.perturbation import motion
from advlab.results.attack import SpatialAttackResult
from advlab.runs.results import Finished
from advlab.runs.table import counted


def run(config: Config) -> Finished[SpatialAttackResult]:
    """Attack one network with rotations and translations; see ``transformed.run``."""
    return transformed.run(_MOTIONS, config)


def _figures(
    options: spatial.Options, shape: tuple[int, ...], motions: Tensor
) -> Mapping[str, Any]:
    return {
        "threat": options.threat,
        "search": "grid" if options.tries is None else "random",
        "candidates": _candidates(options),
        "degrees_mean": float(motions[:, 0].abs().mean()) if len(motions) else None,
        "shift_mean": float(motions[:, 1:].norm(dim=1).mean()) if len(motions) else None,
    }


def _candidates(options: spatial.Options) -> int:
    """How many motions there are to try on an image, the image as it is among them."""
    if options.tries is not None:
        return 1 + options.tries
    return len(motion.grid(options.degrees, options.shift, options.angles, options.shifts))


def motion_text(motions: Tensor) -> str:
    """A motion in words, such as ``-12°, 1.5 px ↓, 3 px ←``; counter-clockwise is positive.

    Args:
        motions: degrees, and pixels down and right, (3,).
    """
    degrees, down, right = (round(float(value), 1) for value in motions)
    parts = [f"{degrees:+g}°" if degrees else "0°"]
    if down:
        parts.append(f"{abs(down):g} px {'↓' if down > 0 else '↑'}")
    if right:
        parts.append(f"{abs(right):g} px {'→' if right > 0 else '←'}")
    return ", ".join(parts)


def _remark(result: SpatialAttackResult) -> str:
    tried = f"of a grid of {counted(result.candidates, 'motion')}"
    if result.search == "random":
        tried = f"of {counted(result.candidates - 1, 'random motion')} and of none"
    return f"the worst {tried} for each image"


_MOTIONS = Transformation(
    attack=spatial,
    result=SpatialAttackResult,
    does="moves",
    changed="moved",
    stored="motions",
    takes_gradients=False,
    figures=_figures,
    words=motion_text,
    columns={
        "mean rotation in degrees": lambda result: result.degrees_mean,
        "mean shift in pixels": lambda result: result.shift_mean,
    },
    remark=_remark,
)
