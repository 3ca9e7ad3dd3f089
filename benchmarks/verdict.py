"""The verdict of a suite beside the official AutoAttack: robust accuracy and CPU-seconds.

The official code has no release on PyPI; install it from a clone of fra31/auto-attack.

    pip install -e /path/to/auto-attack
    python -m benchmarks.verdict --network MODULE:FUNCTION --name NAME --norm l2 --eps 2

Both sides are measured in one run, on the same images, in one thread. The official code computes in
float32; ours in float32 and, where the processor multiplies it natively, with gradients in bf16. A
row is appended to ``benchmarks/verdict.md``.
"""

from __future__ import annotations

import time
from pathlib import Path

from torch import nn

import advlab
from advlab.data.image_set import Images
from advlab.runs.files import write_text
from benchmarks.autoattack import Row, network_and_images, official, options_of_network

HEAD = """# Verdicts compared with the official AutoAttack

Robust accuracy (%) and CPU-seconds of `advlab evaluate standard`, without the transfer attack, and
of the official AutoAttack in its standard version, which computes in float32; on one thread, both
measured in one run. The ratio is that of the seconds of the official code to those of advlab.
`python -m benchmarks.verdict` appends a row.

| network | norm, ε | images | precision | advlab | official | CPU-s advlab | official | ratio |
|---|---|--:|---|--:|--:|--:|--:|--:|
"""


def ours(network: nn.Module, images: Images, norm: str, eps: float, precision: str) -> Row:
    """Robust accuracy of the standard suite, and its CPU-seconds with all checks."""
    started = time.process_time()
    pixels = images.inputs(slice(None))
    result = advlab.evaluate(
        network, pixels, images.labels, eps=eps, norm=norm, precision=precision, device="cpu"
    )
    print(result)
    return result.robust_accuracy, time.process_time() - started


def theirs(network: nn.Module, images: Images, norm: str, eps: float) -> Row:
    """The same of the official code."""
    rows = official(network, images, norm, eps, "standard")
    return list(rows.values())[-1][0], sum(seconds for _, seconds in rows.values())


def main() -> None:
    """Run both sides and append a row for each precision."""
    parser = options_of_network(__doc__)
    parser.add_argument("--precision", nargs="+", default=["fp32"])
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--table", type=Path, default=Path(__file__).with_suffix(".md"))
    given = parser.parse_args()
    network, images = network_and_images(given)
    mine = {
        precision: ours(network, images, given.norm, given.eps, precision)
        for precision in given.precision
    }
    accuracy_there, seconds_there = theirs(network, images, given.norm, given.eps)
    text = given.table.read_text(encoding="utf-8") if given.table.exists() else HEAD
    for precision, (accuracy, seconds) in mine.items():
        text += (
            f"| {given.name} | {given.norm} {given.eps:g} | {given.limit} | {precision} "
            f"| {100 * accuracy:.2f} | {100 * accuracy_there:.2f} "
            f"| {seconds:.1f} | {seconds_there:.1f} | {seconds_there / seconds:.1f} × |\n"
        )
    write_text(given.table, text)
    print(text)


if __name__ == "__main__":
    main()
