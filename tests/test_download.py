"""Downloads against a local server that misbehaves in every way that servers do."""

from __future__ import annotations

import gzip
import hashlib
import io
import multiprocessing
import tarfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal

import pytest

from advlab.data.catalogue import DatasetInfo, RemoteFile
from advlab.data.download import mirrors
from advlab.data.download.archives import _untar
from advlab.data.download.connection import Deadline, Patience
from advlab.errors import EnvironmentFailure

BODY = bytes(range(256)) * 512
QUICK = Patience(connect=1.0, stall=0.25, tries=3, backoff=0.01)


class Server(ThreadingHTTPServer):
    """Serves BODY; the first part of the path says how, the second which attempt it is."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.body = BODY
        self.asked: list[tuple[str, str | None]] = []
        self.released = threading.Event()

    def url(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{manner}"

    def count(self, manner: str) -> int:
        return sum(path == f"/{manner}" for path, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    """Each manner of answering is a method of that name."""

    server: Server

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Range")))
        manner = self.path.strip("/")
        if manner.isdigit():
            self.send_error(int(manner))
        else:
            getattr(self, manner)()

    def _send(
        self, body: bytes, status: int = 200, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def good(self) -> None:
        self._send(self.server.body)

    def slow(self) -> None:
        time.sleep(0.2)
        self.good()

    def ranges(self) -> None:
        body, start = self.server.body, self._start()
        if start is None:
            self.good()
        else:
            self._send(
                body[start:], 206, Content_Range=f"bytes {start}-{len(body) - 1}/{len(body)}"
            )

    def _start(self) -> int | None:
        given = self.headers.get("Range")
        return None if given is None else int(given.removeprefix("bytes=").removesuffix("-"))

    def truncates_once(self) -> None:
        if self.server.count("truncates_once") == 1:
            self._send(self.server.body[:1000], length=len(self.server.body))
        else:
            self.ranges()

    def truncates(self) -> None:
        self._send(self.server.body[:1000], length=len(self.server.body))

    def stalls(self) -> None:
        self._send(self.server.body[:1000], length=len(self.server.body))
        self.server.released.wait(5)

    def stalls_before_headers(self) -> None:
        self.server.released.wait(5)

    def trickles(self) -> None:
        self._send(b"", length=len(self.server.body))
        for number in range(100):
            if self.server.released.wait(0.05):
                return
            try:
                self.wfile.write(self.server.body[number : number + 1])
            except OSError:
                return

    def busy_once(self) -> None:
        self.send_error(500) if self.server.count("busy_once") == 1 else self.good()

    def corrupt(self) -> None:
        self._send(b"\xff" + self.server.body[1:])

    def too_long(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.body + b"more")

    def login_page(self) -> None:
        self._send(b"<html>Welcome to the station's network</html>")

    def wrong_range(self) -> None:
        if self._start() is None:
            self.good()
        else:
            self._send(
                self.server.body[7:],
                206,
                Content_Range=f"bytes 7-{len(self.server.body) - 1}/{len(self.server.body)}",
            )

    def refuses_ranges(self) -> None:
        self.good() if self._start() is None else self.send_error(416)

    def cuts_then_corrupt(self) -> None:
        start = self._start()
        if start is None:
            self.truncates()
        else:
            rest = b"\xff" * (len(self.server.body) - start)
            self._send(
                rest,
                206,
                Content_Range=f"bytes {start}-{len(self.server.body) - 1}/{len(self.server.body)}",
            )


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def remote(server: Server, *manners: str) -> RemoteFile:
    return RemoteFile(
        "file.bin",
        tuple(server.url(manner) for manner in manners),
        len(BODY),
        hashlib.md5(BODY).hexdigest(),
    )


def left_over(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "manners",
    [
        ["good"],
        ["ranges"],
        ["403", "good"],
        ["404", "good"],
        ["403", "404", "ranges"],
        ["busy_once"],
        ["500", "good"],
        ["truncates_once"],
        ["truncates", "ranges"],
        ["truncates", "good"],
        ["stalls", "ranges"],
        ["corrupt", "good"],
        ["too_long", "good"],
        ["login_page", "good"],
        ["cuts_then_corrupt", "good"],
    ],
    ids="-".join,
)
def test_a_good_mirror_gives_the_whole_file(
    server: Server, tmp_path: Path, manners: list[str]
) -> None:
    path = mirrors.fetch(remote(server, *manners), tmp_path, QUICK)
    assert path.read_bytes() == BODY
    assert left_over(tmp_path) == {"file.bin"}


@pytest.mark.parametrize(
    ("manner", "words"),
    [
        ("403", "HTTP 403"),
        ("404", "HTTP 404"),
        ("500", "HTTP 500"),
        ("truncates", "ended after 1,000 of"),
        ("stalls", "sent nothing"),
        ("corrupt", "checksum"),
        ("login_page", "serves 45 bytes"),
        ("cuts_then_corrupt", "checksum"),
    ],
)
def test_a_bad_mirror_leaves_no_file_and_is_quoted(
    server: Server, tmp_path: Path, manner: str, words: str
) -> None:
    with pytest.raises(EnvironmentFailure, match=words) as caught:
        mirrors.fetch(remote(server, manner), tmp_path, QUICK)
    assert "127.0.0.1" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.bin").exists()


def test_every_mirror_is_quoted_at_the_end(server: Server, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match=r"HTTP 403.*HTTP 404.*checksum"):
        mirrors.fetch(remote(server, "403", "404", "corrupt"), tmp_path, QUICK)
    assert left_over(tmp_path) == set()


def test_a_refusal_for_good_is_not_asked_again(server: Server, tmp_path: Path) -> None:
    mirrors.fetch(remote(server, "404", "500", "good"), tmp_path, QUICK)
    assert (server.count("404"), server.count("500"), server.count("good")) == (1, QUICK.tries, 1)


def test_a_partial_file_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY[:5000])
    mirrors.fetch(remote(server, "ranges"), tmp_path, QUICK)
    assert server.asked == [("/ranges", "bytes=5000-")]
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize("manner", ["good", "wrong_range", "refuses_ranges"])
def test_a_partial_file_is_begun_anew_where_ranges_fail(
    server: Server, tmp_path: Path, manner: str
) -> None:
    (tmp_path / "file.bin.part").write_bytes(BODY[:5000])
    mirrors.fetch(remote(server, manner), tmp_path, Patience(connect=1, stall=1, tries=1))
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize(
    "part",
    [b"x" * 5000, b"x" * len(BODY), b"x" * (len(BODY) + 1)],
    ids=["short", "full", "overlong"],
)
def test_a_corrupt_partial_file_does_not_spoil_the_only_mirror(
    server: Server, tmp_path: Path, part: bytes
) -> None:
    (tmp_path / "file.bin.part").write_bytes(part)
    mirrors.fetch(remote(server, "ranges"), tmp_path, QUICK)
    assert (tmp_path / "file.bin").read_bytes() == BODY


@pytest.mark.parametrize("manner", ["stalls_before_headers", "trickles", "stalls"])
def test_the_total_time_is_kept(server: Server, tmp_path: Path, manner: str) -> None:
    begun = time.monotonic()
    with pytest.raises(EnvironmentFailure):
        mirrors.fetch(
            remote(server, manner),
            tmp_path,
            Patience(connect=0.3, stall=0.3, total=0.5, tries=5, backoff=0.01),
        )
    assert time.monotonic() - begun < 3


def test_no_server_at_all(tmp_path: Path) -> None:
    file = RemoteFile("file.bin", ("http://127.0.0.1:9/x",), 1, "")
    with pytest.raises(EnvironmentFailure, match="connection refused"):
        mirrors.fetch(file, tmp_path, QUICK)


def test_a_deadline_ends_the_pauses() -> None:
    begun = time.monotonic()
    Deadline(0.05).sleep(10)
    assert time.monotonic() - begun < 3


def test_no_room(server: Server, tmp_path: Path) -> None:
    file = RemoteFile("file.bin", (server.url("good"),), 10**18, "")
    with pytest.raises(EnvironmentFailure, match="MB are free"):
        mirrors.fetch(file, tmp_path, QUICK)
    assert server.asked == []


def packed(
    server: Server, body: bytes, name: str, unpack: Literal["gzip", "tar"], *archive: str
) -> DatasetInfo:
    """A set of one file that the server gives packed."""
    server.body = body
    md5 = hashlib.md5(body).hexdigest()
    file = RemoteFile(name, (server.url("good"),), len(body), md5, unpack, archive)
    return DatasetInfo(
        "t", "n", (1, 1, 1), (1, 1, 1), ("a", "b"), "", "", folder="set/raw", files=(file,)
    )


def tar_of(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def test_gz_is_unpacked_and_a_second_call_asks_nothing(server: Server, tmp_path: Path) -> None:
    info = packed(server, gzip.compress(BODY), "data.gz", "gzip")
    mirrors.fetch_set("t", info, tmp_path, QUICK)
    mirrors.fetch_set("t", info, tmp_path, QUICK)
    assert len(server.asked) == 1
    assert (tmp_path / "set/raw/data").read_bytes() == BODY
    assert left_over(tmp_path / "set/raw") <= {"data", ".download.lock"}


def test_overwrite_downloads_again(server: Server, tmp_path: Path) -> None:
    info = packed(server, gzip.compress(BODY), "data.gz", "gzip")
    (tmp_path / "set/raw").mkdir(parents=True)
    (tmp_path / "set/raw/data").write_bytes(b"corrupt")
    mirrors.fetch_set("t", info, tmp_path, QUICK)
    assert (tmp_path / "set/raw/data").read_bytes() == b"corrupt"
    mirrors.fetch_set("t", info, tmp_path, QUICK, overwrite=True)
    assert (tmp_path / "set/raw/data").read_bytes() == BODY


SAFELY = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"),
    reason="this Python cannot unpack archives safely, and says so",
)


@SAFELY
def test_tar_is_unpacked_and_replaces_the_old_folder(server: Server, tmp_path: Path) -> None:
    info = packed(
        server, tar_of(("photos/1.jpg", b"one"), ("photos/2.jpg", b"two")), "a.tgz", "tar", "photos"
    )
    old = tmp_path / "set/raw/photos"
    old.mkdir(parents=True)
    (old / "old.jpg").write_bytes(b"old")
    mirrors.fetch_set("t", info, tmp_path, QUICK, overwrite=True)
    assert left_over(old) == {"1.jpg", "2.jpg"}
    assert left_over(old.parent) <= {"photos", ".download.lock"}


def test_an_old_python_refuses_to_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with pytest.raises(
        EnvironmentFailure,
        match=r"this Python cannot unpack archives safely; 3\.10\.12, 3\.11\.4 and later can",
    ):
        _untar(tmp_path / "a.tgz", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@SAFELY
@pytest.mark.parametrize("evil", ["../../evil", "photos/../../../evil"])
def test_a_tar_cannot_leave_the_folder(server: Server, tmp_path: Path, evil: str) -> None:
    info = packed(
        server, tar_of(("photos/1.jpg", b"one"), (evil, b"evil")), "a.tgz", "tar", "photos"
    )
    with pytest.raises(EnvironmentFailure, match="cannot be unpacked"):
        mirrors.fetch_set("t", info, tmp_path, QUICK)
    assert not list(tmp_path.rglob("evil"))
    assert not list(tmp_path.parent.glob("evil"))
    assert not (tmp_path / "set/raw/photos").exists()


def test_broken_gz_is_named_and_leaves_nothing_under_the_final_name(
    server: Server, tmp_path: Path
) -> None:
    info = packed(server, gzip.compress(BODY)[:-20], "data.gz", "gzip")
    with pytest.raises(EnvironmentFailure, match=r"data\.gz: cannot be unpacked"):
        mirrors.fetch_set("t", info, tmp_path, QUICK)
    assert not (tmp_path / "set/raw/data").exists()


def test_a_failed_download_takes_its_empty_folders_away(server: Server, tmp_path: Path) -> None:
    info = DatasetInfo(
        "t",
        "n",
        (1, 1, 1),
        (1, 1, 1),
        ("a", "b"),
        "",
        "",
        folder="set/raw",
        files=(remote(server, "404"),),
    )
    with pytest.raises(EnvironmentFailure):
        mirrors.fetch_set("t", info, tmp_path / "data", QUICK)
    assert left_over(tmp_path) == set()


def test_a_data_folder_that_is_a_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    info = DatasetInfo(
        "t",
        "n",
        (1, 1, 1),
        (1, 1, 1),
        ("a", "b"),
        "",
        "",
        folder="set",
        files=(remote(server, "good"),),
    )
    with pytest.raises(EnvironmentFailure, match="cannot write to"):
        mirrors.fetch_set("t", info, tmp_path / "data", QUICK)


def _fetch_in_a_process(info: DatasetInfo, folder: Path) -> None:
    mirrors.fetch_set("t", info, folder, Patience(connect=5, stall=5))


def test_two_processes_at_once_download_once(server: Server, tmp_path: Path) -> None:
    info = DatasetInfo(
        "t",
        "n",
        (1, 1, 1),
        (1, 1, 1),
        ("a", "b"),
        "",
        "",
        folder="set",
        files=(remote(server, "slow"),),
    )
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fetch_in_a_process, args=(info, tmp_path)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert server.count("slow") == 1
    assert (tmp_path / "set/file.bin").read_bytes() == BODY
