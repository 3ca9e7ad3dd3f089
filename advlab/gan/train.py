"""Train a generator and a discriminator against each other."""

from __future__ import annotations

from advlab.config.options.gan import GanOptions


class Options(GanOptions):
    """Train a generator and a discriminator, watched for collapse, measured on a frozen classifier."""
