"""Files of texts, and the options they are read with, for the tests of texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advlab.models import bow


def options(**values: Any) -> bow.Options:
    return bow.Options(**values)


def written(folder: Path, content: str | bytes, name: str = "some.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file
