"""The network by hand beside torch's autograd: an epoch of 784-128-10 in batches of 32, in
CPU-seconds.

    pip install -e . && python -m benchmarks.scratch --data-dir data

Both train the same layers with plain SGD, from the same weights, on the same images in the same
order, held as rows of the same type beforehand. torch's side is the loop of most tutorials, without
a DataLoader: index, forward, cross-entropy, backward, step. Beside them stands the time of the two
products of matrices that the first layer takes on either side, below which neither can come.
Appends a table to ``benchmarks/scratch.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.experiments.scratch.train import rows
from advlab.runs.files import write_text
from advlab.runs.table import table
from advlab.scratch.layers import Array
from advlab.scratch.loss import Labels
from advlab.scratch.network import Network
from advlab.scratch.sgd import epoch
from benchmarks import _timing

SIZES, BATCH, RATE = (784, 128, 10), 32, 1.0


HEAD = """# A NumPy network compared with autograd

784-128-10 on MNIST's 50,000 training images, batches of 32, SGD at 1. Both sides start from the
same weights and use the same batches. `python -m benchmarks.scratch` appends a table.
"""


def network(dtype: type[np.floating[Any]]) -> Network:
    """The weights that both sides start from."""
    return Network.drawn(SIZES, np.random.default_rng(0), dtype)


def by_hand(inputs: Array, labels: Labels, order: Labels) -> Array:
    """An epoch in NumPy.

    Returns:
        The first layer's weights (784, 128) after it.
    """
    trained = network(inputs.dtype.type)
    epoch(trained, inputs, labels, order, BATCH, RATE)
    return trained.linears[0].weight


def by_autograd(inputs: Tensor, labels: Tensor, order: Tensor) -> Array:
    """The same in torch."""
    start = network(np.float64 if inputs.dtype == torch.float64 else np.float32)
    layers = [nn.Linear(784, 128, dtype=inputs.dtype), nn.Linear(128, 10, dtype=inputs.dtype)]
    for layer, drawn in zip(layers, start.linears, strict=True):
        layer.load_state_dict(
            {"weight": torch.from_numpy(drawn.weight.T), "bias": torch.from_numpy(drawn.bias)}
        )
    model = nn.Sequential(layers[0], nn.Sigmoid(), layers[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE)
    for batch in order.split(BATCH):
        loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    weight: Array = layers[0].weight.detach().numpy().T
    return weight


def products(inputs: Array, order: Labels) -> Array:
    """The products of an epoch that the first layer takes: forward, and the weight's gradient."""
    weight = network(inputs.dtype.type).linears[0].weight
    slope, gradient = np.ones((BATCH, SIZES[1]), inputs.dtype), np.empty_like(weight)
    batch = inputs[order[:BATCH]]
    for _ in range(0, len(order), BATCH):
        np.matmul(batch, weight, out=slope)
        np.matmul(batch.T, slope, out=gradient)
    return gradient


def main() -> None:
    """Read the line, time both sides in turns, write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    line = parser.parse_args()
    torch.set_num_threads(1)
    data = load_images.load(DataOptions(dataset=line.dataset, data_dir=line.data_dir))
    single, labels = rows(data.train)
    order = np.random.default_rng(1).permutation(len(labels))
    result, apart = [], 0.0
    with threadpool_limits(1):
        for inputs in (single, single.astype(np.float64)):
            tensors = torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(order)
            contenders: dict[str, Callable[[], Array]] = {
                "by hand": partial(by_hand, inputs, labels, order),
                "autograd": partial(by_autograd, *tensors),
                "products": partial(products, inputs, order),
            }
            timings = _timing.in_turns(contenders, line.turns, f"epochs in {inputs.dtype}")
            mine, theirs = timings["by hand"], timings["autograd"]
            apart = max(apart, float(np.abs(mine.result - theirs.result).max()))
            result.append(
                [
                    str(inputs.dtype),
                    mine.shown(),
                    theirs.shown(),
                    f"{_timing.ratio(mine, theirs):.2f} ×",
                    timings["products"].shown(),
                ]
            )
    versions = _timing.versions(["numpy", "torch"])
    text = line.out.read_text(encoding="utf-8") if line.out.exists() else HEAD
    text += (
        f"\n{_timing.machine()}; {versions}.\n"
        f"CPU-seconds of an epoch, median of {line.turns} turns (lowest to highest). The weights "
        f"of the first layer differ by\nat most {apart:.1g} after it.\n\n"
    )
    header = ["precision", "NumPy", "torch autograd", "ratio", "the first layer's products alone"]
    text += f"{table(header, result)}\n"
    write_text(line.out, text)
    print(text)


if __name__ == "__main__":
    main()
