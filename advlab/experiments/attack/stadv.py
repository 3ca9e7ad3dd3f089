"""``advlab attack stadv`` on images of a data set: a flow that displaces each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from advlab.attacks import stadv
from advlab.config.resolve import Config
from advlab.experiments.attack import transformed
from advlab.experiments.attack.transformed import Example, Transformation
from advlab.perturbation.flow import variation
from advlab.plots.flow import Displaced, displaced
from advlab.results.attack import FlowAttackResult
from advlab.runs.results import Finished


def run(config: Config) -> Finished[FlowAttackResult]:
    """Attack one network by displacing pixels; see ``transformed.run``."""
    return transformed.run(_FLOWS, config)


def _figures(options: stadv.Options, shape: tuple[int, ...], flows: Tensor) -> Mapping[str, Any]:
    lengths = flows.norm(dim=1)
    any_changed = len(flows) > 0
    return {
        "threat": options.threat,
        "flow_weight": options.flow_weight,
        "shift_mean": float(lengths.mean()) if any_changed else None,
        "shift_max": float(lengths.max()) if any_changed else None,
        "roughness_mean": float(variation(flows).mean()) if any_changed else None,
    }


def flow_text(flow: Tensor) -> str:
    """The longest displacement of an image in words, such as ``longest shift 0.92 px``: its length,
    up to √2 times what is allowed along each side.

    Args:
        flow: in pixels, (2, H, W).
    """
    return f"longest shift {float(flow.norm(dim=0).max()):.2g} px"


def _draw(examples: Sequence[Example], title: str, caption: str) -> Figure:
    rows = [
        Displaced(
            example.clean.numpy(),
            example.perturbed.numpy(),
            example.parameters.numpy(),
            example.before,
            example.after,
            f"{flow_text(example.parameters)}, "
            f"mean {float(example.parameters.norm(dim=0).mean()):.2g} px",
        )
        for example in examples
    ]
    return displaced(rows, title, caption)


def _remark(result: FlowAttackResult) -> str:
    return (
        f"a flow for each image, of weight {result.flow_weight:g} for its roughness, which is in "
        "pixels"
    )


_FLOWS = Transformation(
    attack=stadv,
    result=FlowAttackResult,
    does="displaces pixels of",
    changed="displaced",
    stored="flows",
    takes_gradients=True,
    figures=_figures,
    words=flow_text,
    columns={
        "mean shift in pixels": lambda result: result.shift_mean,
        "mean roughness": lambda result: result.roughness_mean,
    },
    remark=_remark,
    draw=_draw,
)
