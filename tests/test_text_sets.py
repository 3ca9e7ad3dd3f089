"""Folders of texts and the sets of texts that are known by name."""

from __future__ import annotations

import hashlib
import tarfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from text_files import options

from advlab.cli.main import main
from advlab.data import load_texts, raw_texts
from advlab.data.texts import imdb
from advlab.errors import EnvironmentFailure, UsageError


def reviews_in(root: Path, part: str, count: int, names: tuple[str, ...] = ("neg", "pos")) -> None:
    for name in names:
        folder = root / part / name
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"{number}_7.txt").write_text(
                f"a {name} film<br /><br />number {number} of {part}", encoding="utf-8"
            )


def test_imdb_lies_as_its_archive_leaves_it(tmp_path: Path) -> None:
    reviews_in(tmp_path / "aclImdb", "train", 30)
    reviews_in(tmp_path / "aclImdb", "train", 5, ("unsup",))
    reviews_in(tmp_path / "aclImdb", "test", 10)
    data = load_texts.load(options(dataset="imdb", data_dir=str(tmp_path), min_count=1))
    assert data.classes == ("negative", "positive")
    assert (len(data.train), len(data.val), len(data.test)) == (54, 6, 20)
    assert "unsup" not in data.vocabulary.words
    assert "br" not in data.vocabulary.words
    text = data.test.texts[0]
    assert text.split() == ["a", "neg", "film", "number", "0", "of", "test"]
    assert data.test.labels.tolist() == [0] * 10 + [1] * 10


def test_imdb_that_is_not_there_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVLAB_OFFLINE", "1")
    with pytest.raises(EnvironmentFailure, match="'advlab data get imdb' downloads it"):
        load_texts.load(options(dataset="imdb", data_dir=str(tmp_path)))


def test_imdb_is_downloaded_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reviews_in(tmp_path / "made/aclImdb", "train", 20)
    reviews_in(tmp_path / "made/aclImdb", "test", 4)
    archive = tmp_path / "served" / "aclImdb_v1.tar.gz"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(tmp_path / "made/aclImdb", "aclImdb")
    (file,) = imdb.INFO.files
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(archive.parent)))
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{archive.name}"
    digest = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    here = replace(file, urls=(url,), size=archive.stat().st_size, md5=digest)
    monkeypatch.setattr(imdb, "INFO", replace(imdb.INFO, files=(here,)))
    monkeypatch.setenv("ADVLAB_OFFLINE", "0")
    if not hasattr(tarfile, "data_filter"):
        pytest.skip("this Python cannot unpack archives safely")
    try:
        assert main(["data", "get", "imdb", "--data-dir", str(tmp_path / "data")]) == 0
        assert (
            len(
                load_texts.load(
                    options(dataset="imdb", data_dir=str(tmp_path / "data"), min_count=1)
                ).test
            )
            == 8
        )
    finally:
        server.shutdown()
        server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_folder_of_texts_with_and_without_a_test_part(tmp_path: Path) -> None:
    reviews_in(tmp_path, "whole", 20, ("bad", "fair", "good"))
    data = load_texts.load(options(dataset=f"folder:{tmp_path / 'whole'}", min_count=1))
    assert data.classes == ("bad", "fair", "good")
    assert len(data.train) + len(data.val) + len(data.test) == 60
    reviews_in(tmp_path / "apart", "train", 10)
    reviews_in(tmp_path / "apart", "test", 3)
    (tmp_path / "apart/train/neg/empty.txt").write_text(" ")
    data = load_texts.load(options(dataset=f"folder:{tmp_path / 'apart'}", min_count=1))
    assert len(data.test) == 6
    assert "1 file without a text left out" in data.origin
    assert data.remarks[0] == "27 files read: 26 used, 0 duplicates, 1 without a text"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\0b", "a NUL character"),
        (b"caf\xe9", "not UTF-8 text .byte 0xe9"),
        (b"x" * 1_000_001, "1,000,001 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    reviews_in(tmp_path, "whole", 5)
    (tmp_path / "whole/pos/odd.txt").write_bytes(content)
    with pytest.raises(UsageError, match=f"odd.txt: {message}"):
        load_texts.load(options(dataset=f"folder:{tmp_path / 'whole'}"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_files_of_a_folder_in_another_encoding(encoding: str, tmp_path: Path) -> None:
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        for number in range(10):
            text = f"caf\u00e9 number {number} is {name}"
            (tmp_path / name / f"{number}.txt").write_bytes(text.encode(encoding))
    data = load_texts.load(options(dataset=f"folder:{tmp_path}", min_count=1))
    assert "caf\u00e9 number 3 is good" in {*data.train.texts, *data.val.texts, *data.test.texts}


def test_files_of_a_folder_by_one_rule(tmp_path: Path) -> None:
    for number in range(12):
        for name in ("neg", "pos"):
            (tmp_path / name / "more").mkdir(parents=True, exist_ok=True)
            place = tmp_path / name / ("more" if number % 3 == 0 else "")
            ending = (".txt", ".TXT", ".Txt")[number % 3]
            (place / f"{number}{ending}").write_text(f"a {name} text number {number}")
    (tmp_path / "pos" / "._0.txt").write_bytes(b"\xff\0")
    (tmp_path / "pos" / "table.xls").write_bytes(b"\xff\0")
    (tmp_path / "README.md").write_text("read me")
    (tmp_path / "README.txt").write_text("read me")
    data = load_texts.load(options(dataset=f"folder:{tmp_path}", min_count=1))
    assert data.classes == ("neg", "pos")
    assert len(data.train) + len(data.val) + len(data.test) == 24
    assert data.remarks[2] == (
        "skipped, since only files that end in .txt in the folders of classes are read: 3 files "
        "(README.md, README.txt, pos/table.xls)"
    )


def test_a_folder_of_texts_with_validation_texts(tmp_path: Path) -> None:
    for part, count in (("train", 10), ("val", 3), ("test", 4)):
        reviews_in(tmp_path, part, count)
    (tmp_path / "README.txt").write_text("read me")
    (tmp_path / "val/pos/copy.txt").write_text((tmp_path / "test/pos/0_7.txt").read_text())
    data = load_texts.load(options(dataset=f"folder:{tmp_path}", min_count=1))
    assert (len(data.train), len(data.val), len(data.test)) == (20, 6, 8)
    assert data.remarks[0] == "35 files read: 34 used, 1 duplicate, 0 without a text"
    assert data.remarks[2].endswith("1 file (README.txt)")
    for part in ("train", "val", "test"):
        (tmp_path / part / "neg").rename(tmp_path / part / "Pos")
    near = load_texts.load(options(dataset=f"folder:{tmp_path}", min_count=1)).remarks[-1]
    assert near.endswith("'Pos', 'pos'; give the folders of one class one name")


@pytest.mark.parametrize(
    ("parts", "files", "message"),
    [
        (("train", "val"), {}, "has train/ but no test/"),
        (("test",), {}, "has test/ but no train/, and no class can be named 'test'"),
        (("Training", "dev"), {}, "has Training/ but no test/"),
        (("train", "testing", "Test"), {}, "Test and testing both name the test part"),
        (("train", "test", "extra"), {}, "extra: only train/, test/ and val/ are allowed here"),
        (("train", "test"), {"train/unsup/0.txt": "a"}, "'unsup' is not in both train/ and test/"),
        ((".",), {"notes/list.xls": "a"}, "notes: a class without texts; add .txt files"),
        ((".",), {"notes/0.txt": " "}, "notes: a class whose files are all empty"),
    ],
)
def test_a_folder_of_texts_of_another_layout(
    parts: tuple[str, ...], files: dict[str, str], message: str, tmp_path: Path
) -> None:
    for part in parts:
        reviews_in(tmp_path, part, 5)
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message):
        load_texts.load(options(dataset=f"folder:{tmp_path}"))


def test_folders_that_are_no_set(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folder: needs a path"):
        load_texts.load(options(dataset="folder:"))
    with pytest.raises(UsageError, match="does not exist"):
        load_texts.load(options(dataset=f"folder:{tmp_path / 'nowhere'}"))
    reviews_in(tmp_path, "one", 5, ("only",))
    with pytest.raises(UsageError, match="'only' is the only class"):
        load_texts.load(options(dataset=f"folder:{tmp_path / 'one'}"))


@pytest.mark.parametrize("name", raw_texts.dataset_names())
def test_every_set_says_what_it_is(name: str, tmp_path: Path) -> None:
    module = raw_texts.dataset_module(name)
    assert module.INFO.shape == ()
    assert "" not in (module.INFO.title, module.INFO.source, module.INFO.licence)
    assert module.present(tmp_path) == (not module.INFO.files)
    if not module.INFO.files:
        data = load_texts.load(options(dataset=name, min_count=1))
        assert (len(data.train), len(data.val), len(data.test)) == module.INFO.counts
        assert data.classes == module.INFO.classes
