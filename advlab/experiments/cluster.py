"""A Dask cluster that carries out the cells of a grid.

Dask is not part of the installation: ``pip install 'advlab[cluster]'``. Nothing here imports it
before a cluster is named. What a cluster answers is unpickled, which can run code; its address is
therefore taken from the command line only.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import platform
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from advlab import __version__
from advlab.errors import EnvironmentFailure
from advlab.experiments.workers import WorkerKilled

_CONNECTING = 10.0  # seconds that a scheduler may take to answer
_FIRST_WORKER = 60.0  # seconds that the first worker may take to appear
_CANCELLING = 5.0  # seconds that the scheduler may take to forget calls
_STOPPING = 30.0  # seconds that workers may take to end their calls
_SEEING = 3.0  # seconds until a file that was just written must be seen on another host


class ClusterTeam:
    """The workers of a Dask cluster, each of which carries out one call at a time.

    Workers may come and go. Each is checked before the first call is submitted after it came: it
    must have the same versions, and see the folders of this process under the same paths.
    """

    def __init__(self, address: str, out: str, data_dir: str | None) -> None:
        """Connect.

        Args:
            address: of the scheduler, ``tcp://host:8786``.
            out: the folder of all runs, as it was given.
            data_dir: the folder of data sets, as it was given; None where there is none.

        Raises:
            EnvironmentFailure: there is no cluster, or a worker of it cannot take part.
        """
        distributed = _library()
        _quiet()
        self._address, self._out, self._data_dir = address, out, data_dir
        self._killed = importlib.import_module("distributed.scheduler").KilledWorker
        self._checked: set[str] = set()
        self._under_way: set[Any] = set()
        try:
            self._client = distributed.Client(
                address, timeout=_CONNECTING, set_as_default=False, name="advlab"
            )
        except (OSError, TimeoutError) as error:
            raise EnvironmentFailure(
                f"--cluster {address}: no Dask scheduler answers there; start one with 'dask "
                "scheduler'"
            ) from error
        try:
            self._await_workers()
        except BaseException:
            self._client.close()
            raise

    def capacity(self) -> int:
        """How many workers there are at present.

        Raises:
            EnvironmentFailure: a new one cannot take part, or the scheduler is gone.
        """
        with self._scheduler_needed():
            threads: Mapping[str, int] = self._client.nthreads()
        new = set(threads) - self._checked
        if new:
            self._check(new, threads)
        return len(threads)

    def submit(self, call: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Have a call carried out by a worker, in this process's working folder."""
        with self._scheduler_needed():
            inner = self._client.submit(_in_folder, str(Path.cwd()), call, *arguments, pure=False)
        self._under_way.add(inner)
        outer: Future[Any] = Future()
        inner.add_done_callback(partial(self._pass_on, outer))
        return outer

    def close(self) -> None:
        """Part with the cluster, which lives on."""
        self._client.close()

    def stop(self) -> None:
        """End the calls: workers that are at one are started anew, which only their nannies can
        do."""
        with contextlib.suppress(Exception):
            keys = {future.key for future in self._under_way}
            at_work = self._workers_at(keys)
            self._client.cancel(list(self._under_way), force=True)
            # Restarted before its call is cancelled, a worker would pass it on to another one.
            deadline = time.monotonic() + _CANCELLING
            while self._workers_at(keys) and time.monotonic() < deadline:
                time.sleep(0.05)
            if at_work:
                self._client.restart_workers(at_work, timeout=_STOPPING, raise_for_error=False)
        self._client.close()

    def _workers_at(self, keys: Collection[str]) -> list[str]:
        """The workers that were given one of these calls."""
        processing: Mapping[str, Collection[str]] = self._client.processing()
        return [worker for worker, calls in processing.items() if set(calls) & set(keys)]

    def _pass_on(self, outer: Future[Any], inner: Any) -> None:
        """Give the future of a call what became of it."""
        try:
            outer.set_result(inner.result())
        except self._killed:  # the scheduler has tried it again by itself
            outer.set_exception(WorkerKilled(final=True))
        except BaseException as error:  # a cancelled future is no Exception
            lost = inner.status in ("cancelled", "lost")
            outer.set_exception(self._unreachable() if lost else error)
        finally:
            self._under_way.discard(inner)

    def _await_workers(self) -> None:
        """Wait until there is a worker.

        Raises:
            EnvironmentFailure: none comes, or one cannot take part.
        """
        deadline = time.monotonic() + _FIRST_WORKER
        while not self.capacity():
            if time.monotonic() > deadline:
                raise EnvironmentFailure(
                    f"--cluster {self._address}: the cluster has no workers; start some with 'dask "
                    f"worker {self._address} --nthreads 1'"
                )
            time.sleep(0.5)

    def _check(self, workers: Collection[str], threads: Mapping[str, int]) -> None:
        """Refuse workers that cannot take part.

        Raises:
            EnvironmentFailure: one cannot.
        """
        for worker in sorted(workers):
            if threads[worker] != 1:
                raise EnvironmentFailure(
                    f"the worker {worker} carries out {threads[worker]} calls in one process; "
                    "start it with --nthreads 1"
                )
        with _token_in(Path(self._out)) as (name, token), self._scheduler_needed():
            arguments = (str(Path.cwd()), self._out, self._data_dir, name, token)
            answers: Mapping[str, Any] = self._client.run(
                _examined, *arguments, workers=sorted(workers), on_error="return"
            )
        for worker, answer in sorted(answers.items()):
            self._accept(worker, answer)
        self._checked |= set(answers)

    def _accept(self, worker: str, answer: Any) -> None:
        if isinstance(answer, OSError):  # it left while it was asked
            return
        if isinstance(answer, Exception):
            raise EnvironmentFailure(
                f"the worker {worker} cannot carry out runs of advlab ({answer}); install the "
                "same version there"
            )
        versions, missing = answer
        if versions != _versions():
            raise EnvironmentFailure(
                f"the worker {worker} has {versions}, and this process {_versions()}; install the "
                "same versions there"
            )
        if missing == self._out:
            raise EnvironmentFailure(
                f"the worker {worker} does not see what this process writes to "
                f"{Path(self._out).absolute()}; --out must be a folder that all hosts share"
            )
        if missing:
            raise EnvironmentFailure(
                f"the worker {worker} has no folder {Path(missing).absolute()}; --data-dir must be "
                "a folder that all hosts share"
            )

    @contextlib.contextmanager
    def _scheduler_needed(self) -> Iterator[None]:
        try:
            yield
        except (OSError, TimeoutError) as error:
            raise self._unreachable() from error

    def _unreachable(self) -> EnvironmentFailure:
        return EnvironmentFailure(
            f"the cluster at {self._address} is gone; the same line goes on where this one was"
        )


def _library() -> ModuleType:
    """Dask's package for clusters.

    Raises:
        EnvironmentFailure: it is not installed.
    """
    try:
        return importlib.import_module("distributed")
    except ModuleNotFoundError as error:
        raise EnvironmentFailure(
            f"--cluster needs the package {error.name}; pip install 'advlab[cluster]'"
        ) from error


def _quiet() -> None:
    """Keep Dask from logging to the terminal: what matters is raised. Several of its loggers have
    levels and handlers of their own."""
    for name in ["distributed", *logging.root.manager.loggerDict]:
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)


@contextlib.contextmanager
def _token_in(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and content of a file that lies in the folder meanwhile. A folder that had to be made
    for it goes again."""
    new_folders = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    file = folder / f".{token}.shared"
    file.write_text(token, encoding="utf-8")
    try:
        yield file.name, token
    finally:
        file.unlink(missing_ok=True)
        for path in new_folders:
            with contextlib.suppress(OSError):  # something lies in it by now
                path.rmdir()


def _versions() -> str:
    python = ".".join(platform.python_version_tuple()[:2])
    return f"advlab {__version__}, torch {torch.__version__} and Python {python}"


def _examined(
    working: str, out: str, data_dir: str | None, name: str, token: str
) -> tuple[str, str]:
    """What a worker has: its versions, and the first of the folders that it does not share."""
    file = Path(working) / out / name
    deadline = time.monotonic() + _SEEING
    while not file.is_file() and time.monotonic() < deadline:
        time.sleep(0.1)  # a network file system may lag
    if not Path(working).is_dir() or not file.is_file() or file.read_text("utf-8") != token:
        return _versions(), out
    if data_dir is not None and not (Path(working) / data_dir).is_dir():
        return _versions(), data_dir
    return _versions(), ""


def _in_folder(working: str, call: Callable[..., Any], *arguments: Any) -> Any:
    """Carry out a call in a folder, so that relative paths mean there what they mean here. A worker
    carries out one call at a time."""
    before = Path.cwd()
    os.chdir(working)
    try:
        return call(*arguments)
    finally:
        os.chdir(before)
