"""One HTTP request with time limits for name lookup, connection and every read."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

_AGENT = "advlab (https://pypi.org/project/advlab)"
_PARTIAL = 206
_RANGE_REFUSED = 416
_BUSY = (408, 425, 429)
_SERVER_ERRORS = 500


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    Attributes:
        connect: from the request to the answer's first line, the name look-up included.
        stall: without a byte.
        total: for everything together; None for no end.
        tries: how often a mirror is asked when what went wrong may pass.
        backoff: pause before the second try; each further one is twice as long.
    """

    connect: float = 15.0
    stall: float = 30.0
    total: float | None = None
    tries: int = 4
    backoff: float = 1.0


class MirrorError(Exception):
    """A mirror did not give the file.

    Attributes:
        passing: whether asking it again may help.
        restart: whether it was only going on from a partial file that it refused.
    """

    def __init__(self, words: str, passing: bool, restart: bool = False) -> None:
        super().__init__(words)
        self.passing = passing
        self.restart = restart


class Deadline:
    """The moment by which everything must be done."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, infinite where there is no deadline, never below 0."""
        return float("inf") if self._end is None else max(0.0, self._end - time.monotonic())

    def sleep(self, seconds: float) -> None:
        """Sleep for so long, or until the deadline."""
        time.sleep(min(seconds, self.left()))


class Response:
    """An open answer: bytes of the file from ``start`` on.

    Attributes:
        start: position of the first byte that ``read`` will give; 0 where the server does not do
            ranges.
    """

    def __init__(self, response: http.client.HTTPResponse, start: int) -> None:
        self._response = response
        self.start = start

    def read(self) -> bytes:
        """Some of the next bytes, an empty string at the end.

        Raises:
            MirrorError: the connection broke or stalled.
        """
        try:
            # read1 returns what has come; read would wait for the whole amount while a server
            # trickles.
            return self._response.read1(1 << 16)
        except (TimeoutError, OSError, http.client.HTTPException) as error:
            raise _translated(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def ask(url: str, start: int, size: int, patience: Patience, deadline: Deadline) -> Response:
    """Ask for the bytes from ``start`` on of a file of ``size`` bytes.

    Raises:
        MirrorError: there was no such answer in time.
    """
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    wait = min(patience.connect, deadline.left())
    try:
        response = _open_within(
            urllib.request.Request(url, headers=headers), wait, min(patience.stall, deadline.left())
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED:
            raise MirrorError(
                "refused to go on from where the partial file ends",
                passing=False,
                restart=start > 0,
            ) from error
        passing = error.code in _BUSY or error.code >= _SERVER_ERRORS
        raise MirrorError(f"HTTP {error.code} {error.reason}", passing) from error
    except (TimeoutError, OSError, ValueError, http.client.HTTPException) as error:
        raise _translated(error) from error
    if response.status != _PARTIAL:
        # A log-in page or another version of the file shows here, before it costs the partial file
        # at hand.
        length = response.headers.get("Content-Length", str(size))
        if length != str(size):
            response.close()
            raise MirrorError(f"serves {length} bytes where the file has {size}", passing=False)
        return Response(response, 0)
    given = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if given is None or int(given[1]) != start or given[2] not in (str(size), "*"):
        response.close()
        raise MirrorError(
            f"answered with another range ({response.headers.get('Content-Range')})",
            passing=False,
            restart=start > 0,
        )
    return Response(response, start)


def _open_within(
    request: urllib.request.Request, seconds: float, stall: float
) -> http.client.HTTPResponse:
    """urlopen that gives up after ``seconds``: a socket's own time-out does not cover the name
    look-up."""
    if seconds <= 0:
        raise TimeoutError("no time left")
    outcome: list[http.client.HTTPResponse | BaseException] = []
    lock = threading.Lock()
    given_up = False

    def work() -> None:
        try:
            result: http.client.HTTPResponse | BaseException = urllib.request.urlopen(
                request, timeout=max(stall, 0.01)
            )
        except BaseException as error:  # handed to the caller's thread, which raises it
            result = error
        with lock:
            if given_up and isinstance(result, http.client.HTTPResponse):
                result.close()
            outcome.append(result)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    with lock:
        given_up = not outcome
    if given_up:
        raise TimeoutError(f"no answer within {seconds:.3g} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _translated(error: Exception) -> MirrorError:
    """What went wrong on the wire, in words, and whether it may pass."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return MirrorError("host not found, no network?", passing=False)
    if isinstance(reason, ConnectionRefusedError):
        return MirrorError("connection refused", passing=False)
    if isinstance(reason, ValueError):
        return MirrorError(f"not an address that can be asked ({reason})", passing=False)
    if isinstance(reason, TimeoutError):
        words = str(reason)
        return MirrorError(
            words if words.startswith("no ") else "sent nothing for too long", passing=True
        )
    return MirrorError(str(reason) or type(reason).__name__, passing=True)
