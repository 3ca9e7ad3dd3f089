"""IMDb: 50,000 long film reviews, good or bad (Maas et al. 2011), half of them for testing.

``aclImdb/`` lies as its archive leaves it: ``train/`` and ``test/``, with ``neg/`` and ``pos/`` in
each and a review in each file. What lies in ``train/unsup/`` has no label and is not read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from advlab.data.catalogue import RemoteFile, SetInfo

if TYPE_CHECKING:
    from pathlib import Path

    from advlab.data.raw_texts import Raw

_URL = "https://ai.stanford.edu/~amaas/data/sentiment/"
_FOLDERS = ("neg", "pos")

INFO = SetInfo(
    title="IMDb",
    noun="film reviews",
    counts=(22_500, 2_500, 25_000),
    shape=(),
    classes=("negative", "positive"),
    source=_URL,
    licence="none stated; to be cited",
    keeps=("aclImdb",),
    files=(
        RemoteFile(
            "aclImdb_v1.tar.gz",
            (_URL + "aclImdb_v1.tar.gz",),
            84_125_825,
            "7c2ac02c03563afcf9b574c7e56c153a",
            unpack="tar",
            archive=("aclImdb",),
        ),
    ),
)


def present(data_dir: Path) -> bool:
    """Whether all four folders lie there."""
    return all(
        (data_dir / "aclImdb" / part / name).is_dir()
        for part in ("train", "test")
        for name in _FOLDERS
    )


def load(data_dir: Path) -> Raw:
    """The reviews, their line breaks, which are HTML's, made into spaces.

    Raises:
        UsageError: a file is no text.
        EnvironmentFailure: one cannot be read.
    """
    from advlab.data.formats import text_folder
    from advlab.data.raw_texts import Raw

    (texts, labels, _), (test_texts, test_labels, _) = (
        text_folder.read(data_dir / "aclImdb" / part, _FOLDERS) for part in ("train", "test")
    )
    return Raw(
        _plain(texts),
        labels,
        INFO.classes,
        INFO.title,
        INFO.noun,
        test=(_plain(test_texts), test_labels),
    )


def _plain(texts: list[str]) -> list[str]:
    return [text.replace("<br />", " ") for text in texts]
