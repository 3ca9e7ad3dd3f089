"""The options of texts: where they are, how they become numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from advlab.components import component_names
from advlab.config.base import Flag, Options

_DATA = Flag(group="data")

TextColumn = Annotated[
    str | None,
    Field(min_length=1, description="csv: the column of the texts; found where not given"),
    _DATA,
]
LabelColumn = Annotated[
    str | None,
    Field(min_length=1, description="csv: the column of the labels; found where not given"),
    _DATA,
]
Delimiter = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=2,
        description="csv: what is between two cells; found where not given",
    ),
    _DATA,
]
MaxWords = Annotated[
    int, Field(ge=1, le=5000, description="words of a text that are read; the rest is cut"), _DATA
]
MinCount = Annotated[
    int,
    Field(ge=1, le=10_000, description="training texts that a word must stand in to be known"),
    _DATA,
]
MostWords = Annotated[
    int,
    Field(ge=1, le=2_000_000, description="words that are known at most, the most frequent ones"),
    _DATA,
]


TestShare = Annotated[
    float,
    Field(gt=0, le=0.8, description="fraction of the texts that is held out to test on"),
    _DATA,
]


def _texts() -> list[str]:
    return ["auto", *component_names("advlab.data.texts"), "csv:", "folder:"]


TextDataset = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "a set of texts: reviews (embedded; what auto is), imdb, csv:PATH of a file, or of "
            "train.csv and test.csv, folder:PATH"
        ),
    ),
    Flag(group="data", words=_texts),
]


class TextOptions(Options):
    """Options of text models: how texts are read."""

    dataset: TextDataset = "auto"
    text_column: TextColumn = None
    label_column: LabelColumn = None
    delimiter: Delimiter = None
    max_words: MaxWords = 60
    min_count: MinCount = 2
    most_words: MostWords = 50_000
    test_fraction: TestShare = 0.1


_NETWORK = Flag(group="network")

Embedding = Annotated[
    int, Field(ge=1, le=4096, description="numbers that stand for a word"), _NETWORK
]
WordVectors = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "a file of word vectors to start from, word2vec's or GloVe's; --embedding is then "
            "theirs"
        ),
    ),
    Flag(group="network", grid=False),
]
HiddenState = Annotated[
    int, Field(ge=1, le=16_384, description="units of the recurrent state, each way"), _NETWORK
]
Layers = Annotated[
    int, Field(ge=1, le=16, description="recurrent layers, one on another"), _NETWORK
]
ReadBothWays = Annotated[bool, Field(description="read the text from both ends"), _NETWORK]
