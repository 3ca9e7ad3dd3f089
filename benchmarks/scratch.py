"""The network by hand beside torch's autograd: an epoch of 784-128-10 in batches of 32, in
CPU-seconds.

    pip install -e . && python -m benchmarks.scratch --data-dir data

Both train the same layers with plain SGD in float32, from the same weights, on the same images in
the same order, held as float32 rows beforehand. torch's side is the loop of most tutorials, without
a DataLoader: index, forward, cross-entropy, backward, step. Writes ``benchmarks/scratch.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional

from advlab.config.options.run import DataOptions
from advlab.data import load_images
from advlab.experiments.scratch.train import rows
from advlab.scratch.layers import Array
from advlab.scratch.loss import Labels
from advlab.scratch.network import Network
from advlab.scratch.sgd import epoch
from benchmarks import _timing

SIZES, BATCH, RATE = (784, 128, 10), 32, 1.0


def network() -> Network:
    """The weights that both sides start from."""
    return Network.drawn(SIZES, np.random.default_rng(0))


def by_hand(inputs: Array, labels: Labels, order: Labels) -> Array:
    """An epoch in NumPy.

    Returns:
        The first layer's weights (784, 128) after it.
    """
    trained = network()
    epoch(trained, inputs, labels, order, BATCH, RATE)
    return trained.linears[0].weight


def by_autograd(inputs: Tensor, labels: Tensor, order: Tensor) -> Array:
    """The same in torch."""
    start = network()
    layers = [nn.Linear(784, 128), nn.Linear(128, 10)]
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
    inputs, labels = rows(data.train)
    order = np.random.default_rng(1).permutation(len(labels))
    tensors = torch.from_numpy(inputs), torch.from_numpy(labels), torch.from_numpy(order)
    with threadpool_limits(1):
        contenders = {
            "by hand": lambda: by_hand(inputs, labels, order),
            "autograd": lambda: by_autograd(*tensors),
        }
        timings = _timing.in_turns(contenders, line.turns, "epochs")
    ratio = _timing.ratio(timings["by hand"], timings["autograd"])
    apart = float(np.abs(timings["by hand"].result - timings["autograd"].result).max())
    about = [
        f"{data.origin}, {len(labels):,} for training; 784-128-10, batches of {BATCH}, SGD at "
        f"{RATE:g}, float32. {_timing.machine()}; "
        f"{_timing.versions(['numpy', 'torch'])}. Median of {line.turns} repetitions (lowest "
        "to highest).",
        "Written by `python -m benchmarks.scratch`. Both start from the same weights and use the "
        "same batches. After the epoch, the weights of the first layer, of magnitude up to "
        f"{float(np.abs(timings['autograd'].result).max()):.2g}, differ by at most {apart:.1g}.",
    ]
    result = [
        [
            "CPU-seconds per epoch",
            timings["by hand"].shown(),
            timings["autograd"].shown(),
            f"{ratio:.2f} ×",
        ]
    ]
    _timing.write(
        line.out,
        "A NumPy network compared with autograd",
        about,
        ["measurement", "NumPy", "torch autograd", "ratio"],
        result,
    )


if __name__ == "__main__":
    main()
