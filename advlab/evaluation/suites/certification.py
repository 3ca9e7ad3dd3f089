"""Certification by randomised smoothing: radii within which no perturbation changes the answer.

Cohen, Rosenfeld and Kolter 2019, arXiv:1902.02918.
"""

from __future__ import annotations

from advlab.config.options.smoothing import CertificationOptions


class Options(CertificationOptions):
    """Certified L2 radii of a network that is smoothed by Gaussian noise (no attack)."""
