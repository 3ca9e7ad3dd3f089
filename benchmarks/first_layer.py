"""The gradient with respect to images of a network's first convolution: advlab's beside torch's.

    python -m benchmarks.first_layer

Both compute it on the same numbers, in turns, on one thread. Rows are appended to
``benchmarks/first_layer.md``.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from advlab.networks.image_gradients import FewChannels, quicken
from advlab.runs.files import write_text
from advlab.runs.table import counted, table
from benchmarks import _timing

SIDE = 28
LAYERS = {
    "1 → 32, 3 × 3": nn.Conv2d(1, 32, 3, padding=1),
    "1 → 16, 4 × 4, stride 2": nn.Conv2d(1, 16, 4, 2, 1),
    "3 → 64, 4 × 4, stride 4": nn.Conv2d(3, 64, 4, 4),
}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels last": torch.channels_last}
CALLS = 50
HEAD = """# The gradient of the first convolution

Milliseconds of one gradient with respect to images of 28 × 28 pixels, advlab's and torch's: medians
over turns that both sides take one after the other. `python -m benchmarks.first_layer` appends a
table.
"""


def gradient_of(layer: nn.Module, images: Tensor) -> Callable[[], None]:
    """What computes the gradient ``CALLS`` times, without the pass forward."""
    images = images.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    result = layer(images)
    slope = torch.rand_like(result)

    def run() -> None:
        for _ in range(CALLS):
            torch.autograd.grad(result, images, slope, retain_graph=True)

    return run


def main() -> None:
    """Measure every layer in both layouts and precisions, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = []
    for name, convolution in LAYERS.items():
        for dtype in (torch.float32, torch.bfloat16):
            for layout_name, layout in LAYOUTS.items():
                plain = copy.deepcopy(convolution).requires_grad_(False).to(dtype)
                plain = plain.to(memory_format=layout)
                quick = quicken(copy.deepcopy(plain))
                assert type(quick) is FewChannels
                images = torch.rand(given.images, plain.in_channels, SIDE, SIDE).to(dtype)
                images = images.to(memory_format=layout)
                sides = {
                    "advlab": gradient_of(quick, images),
                    "torch": gradient_of(plain, images),
                }
                timings = _timing.in_turns(sides, given.turns, name)
                mine, theirs = timings["advlab"], timings["torch"]
                rows.append(
                    [
                        name,
                        str(dtype).removeprefix("torch."),
                        layout_name,
                        f"{1000 * mine.median / CALLS:.2f}",
                        f"{1000 * theirs.median / CALLS:.2f}",
                        f"{_timing.ratio(mine, theirs):.1f} ×",
                    ]
                )
    header = ["layer", "precision", "layout", "advlab", "torch", "ratio"]
    used = torch.backends.cpu.get_cpu_capability()
    text = given.table.read_text(encoding="utf-8") if given.table.exists() else HEAD
    text += f"\n{counted(given.images, 'image')}; {_timing.machine()}; torch uses {used}.\n\n"
    text += f"{table(header, rows)}\n"
    write_text(given.table, text)
    print(text)


if __name__ == "__main__":
    main()
