"""Words for what randomised smoothing certified, whichever command did it."""

from __future__ import annotations

from advlab.config.radii import eps_text

AVERAGE_RADIUS = "average certified L2 radius"
WITHOUT_NOISE = "the networks without the noise that they are certified with"


def votes(samples: int, alpha: float) -> str:
    """How much each certificate rests on, and the chance that it is wrong."""
    return f"with {samples:,} samples, α = {alpha:g}"


def smoothed(sigma: float, samples: int, alpha: float) -> str:
    """The network that certificates are of, and what each of them rests on."""
    noise = f"of the network smoothed by noise of σ = {eps_text(sigma)}"
    return f"{noise}, {samples:,} samples, α = {alpha:g}"
