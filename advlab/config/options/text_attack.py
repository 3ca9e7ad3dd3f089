"""The options that all attacks on texts share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from advlab.config import fields as f
from advlab.config.base import Flag, always
from advlab.config.options.run import RunOptions, Sees
from advlab.config.options.text import TextDataOptions
from advlab.config.references import LIBRARIES, names_ensemble, names_file

_TARGET = "target model"


def _names() -> list[str]:
    return ["auto", *f.text_models()]


def _image_networks() -> dict[str, str]:
    names = (*f.image_models(), *LIBRARIES)
    return dict.fromkeys(names, ", which takes images; this attack changes texts")


TextModel = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "target model: a checkpoint or the folder of a run that was trained on texts; a "
            "network such as textcnn for its newest run on the data set, auto for the newest of "
            "any network. Without a run, the network is trained first (textcnn for auto)"
        ),
    ),
    Flag(
        group=_TARGET,
        words=_names,
        accepts=lambda text: names_file(text) or names_ensemble(text),  # which is refused in words
        others="a checkpoint or the folder of a run",
        hints=_image_networks,
        place=True,
    ),
]
TextCheckpoint = Annotated[
    str | None,
    Field(min_length=1, description="the same as --model with a checkpoint or a run's folder"),
    Flag(group=_TARGET, in_help=False, place=True, by_content=always),
]
MaxPerturbed = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description=(
            "largest fraction of a text's words that may be changed, rounded up to whole words"
        ),
    ),
    f.PERTURBATION,
]
SimilarityVectors = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "vectors in which words are similar: a file (word2vec or GloVe), or the run of a "
            "network with embeddings; by default the target model's own embeddings"
        ),
    ),
    Flag(group="perturbation", place=True, by_content=always),
]
TextLimit = Annotated[
    int | None,
    Field(ge=1, description="use only N of the test texts, drawn at random by --split-seed"),
    Flag(group="data"),
]
OnlyFloat32 = Annotated[
    Literal["auto", "fp32"],
    Field(description="floating-point format of networks and gradients: float32"),
    Flag(group="run"),
]


class TextAttackOptions(TextDataOptions, RunOptions):
    """Options of every attack on texts. An attack's file derives from it and adds its own.

    Attributes:
        sees, checked_against: as of ``ImageAttackOptions``.
        takes_subwords: whether it may attack networks whose vocabulary is one of subwords.
    """

    sees: ClassVar[Sees] = "gradients"
    checked_against: ClassVar[str]
    takes_subwords: ClassVar[bool] = False

    data_dir: f.DataDir = "data"
    model: TextModel = "auto"
    checkpoint: TextCheckpoint = None
    max_perturbed: MaxPerturbed = 0.15
    vectors: SimilarityVectors = None
    limit: TextLimit = None
    precision: OnlyFloat32 = "auto"
