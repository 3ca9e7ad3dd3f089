"""What a verdict over many images costs on many workers: a model of measured parts.

    pip install -e '.[cluster]' && python -m benchmarks.scaling

The parts are the passes that AutoAttack takes for an image that stays robust, the time of a pass of
three networks, and what a call costs on a Dask cluster, by itself and for the bytes that it
returns. The model is then compared with a cluster of 16 workers whose calls sleep, so that two
cores are enough, and applied to 50,000 images of ImageNet. Writes ``benchmarks/scaling.md``.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import textwrap
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from tqdm import tqdm

import advlab
from advlab.experiments.cluster import ClusterTeam
from advlab.models import cnn
from advlab.networks.classifier import assemble
from advlab.progress import silence
from advlab.runs.files import write_text
from advlab.runs.table import table
from benchmarks import _timing, _victims

SUITE = ("APGD-CE", "APGD-T", "FAB", "Square")
_EPS = 1e-4  # at which next to no image is broken, so that passes are those of robust images
_COUNTED = 4  # images whose passes are counted; they are nearly the same for each
_MB = 1e6


# --- passes ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Passes:
    """Passes for an image that stays robust.

    Attributes:
        forward: without a gradient.
        gradient: forward and back to the image.
    """

    forward: float
    gradient: float

    def seconds(self, network: Speed) -> float:
        """What they take."""
        return self.forward * network.forward + self.gradient * network.gradient


_counted = {"forward": 0, "gradient": 0}


class _Counting(nn.Module):
    """A network that counts the images that pass through it, in all of its copies."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The network's logits."""
        if images.requires_grad:
            images.register_hook(lambda _: self._count("gradient", len(images)))
        else:
            self._count("forward", len(images))
        logits: Tensor = self.network(images)
        return logits

    def _count(self, kind: str, images: int) -> None:
        _counted[kind] += images


def passes(network: nn.Module, images: Tensor, labels: Tensor) -> dict[str, Passes]:
    """The passes of each attack of AutoAttack, less those of the checks."""
    right = network(images).argmax(1) == labels
    images, labels = images[right], labels[right]

    def counted(attacks: Sequence[str]) -> Tensor:
        """Passes for a robust image: without and with a gradient."""
        _counted.update(forward=0, gradient=0)
        result = advlab.evaluate(
            _Counting(network).eval(),
            images,
            labels,
            eps=_EPS,
            suite="autoattack",
            precision="fp32",
            device="cpu",
            attacks=list(attacks),
        )
        robust = round(result.robust_accuracy * len(images))
        return torch.tensor([_counted["forward"], _counted["gradient"]]) / robust

    alone = {name: counted([name]) for name in tqdm(SUITE, "attacks", disable=None)}
    # Four times with the checks, less once with them: three times the checks.
    checks = (sum(alone.values()) - counted(SUITE)) / (len(SUITE) - 1)
    return {name: Passes(*(each - checks).tolist()) for name, each in alone.items()}


# --- speed ----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Speed:
    """What an image costs a network, in seconds of one worker.

    Attributes:
        name: of the network, with the size of its images.
        megabytes: of an image in float32.
        forward, gradient: a forward pass; a forward and a backward pass to the image.
    """

    name: str
    megabytes: float
    forward: float
    gradient: float


def speed(name: str, network: nn.Module, shape: tuple[int, int, int], batch: int) -> Speed:
    """Median CPU-seconds for an image, of five turns, on one thread in float32."""
    network = network.eval().requires_grad_(False)
    images = torch.rand(batch, *shape)

    def forward() -> None:
        with torch.inference_mode():
            network(images)

    def gradient() -> None:
        x = images.clone().requires_grad_()
        torch.autograd.grad(network(x).logsumexp(1).sum(), x)

    timings = _timing.in_turns({"forward": forward, "gradient": gradient}, 5, name)
    seconds = {kind: timing.median / batch for kind, timing in timings.items()}
    size = "×".join(map(str, shape))
    megabytes = 4 * math.prod(shape) / _MB
    return Speed(f"{name}, {size}", megabytes, seconds["forward"], seconds["gradient"])


def speeds() -> list[Speed]:
    """Three sizes of networks, with random weights: they take as long as trained ones."""
    small = assemble("cnn", cnn.Architecture(), (1, 28, 28), 10, [0.13], [0.31])
    middle = torchvision.models.resnet18(num_classes=10)
    large = torchvision.models.resnet50()
    return [
        speed("cnn", small, (1, 28, 28), 250),
        speed("ResNet-18", middle, (3, 32, 32), 50),
        speed("ResNet-50", large, (3, 224, 224), 4),
    ]


# --- overhead -------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Overhead:
    """What a call costs the process that hands it out, in seconds.

    Attributes:
        call: by itself.
        megabyte: for each megabyte that it returns.
    """

    call: float
    megabyte: float

    def of(self, megabytes: float) -> float:
        """That of a call which returns so much."""
        return self.call + megabytes * self.megabyte


def _slept(seconds: float, numbers: int) -> Tensor:
    """Sleep, and return so many numbers."""
    import time

    import torch

    time.sleep(seconds)
    return torch.zeros(numbers)


def carried_out(team: Any, seconds: Sequence[float], numbers: int) -> float:
    """Seconds that the team takes for calls which sleep, as a run hands out its shards."""
    waiting = list(reversed(seconds))
    at_work: set[Future[Tensor]] = set()
    started = time.perf_counter()
    while waiting or at_work:
        while waiting and len(at_work) < team.capacity():
            at_work.add(team.submit(_slept, waiting.pop(), numbers))
        done = {future for future in at_work if future.done()}
        for future in done:
            future.result()
        at_work -= done
        if not done:
            time.sleep(0.001)
    return time.perf_counter() - started


def overhead(team: Any) -> Overhead:
    """Of many calls that do nothing, and of many that return 20 MB: what the first process takes
    for each while all workers are kept busy, and not how long one of them is under way."""
    calls, megabytes = 320, 20.0
    small = [carried_out(team, [0.0] * calls, 1) / calls for _ in range(3)]
    numbers = int(megabytes * _MB / 4)
    large = [carried_out(team, [0.0] * 32, numbers) / 32 for _ in range(3)]
    call = median(small)
    return Overhead(call, max(0.0, median(large) - call) / megabytes)


# --- the model ------------------------------------------------------------------------------------
def makespan(seconds: Sequence[float], workers: int, each: float) -> float:
    """When the last of these calls ends, where each is handed to the first free worker.

    Args:
        each: seconds that a single process needs for each call, one after the other.
    """
    free = [0.0] * workers
    clock = 0.0
    for one in seconds:
        clock = max(clock, heapq.heappop(free)) + each
        heapq.heappush(free, clock + one)
    return max(free)


@dataclass(frozen=True)
class Case:
    """A verdict over a data set.

    Attributes:
        images: of the data set.
        batch: images in a call.
        right: the fraction of them that is classified correctly.
        robust: the fraction of all images that stays robust. The first attack finds the others,
            and takes half of its passes for them.
    """

    images: int
    batch: int
    right: float
    robust: float

    def calls(self, network: Speed, suite: Mapping[str, Passes]) -> list[float]:
        """Seconds of each call: all batches under one attack, then under the next."""
        found = []
        robust_before, left = self.right, self.robust
        for attack in suite.values():
            seconds = attack.seconds(network)
            here = (left + (robust_before - left) / 2) * self.images * seconds
            batches = math.ceil(robust_before * self.images / self.batch)
            found += [here / batches] * batches
            robust_before = left
        return found


# --- the report -----------------------------------------------------------------------------------
def simulated(team: Any, workers: int, cost: Overhead) -> list[list[str]]:
    """Makespans that the model says and that the cluster takes, for sleeping calls."""
    drawn = random.Random(0)
    cases: list[tuple[str, list[float]]] = [
        ("320 calls of 0.5 s", [0.5] * 320),
        ("320 calls of 0.1 to 1 s", [drawn.uniform(0.1, 1) for _ in range(320)]),
        ("17 calls of 2 s", [2.0] * 17),
        ("1,600 calls of 0.02 s", [0.02] * 1600),
    ]
    rows = []
    for name, seconds in cases:
        said = makespan(seconds, workers, cost.call)
        took = carried_out(team, seconds, 1)
        ideal = sum(seconds) / workers
        rows.append([name, f"{ideal:.1f}", f"{said:.1f}", f"{took:.1f}", f"{took / said:.2f}"])
    return rows


def main() -> None:
    """Measure, compare and write the page."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--workers", type=int, default=16, help="of the simulated cluster")
    parser.add_argument("--gpus", type=int, default=64, help="of the extrapolation")
    parser.add_argument(
        "--gpu-gradients",
        type=float,
        default=1000.0,
        help="images/s forward and back of ResNet-50 on one GPU: an assumption, not measured here",
    )
    parser.add_argument("--data-dir", default="data", help="folder of the data sets")
    parser.add_argument("--cache", type=Path, default=Path("samples/benchmarks"))
    arguments = parser.parse_args()
    from distributed import LocalCluster

    silence()
    torch.set_num_threads(1)
    data = _victims.images(arguments.data_dir)
    network = _victims.weak(data, arguments.cache).eval()
    images = data.test.select(torch.arange(_COUNTED))
    suite = passes(network, images.inputs(slice(None)), images.labels)
    networks = speeds()
    with LocalCluster(
        n_workers=arguments.workers, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        team = ClusterTeam(cluster.scheduler_address, "samples", None)
        carried_out(team, [0.0] * 10 * arguments.workers, 1)  # every worker imports torch
        cost = overhead(team)
        rows = simulated(team, arguments.workers, cost)
        team.close()
    _write(arguments, data.origin, suite, networks, cost, rows)


def extrapolated(
    network: Speed, case: Case, suite: Mapping[str, Passes], cost: Overhead, workers: int
) -> list[str]:
    """A row: hours on so many workers, and what fraction of them an ideal team would take."""
    calls = case.calls(network, suite)
    # The first process also classifies all images after each attack.
    judging = case.images * len(suite) * network.forward / len(calls)
    each = cost.of(case.batch * network.megabytes) + judging
    hours = makespan(calls, workers, each) / 3600
    ideal = sum(calls) / workers / 3600
    return [
        network.name,
        f"{case.images:,}",
        f"{workers:,}",
        f"{hours:.2f}",
        f"{ideal / hours:.0%}".replace("%", " %"),
        f"{each * len(calls) / 3600:.2f}",
        f"{len(suite) * case.right * case.images * network.megabytes / 1000:.1f}",
    ]


def _write(
    arguments: argparse.Namespace,
    origin: str,
    suite: Mapping[str, Passes],
    networks: Sequence[Speed],
    cost: Overhead,
    rows: list[list[str]],
) -> None:
    """Write ``benchmarks/scaling.md``."""
    small, middle, large = networks
    rate = arguments.gpu_gradients
    gpu = Speed("ResNet-50 on a GPU (assumed)", large.megabytes, 1 / (3 * rate), 1 / rate)
    cases = [
        (small, Case(10_000, 250, right=0.985, robust=0.94), (1, 16)),
        (middle, Case(10_000, 250, right=0.85, robust=0.5), (1, 16)),
        (large, Case(50_000, 250, right=0.64, robust=0.35), (1, 64, 1024)),
        (gpu, Case(50_000, 250, right=0.64, robust=0.35), (1, 8, arguments.gpus)),
    ]
    hours = [
        extrapolated(network, case, suite, cost, workers)
        for network, case, counts in cases
        for workers in counts
    ]
    by_attack = [
        [name, f"{one.forward:,.0f}", f"{one.gradient:,.0f}"] for name, one in suite.items()
    ]
    times = [
        [one.name, f"{1e3 * one.forward:.3g}", f"{1e3 * one.gradient:.3g}"] for one in networks
    ]
    packages = _timing.versions(["torch", "torchvision", "distributed"])
    written = [
        "# The cost of a verdict on many workers",
        _filled(f"{_timing.machine()}; {packages}. Written by `python -m benchmarks.scaling`."),
        "## Passes",
        _filled(
            f"AutoAttack's passes for an image that stays robust, counted on {origin}, with a "
            f"`cnn` at L∞ ε = {_EPS:g}, without those of the checks."
        ),
        table(["attack", "forward", "forward and back"], by_attack),
        "## Time of a pass",
        "Milliseconds of one core for an image, in float32; medians of five turns.",
        table(["network", "forward", "forward and back"], times),
        "## Calls",
        _filled(
            f"A Dask cluster of {arguments.workers} workers on this machine. Handing out a call "
            f"and taking in its result costs the first process {1e3 * cost.call:.1f} ms, and "
            f"{1e3 * cost.megabyte:.2f} ms for each megabyte of it. Calls that sleep, so that two "
            "cores are enough: seconds without overhead, as the model says, and as measured."
        ),
        table(["calls", "ideal", "model", "measured", "ratio"], rows),
        "## Extrapolation",
        _filled(
            "Not measured: what the model says of AutoAttack in batches of 250. Images that "
            "are not robust are broken by the first attack, in half of its passes. *First process* "
            "is what it is busy with: handing out, taking in and classifying. The GPU is assumed "
            f"to take {rate:,.0f} images/s forward and back, and three times as many forward."
        ),
        table(
            [
                "network",
                "images",
                "workers",
                "hours",
                "of ideal",
                "first process",
                "GB returned",
            ],
            hours,
        ),
    ]
    file = Path("benchmarks/scaling.md")
    text = "\n\n".join(written) + "\n"
    write_text(file, text)
    print(text)
    print(f"in {file}")


def _filled(paragraph: str) -> str:
    return textwrap.fill(paragraph, 120, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    main()
