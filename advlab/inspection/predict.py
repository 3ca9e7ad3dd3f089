"""Predict: the likeliest classes of an image, as bars."""

from __future__ import annotations

from advlab.config.options import inspect as i
from advlab.config.options.inspect import InspectOptions


class Options(InspectOptions):
    """Predict: the likeliest classes of an image, and their probabilities."""

    top: i.Top = 5
