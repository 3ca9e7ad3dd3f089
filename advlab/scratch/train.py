"""Train the network by hand: forward, loss, backward and SGD in NumPy."""

from __future__ import annotations

from advlab.config.options.scratch import ScratchTrainOptions


class Options(ScratchTrainOptions):
    """Train the network by hand: forward, loss, backward and SGD in NumPy, without autograd."""
