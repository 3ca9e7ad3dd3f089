"""The options of texts: where they are, how they become numbers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from advlab.components import component_names
from advlab.config import fields as f
from advlab.config.base import Flag, Options, always

_DATA = Flag(group="data")

TextColumn = Annotated[
    str | None,
    Field(min_length=1, description="csv, parquet, hf: column of the texts; by default detected"),
    _DATA,
]
Delimiter = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=2,
        description="csv: character between two cells; by default detected",
    ),
    _DATA,
]
HasHeader = Annotated[
    bool,
    Field(
        description=(
            "csv: the first row names the columns; with --no-header columns are named by number, "
            "from 1"
        )
    ),
    _DATA,
]
MergeLabels = Annotated[
    bool,
    Field(
        description=(
            "make one class of labels that differ only in case, or are the same number, such as "
            "Positive and positive, or 1 and 1.0"
        )
    ),
    _DATA,
]
MaxWords = Annotated[
    int,
    Field(
        ge=1,
        le=5000,
        description=("words read from the beginning of each text; the rest is cut off"),
    ),
    _DATA,
]
MinCount = Annotated[
    int,
    Field(
        ge=1,
        le=10_000,
        description=("number of training texts in which a word must occur to enter the vocabulary"),
    ),
    _DATA,
]
MostWords = Annotated[
    int,
    Field(
        ge=1,
        le=2_000_000,
        description=("largest size of the vocabulary; the most frequent words are kept"),
    ),
    _DATA,
]
Subwords = Annotated[
    int,
    Field(
        ge=0,
        le=1_000_000,
        description=(
            "largest number of subwords, which are learned from the training texts and into which "
            "words are divided (byte-pair encoding, arXiv:1508.07909); 0 for whole words"
        ),
    ),
    _DATA,
]


TestShare = Annotated[
    float,
    Field(gt=0, le=0.8, description="fraction of the texts held out for testing"),
    _DATA,
]


def _texts() -> list[str]:
    return ["auto", *component_names("advlab.data.texts"), "csv:", "folder:", "parquet:", "hf:"]


def _image_datasets() -> dict[str, str]:
    names = ("npz:", *component_names("advlab.data.images"))
    return dict.fromkeys(names, ", which names images; texts are taken here")


TextDataset = Annotated[
    str,
    Field(
        min_length=1,
        description=(
            "data set of texts: reviews (embedded; also auto), imdb, csv:PATH of a file or a "
            "folder with train.csv and test.csv, folder:PATH, parquet:PATH, hf:NAME of the "
            "Hugging Face Hub"
        ),
    ),
    Flag(group="data", words=_texts, hints=_image_datasets),
]


TextSplitSeed = Annotated[
    int,
    Field(ge=0, lt=2**31, description="seed of the split into training, validation and test texts"),
    Flag(group="data"),
]
TextTrainSize = Annotated[
    int | None,
    Field(ge=2, description="number of training texts, drawn by class from the training split"),
    Flag(group="data"),
]


def _refused(value: str | None) -> str | None:
    """Only networks of images start from given weights."""
    if value not in (None, "all"):
        raise PydanticCustomError("of_images", "goes with networks that take images")
    return value


NoImageColumn = Annotated[str | None, AfterValidator(_refused), Flag(group="data", in_help=False)]
NoImageSize = Annotated[int | None, Field(ge=8, le=512), Flag(group="data", in_help=False)]
NoWeights = Annotated[
    str | None,
    AfterValidator(_refused),
    Flag(group="training", in_help=False, by_content=always),
]
AllLayers = Annotated[
    Literal["all", "last"], AfterValidator(_refused), Flag(group="training", in_help=False)
]


class TextDataOptions(Options):
    """Options that choose a data set of texts."""

    dataset: TextDataset = "auto"
    split_seed: TextSplitSeed = 0
    text_column: TextColumn = None
    label_column: f.LabelColumn = None
    delimiter: Delimiter = None
    header: HasHeader = True
    merge_labels: MergeLabels = False
    test_fraction: TestShare = 0.1


class TextOptions(TextDataOptions):
    """Options of text models: how texts are read."""

    train_size: TextTrainSize = None
    image_size: NoImageSize = None
    image_column: NoImageColumn = None
    weights: NoWeights = None
    layers: AllLayers = "all"
    max_words: MaxWords = 60
    min_count: MinCount = 2
    most_words: MostWords = 50_000
    subwords: Subwords = 0

    @model_validator(mode="after")
    def _words_or_subwords(self) -> TextOptions:
        """Refuse options of vocabularies of words beside subwords."""
        if not self.subwords:
            return self
        for name in ("min_count", "most_words"):
            if getattr(self, name) != self.usual(name):
                raise not_beside_subwords(name, "chooses words for a vocabulary")
        if getattr(self, "vectors", None) not in (None, OWN_VECTORS):
            raise not_beside_subwords(
                "vectors", "names vectors of whole words, unlike --vectors train"
            )
        return self


def not_beside_subwords(option: str, reason: str) -> PydanticCustomError:
    """The refusal of an option that is about whole words."""
    return PydanticCustomError(
        "of_words",
        "{reason}",
        {"option": option, "reason": f"{reason}, and --subwords divides words"},
    )


_NETWORK = Flag(group="network")

OWN_VECTORS = "train"
"""The value of ``--vectors`` for vectors that are learned from the training texts."""

Embedding = Annotated[int, Field(ge=1, le=4096, description="size of the word embedding"), _NETWORK]
WordVectors = Annotated[
    str | None,
    Field(
        min_length=1,
        description=(
            "word vectors to start from: a file (word2vec or GloVe), which determines --embedding, "
            "or 'train' for vectors of the training texts (skip-gram, arXiv:1310.4546)"
        ),
    ),
    Flag(group="network", grid=False, place=True, by_content=lambda value: value != OWN_VECTORS),
]
AdversarialEps = Annotated[
    float,
    Field(
        ge=0,
        le=1000,
        description=(
            "adversarial training of word embeddings (arXiv:1605.07725): L2 norm of the "
            "perturbation of a text, whose embeddings are then normalised to variance 1; 0 for "
            "none, the paper takes 5"
        ),
    ),
    Flag(group="training"),
]
AdversarialWeight = Annotated[
    float,
    Field(
        ge=0,
        le=1000,
        description="weight of the loss of perturbed embeddings beside that of the texts",
    ),
    Flag(group="training"),
]


class WordEmbeddingOptions(TextOptions):
    """Options of text models that embed words: what the embeddings start from, and whether they
    are perturbed in training."""

    vectors: WordVectors = None
    adversarial_eps: AdversarialEps = 0.0
    adversarial_weight: AdversarialWeight = 1.0


HiddenState = Annotated[
    int,
    Field(ge=1, le=16_384, description="units of the recurrent state in each direction"),
    _NETWORK,
]
Layers = Annotated[int, Field(ge=1, le=16, description="number of recurrent layers"), _NETWORK]
ReadBothWays = Annotated[bool, Field(description="read the text in both directions"), _NETWORK]
Pooling = Annotated[
    Literal["mean", "attention"],
    Field(
        description=(
            "what is classified: the mean of the states, or their average with weights that are "
            "learned (Yang et al. 2016)"
        )
    ),
    _NETWORK,
]
