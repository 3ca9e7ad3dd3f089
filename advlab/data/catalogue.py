"""Descriptions of the data sets of images: plain values, read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, cast

from advlab.components import component_names, load_component

if TYPE_CHECKING:
    from advlab.data.image_set import ImageSet

PACKAGE = "advlab.data.images"


@dataclass(frozen=True)
class RemoteFile:
    """A file to be had over the network.

    Attributes:
        name: its name as downloaded, within the set's folder.
        urls: where it lies, the preferred place first; every one serves the same bytes.
        size: length in bytes.
        md5: checksum of those bytes in hex.
        unpack: what is done once the checksum was right: a .gz is unpacked beside it, a tar into
            the folder.
        archive: what a tar gives, as paths in the folder.
    """

    name: str
    urls: tuple[str, ...]
    size: int
    md5: str
    unpack: Literal["no", "gzip", "tar"] = "no"
    archive: tuple[str, ...] = ()

    @property
    def gives(self) -> tuple[str, ...]:
        """What stands in the folder in the end, as paths in it."""
        return {"no": (self.name,), "gzip": (self.name.removesuffix(".gz"),), "tar": self.archive}[
            self.unpack
        ]


@dataclass(frozen=True)
class SetInfo:
    """A data set's particulars.

    Attributes:
        title: its name as people write it.
        noun: what its images show or its texts are, in the plural, for captions.
        counts: images or texts for training, validation and test.
        shape: channels, height, width of an image, of a resizable set at its default size; empty
            for texts.
        classes: class names by label.
        source: the page to read about it.
        licence: what the source says of its use.
        folder: where it lies under the data folder; an empty string where it lies in that folder
            itself.
        keeps: what stands in ``folder`` once downloaded and unpacked, for the size on disk.
        files: what a download fetches; empty for a set that comes with a library.
        resizable: whether ``--image-size`` means anything to it.
    """

    title: str
    noun: str
    counts: tuple[int, int, int]
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    source: str
    licence: str
    folder: str = ""
    keeps: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = ()
    resizable: bool = False

    def origin(self, trained_on: int, tested_on: int) -> str:
        """The phrase for captions, with the numbers really loaded: "MNIST, 60,000 + 10,000
        handwritten digits"."""
        return f"{self.title}, {trained_on:,} + {tested_on:,} {self.noun}"


class SetModule(Protocol):
    """What every public file of this package holds."""

    INFO: SetInfo

    def present(self, data_dir: Path) -> bool:
        """Whether the set's files lie under ``data_dir``. Looks at names only."""

    def load(self, data_dir: Path, split_seed: int, image_size: int | None) -> ImageSet:
        """The set in memory, split."""


def known() -> list[str]:
    """Names of the data sets, sorted."""
    return component_names(PACKAGE)


def module_of(name: str) -> SetModule:
    """The file of a data set.

    Raises:
        UsageError: there is none of that name.
    """
    return cast(SetModule, load_component(PACKAGE, name, "data set"))
