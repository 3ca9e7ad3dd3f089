"""A page in headless Chromium, driven over a pipe by the DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHROMIUM = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name)) is not None
    ),
    None,
)
"""The browser's program; None where the machine has none."""

_LONGEST = 60.0  # seconds that an answer may take


class Page:
    """One tab."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        """Of a browser that reads from one file descriptor and writes to the other."""
        self._out, self._in = to_browser, from_browser
        self._rest, self._last, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a method of the protocol returns; events meanwhile are kept in ``events``."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            read = os.read(self._in, 1 << 20)
            assert read, "the browser went away"
            self._rest += read
        one, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(one)
        return answer

    def open(self, address: str, width: int = 1100, height: int = 900, dark: bool = False) -> float:
        """Open an address in a window of this size.

        Returns:
            Seconds until the page is laid out and painted.
        """
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        begun = time.monotonic()
        self.call("Page.navigate", url=address)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            assert time.monotonic() - begun < _LONGEST, "the page does not load"
            self.events.append(self._next())
        painted = "new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
        self.run(painted)
        return time.monotonic() - begun

    def run(self, expression: str) -> Any:
        """The value of an expression in the page, promises awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, file: Path, whole: bool = False) -> None:
        """Write what the window shows as PNG, or with ``whole`` the whole page."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened."""
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        ]


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[Page]:
    """A tab of a browser of its own, with an empty profile."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
    command += [f"--user-data-dir={profile}", "--no-first-run", "about:blank"]
    pipes = [*os.pipe(), *os.pipe()]
    # The browser reads from the file descriptor 3 and writes to 4; those of the pipes must not be
    # overwritten by these.
    high = [fcntl.fcntl(pipe, fcntl.F_DUPFD_CLOEXEC, 10) for pipe in pipes]
    for pipe in pipes:
        os.close(pipe)
    read_by_browser, to_browser, from_browser, written_by_browser = high
    process = os.posix_spawn(
        CHROMIUM,
        command,
        os.environ,
        file_actions=[
            *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)),
            (os.POSIX_SPAWN_DUP2, read_by_browser, 3),
            (os.POSIX_SPAWN_DUP2, written_by_browser, 4),
        ],
    )
    os.close(read_by_browser)
    os.close(written_by_browser)
    try:
        yield Page(to_browser, from_browser)
    finally:
        # Asked to close, it ends its processes first, which would write into the profile meanwhile.
        with contextlib.suppress(OSError):
            os.write(to_browser, b'{"id": 0, "method": "Browser.close"}\0')
        _wait_for_end(process)
        os.close(to_browser)
        os.close(from_browser)


def _wait_for_end(process: int) -> None:
    """Wait until a process has ended, and end it where that takes too long."""
    deadline = time.monotonic() + 10
    while os.waitpid(process, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return
        time.sleep(0.02)
