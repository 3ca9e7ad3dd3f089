"""Device, precision and threads of a run."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
from dataclasses import dataclass
from typing import Literal, cast

import torch

from advlab import __version__
from advlab.config.base import Options
from advlab.config.options.run import RunOptions
from advlab.errors import UsageError
from advlab.runs.processes import current
from advlab.runs.results import MachineRecord

Precision = Literal["fp32", "bf16", "fp16"]

_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Machine:
    """Where and in which arithmetic a run computes."""

    device: torch.device
    precision: Precision

    @property
    def dtype(self) -> torch.dtype:
        """The torch type of ``precision``."""
        return _TYPES[self.precision]

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """A context in which matrix products and convolutions run in ``precision``; nothing at all
        for fp32."""
        if self.precision == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def describe(self, **more: str | int) -> MachineRecord:
        """Return the part of a result that describes the machine.

        Args:
            more: further fields of the record, such as ``numpy``, or others in place of these.
        """
        device = (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else self.device.type
        )
        record = MachineRecord(
            advlab=__version__,
            python=platform.python_version(),
            torch=torch.__version__,
            platform=platform.platform(terse=True),
            processor=_processor(),
            threads=torch.get_num_threads(),
            device=device,
            precision=self.precision,
        )
        return record.model_copy(update=more)


def prepare(options: RunOptions, precision: str | None = None) -> Machine:
    """Settle device, precision and threads for this process, and make torch choose repeatable
    algorithms.

    Args:
        precision: in place of that of the options; None for theirs.

    Raises:
        UsageError: the device is not there, or does not compute in the precision asked for.
    """
    # cuBLAS is repeatable only with a fixed workspace, and reads this when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # What use_deterministic_algorithms(True, warn_only=True) does, less the 100 MB of a compiler
    # that it imports.
    torch.set_deterministic_debug_mode("warn")
    # Meant to show reads of memory that nobody wrote; it would write every new tensor twice.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    _keep_freed_memory()
    if options.threads:
        torch.set_num_threads(options.threads)
    return machine_of(options.device, precision or options.precision)


def machine_of(device: str, precision: str) -> Machine:
    """The machine that ``--device`` and ``--precision`` name; nothing is set for the process.

    Raises:
        UsageError: the device is not there, or does not compute in the precision asked for.
    """
    place = device_of(device)
    return Machine(place, _precision(precision, place))


def check(options: Options) -> None:
    """Refuse a machine that a run cannot have; options that name none have nothing to refuse.

    Raises:
        UsageError: the device is not there, or does not compute in the precision asked for.
    """
    if isinstance(options, RunOptions):
        _precision(options.precision, device_of(options.device))


def _keep_freed_memory() -> None:
    """Have the C library keep what large tensors leave behind, where by default it hands it back to
    the system.

    The next batch needs as much again, and getting it anew costs as much as half of a small
    network's arithmetic. Only glibc has the two settings and the habit; elsewhere nothing happens.
    """
    mmap_threshold, trim_threshold, most = -3, -1, 1 << 30
    if platform.libc_ver()[0] == "glibc":
        with contextlib.suppress(OSError, AttributeError):
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(mmap_threshold, most)
            mallopt(trim_threshold, most)


def device_of(name: str) -> torch.device:
    """The device that ``--device`` names.

    Raises:
        UsageError: it is not there.
    """
    if current().size > 1:
        # Each process of a host has a GPU of its own. MPS is not shared.
        on_gpu = name == "cuda" or (name == "auto" and torch.cuda.is_available())
        return torch.device("cuda", current().local_rank) if on_gpu else torch.device("cpu")
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices here; "
            "--device cpu always works"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps: torch sees no Apple GPU here; --device cpu always works")
    return device


def _precision(name: str, device: torch.device) -> Precision:
    if name == "fp16" and device.type != "cuda":
        raise UsageError(
            f"--precision fp16 needs a CUDA device; on {device.type} choose bf16 or fp32"
        )
    if name in _TYPES:
        return cast(Precision, name)
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device.type == "cpu" and multiplies_bf16() else "fp32"


def multiplies_bf16() -> bool:
    """Whether this processor has instructions that multiply bf16 (AVX512-BF16 or AMX), and the
    library of torch's convolutions uses them; emulated, bf16 is up to ten times slower than
    fp32."""
    # oneDNN may be missing, or held to older instructions by ONEDNN_MAX_CPU_ISA.
    if not _onednn_multiplies_bf16():
        return False
    get = getattr(torch.cpu, "get_capabilities", None)
    if get is not None:
        capabilities = get()
        return bool(
            capabilities.get("avx512_bf16")
            or capabilities.get("amx_bf16")
            or capabilities.get("bf16")
        )
    return bool(torch.cpu._is_avx512_bf16_supported())


def _onednn_multiplies_bf16() -> bool:
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except AttributeError:  # a build of torch without oneDNN
        return False


def _processor() -> str:
    get = getattr(torch.cpu, "get_capabilities", None)
    name = get().get("cpu_name") if get is not None else None
    return str(name or platform.processor() or platform.machine())


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch's own generators for what is computed on ``device``.

    ``torch.manual_seed`` seeds the generators of all kinds of devices, and where a kind was never
    used it keeps the seed for later, together with the formatted stack of the call: that takes
    several hundred times as long as seeding the processor's generator.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def derive(seed: int, *parts: int) -> int:
    """A seed for a part of a run (an epoch, a restart), a fixed function of the run's seed.

    With it no random state need be saved: the numbers of epoch 7 are the same whether epochs 1 to 6
    ran in this process or in one that was killed. The mixing is SplitMix64's.
    """
    state = seed
    for part in parts:
        state = (state + (part + 1) * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state & 0x7FFFFFFFFFFFFFFF
