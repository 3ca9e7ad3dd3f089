"""IMDb: 50,000 film reviews, positive or negative (Maas et al. 2011), half of them for testing.

``aclImdb/`` has the layout of its archive: ``train/`` and ``test/``, with ``neg/`` and ``pos/`` in
each and one review per file. The unlabelled reviews in ``train/unsup/`` are not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.data.catalogue import DatasetInfo, RemoteFile

if TYPE_CHECKING:
    from pathlib import Path

    from advlab.data.raw_texts import RawTexts

_URL = "https://ai.stanford.edu/~amaas/data/sentiment/"
_FOLDERS = ("neg", "pos")

INFO = DatasetInfo(
    title="IMDb",
    noun="film reviews",
    counts=(22_500, 2_500, 25_000),
    shape=(),
    classes=("negative", "positive"),
    source=_URL,
    licence="none stated; to be cited",
    stored=("aclImdb",),
    files=(
        RemoteFile(
            "aclImdb_v1.tar.gz",
            (_URL + "aclImdb_v1.tar.gz",),
            84_125_825,
            "7c2ac02c03563afcf9b574c7e56c153a",
            unpack="tar",
            members=("aclImdb",),
        ),
    ),
)


def present(data_dir: Path) -> bool:
    """Return whether all four folders exist under ``data_dir``."""
    return all(
        (data_dir / "aclImdb" / part / name).is_dir()
        for part in ("train", "test")
        for name in _FOLDERS
    )


def load(data_dir: Path) -> RawTexts:
    """Read the reviews, with HTML line breaks replaced by spaces.

    Raises:
        UsageError: a file is not text.
        EnvironmentFailure: a file cannot be read.
    """
    from advlab.data.formats import text_folder
    from advlab.data.raw_texts import RawTexts

    train, test = (
        text_folder.read_classes(data_dir / "aclImdb" / part, _FOLDERS)
        for part in ("train", "test")
    )
    return RawTexts(
        _plain(train.texts),
        train.labels,
        INFO.classes,
        INFO.title,
        INFO.noun,
        test=(_plain(test.texts), test.labels),
    )


def _plain(texts: list[str]) -> list[str]:
    return [text.replace("<br />", " ") for text in texts]
