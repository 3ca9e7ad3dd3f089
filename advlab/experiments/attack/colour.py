"""``advlab attack colour`` on images of a data set: shifts of hue, saturation and the like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from advlab.attacks import colour
from advlab.config.resolve import Config
from advlab.config.threats import ColourShift
from advlab.experiments.attack import transformed
from advlab.experiments.attack.transformed import Transformation
from advlab.perturbation.colour import grid, kinds, limits_of
from advlab.results.attack import ColourAttackResult
from advlab.runs.results import Finished
from advlab.runs.table import counted


def run(config: Config) -> Finished[ColourAttackResult]:
    """Attack one network by shifting colours; see ``transformed.run``."""
    return transformed.run(_SHIFTS, config)


def _figures(options: colour.Options, shape: tuple[int, ...], shifts: Tensor) -> Mapping[str, Any]:
    limits = limits_of(options.threat, shape[0])
    own = dict(zip(kinds(shape[0]), limits.tolist(), strict=True))
    means = shifts.abs().mean(0).tolist() if len(shifts) else [None] * len(limits)
    return {
        "threat": ColourShift.model_validate({"hue": 0.0, "saturation": 0.0, **own}),
        "search": "grid" if options.tries is None else "random",
        "candidates": len(grid(limits, options.levels))
        if options.tries is None
        else 1 + options.tries,
        **{f"{kind}_mean": mean for kind, mean in zip(own, means, strict=True)},
    }


def shift_text(shifts: Tensor) -> str:
    """A shift in words, such as ``brightness +10 %, hue −30°``, in one line or two; what is less
    than half a percent or degree is left out.

    Args:
        shifts: see ``advlab.perturbation.colour``.
    """
    parts = []
    names = ("brightness", "contrast", "saturation", "hue")
    for name, value in zip(names, shifts.tolist(), strict=False):
        whole, unit = (round(value), "°") if name == "hue" else (round(100 * value), " %")
        parts += [f"{name} {whole:+d}{unit}".replace("-", "\N{MINUS SIGN}")] * (whole != 0)
    lines = [", ".join(pair) for pair in (parts[:2], parts[2:]) if pair]
    tiny = bool((shifts != 0).any())
    return ",\n".join(lines) or ("shifts below 0.5 % and 0.5°" if tiny else "no shift")


def _remark(result: ColourAttackResult) -> str:
    tried = f"of a grid of {counted(result.candidates, 'shift')}"
    if result.search == "random":
        tried = f"of {counted(result.candidates - 1, 'random shift')} and of none"
    grey = ""
    if result.brightness_mean is not None and result.hue_mean is None:
        grey = "; these images are grey, and have no hue or saturation to shift"
    return f"the worst {tried} for each image{grey}"


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


_SHIFTS = Transformation(
    attack=colour,
    result=ColourAttackResult,
    does="shifts the colours of",
    changed="shifted",
    stored="shifts",
    takes_gradients=False,
    figures=_figures,
    words=shift_text,
    columns={
        "mean brightness shift in %": lambda result: _percent(result.brightness_mean),
        "mean contrast shift in %": lambda result: _percent(result.contrast_mean),
        "mean saturation shift in %": lambda result: _percent(result.saturation_mean),
        "mean hue shift in degrees": lambda result: result.hue_mean,
    },
    remark=_remark,
)
