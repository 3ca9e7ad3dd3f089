"""SimCLR: find each view's partner among the views of all other images (Chen et al. 2020, arXiv:2002.05709)."""

from __future__ import annotations

from advlab.config.options.contrast import ContrastOptions


class Options(ContrastOptions):
    """SimCLR: learn features without labels, by finding the two views of each image among all others (NT-Xent)."""
