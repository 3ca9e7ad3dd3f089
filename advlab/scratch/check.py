"""Hold every derivative of the network by hand against finite differences and autograd."""

from __future__ import annotations

from advlab.config.options.scratch import ScratchCheckOptions


class Options(ScratchCheckOptions):
    """Hold every derivative of the network by hand against finite differences and torch's autograd, in float64."""
