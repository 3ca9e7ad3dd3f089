"""One HTTP request with timeouts for name lookup, connection and every read."""

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
    """Timeouts in seconds, and retries.

    Attributes:
        connect: from the request, including the name lookup, to the first line of the response.
        stall: longest time without a byte.
        total: for the whole download; None for no limit.
        tries: attempts per mirror, if the error may be temporary.
        backoff: pause before the second attempt; it doubles with each further attempt.
    """

    connect: float = 15.0
    stall: float = 30.0
    total: float | None = None
    tries: int = 4
    backoff: float = 1.0


class MirrorError(Exception):
    """A mirror did not deliver the file.

    Attributes:
        retryable: whether the error may be temporary.
        restart: whether the mirror only refused to resume a partial file.
    """

    def __init__(self, message: str, retryable: bool, restart: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.restart = restart


class Deadline:
    """Time limit of a whole download."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the remaining seconds, at least 0; infinity if there is no limit."""
        return float("inf") if self._end is None else max(0.0, self._end - time.monotonic())

    def sleep(self, seconds: float) -> None:
        """Sleep for ``seconds``, but not beyond the deadline."""
        time.sleep(min(seconds, self.remaining()))


class Response:
    """An open response with the bytes of a file from ``start`` on.

    Attributes:
        start: position in the file of the first byte to read; 0 if the server ignores ranges.
    """

    def __init__(self, response: http.client.HTTPResponse, start: int) -> None:
        self._response = response
        self.start = start

    def read(self) -> bytes:
        """Return the next bytes, at most 65,536; none at the end.

        Raises:
            MirrorError: the connection broke or stalled.
        """
        try:
            # read1 returns the bytes that have arrived. read would block until all have arrived,
            # so that a slow server could not be told from a stalled one.
            return self._response.read1(1 << 16)
        except (TimeoutError, OSError, http.client.HTTPException) as error:
            raise _mirror_error(error) from error

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


def open_url(url: str, start: int, size: int, patience: Patience, deadline: Deadline) -> Response:
    """Request the bytes from ``start`` on of a file of ``size`` bytes.

    Raises:
        MirrorError: the server did not respond in time, or not with these bytes.
    """
    headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    wait = min(patience.connect, deadline.remaining())
    try:
        response = _open_within(
            urllib.request.Request(url, headers=headers),
            wait,
            min(patience.stall, deadline.remaining()),
        )
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED:
            raise MirrorError(
                "refused to resume from the end of the partial file",
                retryable=False,
                restart=start > 0,
            ) from error
        retryable = error.code in _BUSY or error.code >= _SERVER_ERRORS
        raise MirrorError(f"HTTP {error.code} {error.reason}", retryable) from error
    except (TimeoutError, OSError, ValueError, http.client.HTTPException) as error:
        raise _mirror_error(error) from error
    if response.status != _PARTIAL:
        # Detect a login page or another version of the file before it overwrites the partial file.
        length = response.headers.get("Content-Length", str(size))
        if length != str(size):
            response.close()
            raise MirrorError(f"serves {length} bytes, expected {size}", retryable=False)
        return Response(response, 0)
    content_range = re.fullmatch(
        r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "")
    )
    if (
        content_range is None
        or int(content_range[1]) != start
        or content_range[2] not in (str(size), "*")
    ):
        response.close()
        raise MirrorError(
            f"responded with another range ({response.headers.get('Content-Range')})",
            retryable=False,
            restart=start > 0,
        )
    return Response(response, start)


def _open_within(
    request: urllib.request.Request, seconds: float, stall: float
) -> http.client.HTTPResponse:
    """Open a URL within ``seconds``.

    The request runs in a thread, since the timeout of a socket does not cover the name lookup.
    """
    if seconds <= 0:
        raise TimeoutError("no time left")
    outcome: list[http.client.HTTPResponse | BaseException] = []
    lock = threading.Lock()
    given_up = False

    def send() -> None:
        try:
            result: http.client.HTTPResponse | BaseException = urllib.request.urlopen(
                request, timeout=max(stall, 0.01)
            )
        except BaseException as error:  # re-raised in the calling thread
            result = error
        with lock:
            if given_up and isinstance(result, http.client.HTTPResponse):
                result.close()
            outcome.append(result)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    thread.join(seconds)
    with lock:
        given_up = not outcome
    if given_up:
        raise TimeoutError(f"no response within {seconds:.3g} s")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _mirror_error(error: Exception) -> MirrorError:
    """Convert a network error to a ``MirrorError`` with a message for users."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, socket.gaierror):
        return MirrorError("host not found, no network?", retryable=False)
    if isinstance(reason, ConnectionRefusedError):
        return MirrorError("connection refused", retryable=False)
    if isinstance(reason, ValueError):
        return MirrorError(f"not a valid URL ({reason})", retryable=False)
    if isinstance(reason, TimeoutError):
        message = str(reason)
        return MirrorError(
            message if message.startswith("no ") else "sent nothing for too long", retryable=True
        )
    return MirrorError(str(reason) or type(reason).__name__, retryable=True)
