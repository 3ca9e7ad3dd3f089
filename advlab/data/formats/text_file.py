"""Opening of a text file of unknown origin: compression, encoding, and formats that are no tables.

Files are told by their content. Names mislead: compressed files lose their ``.gz``, and JSON Lines
are saved as ``.csv``.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from advlab.errors import EnvironmentFailure, UsageError

_GZIP = b"\x1f\x8b"
_OTHERS = (
    (rb"PK\x03\x04", "is a zip archive or a spreadsheet; unpack it, or save the sheet as CSV"),
    (rb"BZh[1-9]1AY&SY", "is compressed with bzip2; unpack it, or compress it with gzip"),
    (rb"\xfd7zXZ\x00", "is compressed with xz; unpack it, or compress it with gzip"),
    (rb"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it, or compress it with gzip"),
    (rb"PAR1\x15", "is a Parquet file; --dataset parquet:PATH reads it"),
    (rb"version https://git-lfs", "is a pointer of Git LFS; 'git lfs pull' fetches the file"),
    (rb"(?i)\s*<(!doctype )?html", "is an HTML page and no CSV file"),
)
_HEAD = 1 << 16


@contextlib.contextmanager
def opened(path: Path) -> Iterator[io.TextIOWrapper]:
    """Open a file of UTF-8, UTF-16 or UTF-32, plain or compressed with gzip.

    UTF-16 and UTF-32 are recognised by their byte order mark.

    Raises:
        UsageError: the file is empty, is not text, or is of a format that is known and not CSV.
        EnvironmentFailure: the file cannot be read.
    """
    encoding = ""
    try:
        with _bytes_of(path) as raw:
            encoding = _encoding(raw.read(_HEAD), path)
            raw.seek(0)
            with io.TextIOWrapper(raw, encoding=encoding, newline="") as file:
                yield file
    except UnicodeDecodeError as error:
        if encoding != "utf-8-sig":
            raise UsageError(f"{path}: not valid {encoding.upper()} text") from error
        raise UsageError(
            f"{path}:{_first_undecodable_line(path)}: not UTF-8 text (byte "
            f"{error.object[error.start]:#04x}); save it as UTF-8"
        ) from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise EnvironmentFailure(f"{path}: compressed with gzip, and damaged or cut off") from error
    except OSError as error:
        raise EnvironmentFailure(f"{path}: {error.strerror}") from error


def stem(path: Path) -> str:
    """Return the name of a file without its extension, and without ``.gz`` before that."""
    return Path(without_gz(path)).stem


def suffix(path: Path) -> str:
    """Return the extension of a file in small letters, such as ``.csv`` of ``A.CSV.gz``."""
    return Path(without_gz(path)).suffix.lower()


def without_gz(path: Path) -> str:
    """Return the name of a file as it was before it was compressed."""
    return path.stem if path.suffix.lower() == ".gz" else path.name


@contextlib.contextmanager
def _bytes_of(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as raw:
        compressed = raw.read(len(_GZIP)) == _GZIP
        raw.seek(0)
        if not compressed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw) as unpacked:
            yield cast(BinaryIO, unpacked)


def _encoding(head: bytes, path: Path) -> str:
    """The encoding of a file that begins with ``head``."""
    if not head.strip():
        raise UsageError(f"{path} is empty; the first line must name the columns")
    for beginning, reason in _OTHERS:
        if re.match(beginning, head):
            raise UsageError(f"{path}: {reason}")
    encoding = by_mark(head)
    if encoding == "utf-8-sig" and _zeros(head) > len(head) // 4:
        raise UsageError(
            f"{path}: looks like UTF-16 or UTF-32 without a byte order mark; save it as UTF-8"
        )
    _refuse_json(head.decode(encoding, errors="ignore"), path)
    return encoding


def by_mark(head: bytes) -> str:
    """The encoding of a file that begins with ``head``, by its byte order mark: UTF-16, UTF-32, or
    else UTF-8."""
    # The mark of UTF-32 begins with that of UTF-16.
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        return "utf-32"
    return "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _zeros(head: bytes) -> int:
    """The number of zeros at every second byte: most letters need one byte of two or four."""
    return max(head[::2].count(0), head[1::2].count(0))


def _refuse_json(head: str, path: Path) -> None:
    """Refuse JSON, whose commas would part it into cells."""
    if not re.match(r'\s*(\{\s*"|\[\s*[\[{])', head):
        return
    try:
        json.loads(head.strip().splitlines()[0])
        kind = "JSON Lines (one object a line)" if head.lstrip()[0] == "{" else "JSON"
    except ValueError:
        kind = "JSON"
    raise UsageError(f"{path}: holds {kind}, and not CSV; save it as CSV or Parquet")


def _first_undecodable_line(path: Path) -> int:
    """Return the number of the first line that is not UTF-8.

    The file is read again, since text is decoded in blocks that span several lines.
    """
    with _bytes_of(path) as raw:
        return next((number for number, line in enumerate(raw, start=1) if not _decodes(line)), 1)


def _decodes(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
