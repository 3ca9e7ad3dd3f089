"""Both sides of a comparison in one run: taken in turns, several times over, each on one thread and
by the processor's clock."""

from __future__ import annotations

import platform
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Generic, TypeVar

import torch
from tqdm import tqdm

from advlab.runs.files import write_text
from advlab.runs.table import table

Result = TypeVar("Result")


@dataclass(frozen=True)
class Timing(Generic[Result]):
    """What one contender needed, turn by turn, in CPU-seconds, and what it returned the last
    time."""

    seconds: list[float]
    result: Result

    @property
    def median(self) -> float:
        """The middle of its turns."""
        return median(self.seconds)

    def shown(self) -> str:
        """Median, and in brackets the lowest and highest turn."""
        return f"{self.median:.2f} ({min(self.seconds):.2f} to {max(self.seconds):.2f})"


def in_turns(
    contenders: Mapping[str, Callable[[], Result]], turns: int, what: str
) -> dict[str, Timing[Result]]:
    """Run every contender ``turns`` times, one after the other, after one turn for nothing that
    warms all of them up.

    CPU-seconds of this process on one thread: what else the machine does changes them little, where
    it changes the clock on the wall a lot.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    results: dict[str, Result] = {}
    with tqdm(total=(turns + 1) * len(contenders), desc=what, leave=False, disable=None) as bar:
        for turn in range(turns + 1):
            for name, run in contenders.items():
                started = time.process_time()
                results[name] = run()
                if turn:
                    seconds[name].append(time.process_time() - started)
                bar.update()
    return {name: Timing(seconds[name], results[name]) for name in contenders}


def ratio(ours: Timing[Result], peer: Timing[Result]) -> float:
    """How many times as long the peer needs: the median over the turns of the ratio within each
    turn."""
    return median(theirs / mine for mine, theirs in zip(ours.seconds, peer.seconds, strict=True))


def versions(names: Sequence[str]) -> str:
    """``torch 2.15.0, foolbox 3.3.4``; what is not installed is left out."""
    installed = {name: _version(name) for name in names}
    return ", ".join(f"{name} {found}" for name, found in installed.items() if found)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def machine() -> str:
    """The machine in a phrase: processor's name and abilities, as far as they can be had."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    useful = [
        name for name in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if capabilities.get(name)
    ]
    return (
        f"{platform.machine()} processor ({', '.join(useful) or 'no vector extensions known'}), "
        "one thread, no GPU"
    )


def write(
    file: Path,
    title: str,
    about: Sequence[str],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
) -> None:
    """Write one table as Markdown, below paragraphs of at most 120 columns, and print it."""
    text = table(list(header), [list(row) for row in rows])
    paragraphs = "\n\n".join(
        textwrap.fill(line, 120, break_long_words=False, break_on_hyphens=False) for line in about
    )
    write_text(file, f"# {title}\n\n{paragraphs}\n\n{text}\n")
    print(text)
    print(f"in {file}")
