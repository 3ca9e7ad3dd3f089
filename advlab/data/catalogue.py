"""Descriptions of the image data sets as plain values; importing this loads no torch."""

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
    """A file that can be downloaded.

    Attributes:
        name: file name of the download, within the folder of the data set.
        urls: its mirrors in order of preference; all serve the same bytes.
        size: length in bytes.
        md5: MD5 checksum of the downloaded file, in hex.
        unpack: how the file is unpacked after its checksum was verified: "gzip" writes the
            uncompressed file beside it, "tar" extracts into the folder.
        members: top-level paths that a tar archive extracts, relative to the folder.
    """

    name: str
    urls: tuple[str, ...]
    size: int
    md5: str
    unpack: Literal["no", "gzip", "tar"] = "no"
    members: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Paths that exist in the folder after unpacking."""
        return {"no": (self.name,), "gzip": (self.name.removesuffix(".gz"),), "tar": self.members}[
            self.unpack
        ]


@dataclass(frozen=True)
class DatasetInfo:
    """Description of a data set.

    Attributes:
        title: name for readers, such as "Fashion-MNIST".
        noun: what the images show or what the texts are, in the plural, for captions.
        counts: numbers of training, validation and test examples.
        shape: (channels, height, width) of an image, at the default size if the set is resizable;
            empty for texts.
        classes: class names by label.
        source: URL of the page that describes the data set.
        licence: licence as stated by the source.
        folder: folder of the files, relative to the data folder; empty for the data folder itself.
        stored: glob patterns of the unpacked files in ``folder``, from which the size on disk is
            computed.
        files: files to download; empty for a data set that ships with a library.
        resizable: whether the data set accepts ``--image-size``.
    """

    title: str
    noun: str
    counts: tuple[int, int, int]
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    source: str
    licence: str
    folder: str = ""
    stored: tuple[str, ...] = ()
    files: tuple[RemoteFile, ...] = ()
    resizable: bool = False

    def origin(self, trained_on: int, tested_on: int) -> str:
        """Return the phrase for captions, such as "MNIST, 60,000 + 10,000 handwritten digits".

        Args:
            trained_on: number of loaded training and validation examples.
            tested_on: number of loaded test examples.
        """
        return f"{self.title}, {trained_on:,} + {tested_on:,} {self.noun}"


class DatasetModule(Protocol):
    """Interface of every public module in the package of image data sets."""

    INFO: DatasetInfo

    def present(self, data_dir: Path) -> bool:
        """Return whether the files exist under ``data_dir``; their content is not checked."""

    def load(self, data_dir: Path, split_seed: int, image_size: int | None) -> ImageSet:
        """Load the data set into memory, split into training, validation and test images."""


def dataset_names() -> list[str]:
    """Return the names of the image data sets, sorted."""
    return component_names(PACKAGE)


def dataset_module(name: str) -> DatasetModule:
    """Return the module of an image data set.

    Raises:
        UsageError: no data set has this name.
    """
    return cast(DatasetModule, load_component(PACKAGE, name, "data set"))
