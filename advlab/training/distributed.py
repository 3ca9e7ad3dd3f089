"""Training in several processes that share each batch, started by ``torchrun``.

Every process holds the whole network and takes a part of each batch. After the backward pass the
gradients are summed over the processes, so each of them takes the optimiser step of the whole
batch, and the networks stay equal. The network is not wrapped: attacks within a step copy it and
take gradients with respect to images, and its parts keep their names.

Batch normalisation is the exception: each process normalises by the statistics of its own part, as
in ``torch.nn.parallel.DistributedDataParallel``. The running statistics are those of rank 0.

In a single process every function here returns what it is given, and ``torch.distributed`` is not
used.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from advlab.errors import EnvironmentFailure, UsageError
from advlab.runs.processes import Processes, Started, current, taking_part

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

# How long a process waits for the others within a step. Waiting for rank 0, while it validates or
# writes, has no limit.
_TIMEOUT = timedelta(minutes=10)
_LONGEST_PAUSE = 0.2  # seconds between two looks at what another process announces
_GOODBYE = 30.0  # seconds that rank 0 waits for the others to have heard of the end

_LOST = (
    "another process of this training ended or cannot be reached; the same line typed again goes "
    "on after the last finished epoch"
)


class Group(Processes):
    """Processes that are connected by ``torch.distributed``."""

    def __init__(self, started: Started, store: Store) -> None:
        """These processes, which share ``store``."""
        self.rank, self.size, self.local_rank = started.rank, started.size, started.local_rank
        self._store = store
        self._announced = 0

    def announce(self, text: str = "") -> str:
        """The text that rank 0 announces; see ``Processes``.

        Raises:
            EnvironmentFailure: the connection is lost.
        """
        key = f"announced/{self._announced}"
        self._announced += 1
        with _connected():
            if self.rank == 0:
                self._store.set(key, text)
                return text
            self._wait_for([key])
            return self._store.get(key).decode()

    def leave(self) -> None:
        """Part with the others at the end. Rank 0 does so last, since it may hold the store."""
        with _connected():
            if self.rank:
                self._store.set(f"left/{self.rank}", "")
            else:
                self._wait_for([f"left/{rank}" for rank in range(1, self.size)], _GOODBYE)

    def _wait_for(self, keys: list[str], seconds: float = math.inf) -> None:
        """Wait until others have set the keys, or the time is over.

        The store's own wait would hold back SIGTERM and Ctrl-C.
        """
        pause, end = 0.001, time.monotonic() + seconds
        while not self._store.check(keys) and time.monotonic() < end:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


@contextmanager
def join(started: Started, device: str) -> Iterator[None]:
    """Connect the processes that were started together, and have all take part meanwhile.

    Args:
        device: as ``--device`` names it. Processes on GPUs use NCCL, each with the GPU of its
            local rank; all others use gloo.

    Raises:
        UsageError: the device cannot be shared among processes, or there are too few GPUs.
        EnvironmentFailure: the processes did not find each other.
    """
    import torch.distributed as dist

    on_gpus = _uses_gpus(device, started)
    if on_gpus:
        torch.cuda.set_device(started.local_rank)
    try:
        # None of these names is among those that torch declares for type checkers.
        rendezvous = dist.rendezvous("env://", timeout=_TIMEOUT)  # type: ignore[attr-defined]
        shared, _, _ = next(iter(rendezvous))
        # torchrun --max-restarts keeps the store, and with it what ended processes wrote there.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"advlab/{attempt}", shared)  # type: ignore[attr-defined]
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpus else "gloo",
            store=dist.PrefixStore("group", store),  # type: ignore[attr-defined]
            rank=started.rank,
            world_size=started.size,
            timeout=_TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise EnvironmentFailure(
            f"the {started.size} processes did not find each other at {place}: "
            f"{str(error).splitlines()[0]}"
        ) from error
    group = Group(started, store)
    with taking_part(group):
        yield
    # After an error the process ends, and with it its connections.
    group.leave()
    dist.destroy_process_group()


def _uses_gpus(device: str, started: Started) -> bool:
    kind, _, number = device.partition(":")
    if kind == "mps" or number:
        raise UsageError(
            f"--device {device}: {started.size} processes cannot share it; --device cuda gives "
            "each process a GPU of its own, and --device cpu always works"
        )
    if kind == "cpu" or (kind == "auto" and not torch.cuda.is_available()):
        return False
    if started.local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"--device {device}: torch sees {torch.cuda.device_count()} CUDA devices here, and "
            "each process of a host needs one of its own; start fewer, or choose --device cpu"
        )
    return True


@contextmanager
def _connected() -> Iterator[None]:
    """Turn what torch raises for a lost connection into one line."""
    try:
        yield
    except RuntimeError as error:
        raise EnvironmentFailure(_LOST) from error


def fewest_examples() -> int:
    """The fewest examples of a batch: two for each process, since batch normalisation cannot take a
    single one."""
    return 2 * current().size


def check_batches(batch_size: int, examples: int) -> None:
    """Refuse batches that are too small to be shared among several processes.

    Raises:
        UsageError: a process would get fewer than two examples of a batch.
    """
    size = current().size
    if size > 1 and min(batch_size, examples) < fewest_examples():
        which = f"--batch-size {batch_size}" if batch_size <= examples else f"{examples} examples"
        raise UsageError(
            f"{which}: {size} processes share each batch, and each needs two examples of it or "
            f"more; that is {fewest_examples()} at least"
        )


def check_same_epoch(epoch: int, folder: Path) -> None:
    """Refuse to go on where processes read different states, as on hosts without a shared folder.

    Raises:
        EnvironmentFailure: this one goes on from another epoch than the first.
    """
    first = int(current().announce(str(epoch)))
    if first != epoch:
        raise EnvironmentFailure(
            f"{folder}: this process would go on after epoch {epoch} and the first one after epoch "
            f"{first}; --out must be a folder that all hosts share"
        )


def part(index: Tensor) -> Tensor:
    """This process's part of a batch: every size-th example, so parts differ by at most one.

    Args:
        index: numbers of the batch's examples, (N,).
    """
    processes = current()
    return index if processes.size == 1 else index[processes.rank :: processes.size]


def positions(count: int) -> Tensor:
    """The positions in the whole batch of the ``count`` examples of this process's part; (count,).

    Random numbers of an image that depend on its position are then those of a single process.
    """
    processes = current()
    return torch.arange(count) * processes.size + processes.rank


def weighted(loss: Tensor, part: Tensor, index: Tensor) -> Tensor:
    """The mean loss of a part, so that the sum over all parts is the mean of the whole batch."""
    return loss if current().size == 1 else loss * (len(part) / len(index))


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes.

    Raises:
        EnvironmentFailure: another process ended.
    """
    return value if current().size == 1 else _summed([value])[0]


def common(number: int) -> int:
    """The number that rank 0 calls this with."""
    if current().size == 1:
        return number
    value = torch.tensor([number])
    _copy_from_first([value])
    return int(value)


def start_alike(model: nn.Module) -> None:
    """Give every process the weights and buffers of rank 0."""
    if current().size > 1:
        _copy_from_first([*model.parameters(), *model.buffers()])


def sum_gradients(model: nn.Module) -> None:
    """Replace each gradient by its sum over the processes, and give all the buffers of rank 0.

    The buffers travel in the same message: an attack within the next step takes the network in
    evaluation mode, and must see the same one in every process.

    Raises:
        EnvironmentFailure: another process ended.
    """
    processes = current()
    if processes.size == 1:
        return
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
    gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in weights]
    # A weight that took no part in the loss has no gradient, and the optimiser leaves it alone.
    used = torch.tensor([float(weight.grad is not None) for weight in weights])
    used = used.to(weights[0]) if weights else used
    own = buffers if processes.rank == 0 else [torch.zeros_like(buffer) for buffer in buffers]
    *summed, used = _summed([*gradients, *own, used])
    with torch.no_grad():
        for number, weight in enumerate(weights):
            if weight.grad is not None:
                weight.grad.copy_(summed[number])
            elif used[number] > 0:  # reading a number waits for the device: only where it must be
                weight.grad = summed[number]
        for buffer, value in zip(buffers, summed[len(weights) :], strict=True):
            buffer.copy_(value)


def average(gradients: Sequence[Tensor], count: int) -> Sequence[Tensor]:
    """Gradients of the mean loss of the whole batch, from those of each process's part.

    Args:
        count: how many examples this process's part holds.
    """
    if current().size == 1:
        return gradients
    number = torch.full((), float(count), dtype=torch.float64, device=gradients[0].device)
    *summed, number = _summed([*(gradient * count for gradient in gradients), number])
    return [gradient / float(number) for gradient in summed]


def whole(rows: Tensor, count: int) -> Tensor:
    """The rows of all processes, in the order of the whole batch, (count, D).

    Only this process's own rows carry a gradient. A loss of all rows that every process computes
    therefore has the gradient of the whole batch after ``sum_gradients``.

    Args:
        rows: of this process's part, (its size, D).
        count: of the whole batch.

    Returns:
        In float32, or float64 where the rows are; in a single process, the rows as they are.
    """
    if current().size == 1:
        return rows
    rows = rows if rows.dtype == torch.float64 else rows.float()
    places = positions(len(rows)).to(rows.device)
    empty = rows.new_zeros((count, *rows.shape[1:]))
    everyone = _summed([empty.index_copy(0, places, rows.detach())])[0]
    return everyone.index_copy(0, places, rows)


def _summed(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Each tensor's sum over the processes; one message for each type of number."""
    import torch.distributed as dist

    sums: dict[int, Tensor] = {}
    for places, flat in _flattened(tensors):
        with _connected():
            dist.all_reduce(flat)
        sums |= zip(places, _split(flat, [tensors[place] for place in places]), strict=True)
    return [sums[place] for place in range(len(tensors))]


def _copy_from_first(tensors: Sequence[Tensor]) -> None:
    """Overwrite the tensors with those of rank 0."""
    import torch.distributed as dist

    for places, flat in _flattened(tensors):
        with _connected():
            dist.broadcast(flat.view(torch.uint8), 0)  # of bytes, which every backend takes
        chosen = [tensors[place] for place in places]
        with torch.no_grad():
            for tensor, value in zip(chosen, _split(flat, chosen), strict=True):
                tensor.copy_(value)


def _flattened(tensors: Sequence[Tensor]) -> Iterator[tuple[list[int], Tensor]]:
    """The tensors of each type behind one another, and which they are."""
    kinds = dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors)
    for kind in kinds:
        places = [i for i, tensor in enumerate(tensors) if (tensor.dtype, tensor.device) == kind]
        yield places, torch.cat([tensors[place].detach().flatten() for place in places])


def _split(flat: Tensor, alike: Sequence[Tensor]) -> list[Tensor]:
    parts = flat.split([tensor.numel() for tensor in alike])
    return [part.view(tensor.shape) for part, tensor in zip(parts, alike, strict=True)]
