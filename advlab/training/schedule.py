"""The learning rate as a function of the step, so that resuming needs no scheduler state."""

from __future__ import annotations

import math

from advlab.config.options.run import TrainOptions

# One cycle (Smith and Topin, arXiv:1708.07120): a quarter of the steps up, the rest down, ends far
# below the peak.
_WARM_UP, _START, _END = 0.25, 1 / 25, 1e-5


def learning_rate(options: TrainOptions, step: int, steps_per_epoch: int) -> float:
    """The learning rate of optimiser step ``step`` (counted from 0 over the whole run)."""
    assert options.epochs is not None
    total = options.epochs * steps_per_epoch
    if options.schedule == "constant":
        return options.lr
    if options.schedule == "step":
        epoch = step // steps_per_epoch
        return options.lr * float(options.step_gamma ** (epoch // options.step_epochs))
    if options.schedule == "cosine":
        return options.lr * (1 + math.cos(math.pi * step / total)) / 2
    rise = max(1.0, _WARM_UP * total)
    if step < rise:
        return options.lr * _between(_START, 1.0, step / rise)
    return options.lr * _between(1.0, _END, (step - rise) / max(1.0, total - 1 - rise))


def warmed_cosine(peak: float, step: int, total: int, warmup: float) -> float:
    """The learning rate of step ``step`` of ``total``: linear warm-up, then half a cosine to 0.

    The first step is already a step, and the last one still is (as if the line began, and the
    cosine ended, outside).
    """
    rise = warmup * total
    if step < rise:
        return peak * (step + 1) / (rise + 1)
    return peak * (1 + math.cos(math.pi * (step - rise) / (total - rise))) / 2


def _between(start: float, end: float, fraction: float) -> float:
    """Half a cosine from ``start`` (at 0) to ``end`` (at 1)."""
    return end + (start - end) * (1 + math.cos(math.pi * min(fraction, 1.0))) / 2
