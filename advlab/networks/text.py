"""Layers of text models. They take word numbers (N, L), 0 after the end, to logits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from advlab.config.base import Options
from advlab.config.model_modules import model_module

TEXTS = "texts"
PADDING = 0


def takes_texts(name: str) -> bool:
    """Whether a network reads texts, not images.

    Raises:
        UsageError: there is none of that name.
    """
    return getattr(model_module(name), "TAKES", "images") == TEXTS


def assemble(name: str, architecture: Options, words: int, classes: int) -> nn.Module:
    """The network ``name`` for a vocabulary of this size, with fresh weights from torch's global
    generator."""
    network: nn.Module = model_module(name).build(architecture, words, classes)
    return network


def embedding(words: int, dimension: int) -> nn.Embedding:
    """A row of small random numbers for each word, zeros for padding."""
    rows = nn.Embedding(words, dimension, padding_idx=PADDING)
    with torch.no_grad():
        rows.weight.mul_(0.1)
    return rows


def prepare(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Let a network that weighs words beforehand do so, from the training texts' numbers and
    labels; others need nothing."""
    if isinstance(model, WeightedPhrases):
        model.prepare(batches)


@torch.no_grad()
def start_from(model: nn.Module, numbers: Tensor, rows: Tensor) -> None:
    """Let the embeddings of some words start from given rows (n, dimension), brought to the size of
    the random ones.

    Vectors trained elsewhere are as long as they are; what stands beside them here is a tenth of a
    standard normal.
    """
    table = word_embedding(model)
    assert table is not None
    table.weight[numbers] = rows * (0.1 / rows.std().clamp(min=1e-12))


def word_embedding(model: nn.Module) -> nn.Embedding | None:
    """The embedding of a network's words; None for a network that has none, such as a bag of
    words."""
    embeddings = (module for module in model.modules() if isinstance(module, nn.Embedding))
    return next(embeddings, None)


class BagOfWords(nn.Module):
    """Numbers of words (N, L) to which words there are, (N, words) of 0 and 1; how often and where
    is lost."""

    def __init__(self, words: int) -> None:
        """For a vocabulary of this size."""
        super().__init__()
        self.words = words

    def forward(self, numbers: Tensor) -> Tensor:
        """The words that are there."""
        present = torch.zeros(len(numbers), self.words, device=numbers.device)
        present.scatter_(1, numbers, 1.0)
        present[:, PADDING] = 0.0
        return present


class WeightedPhrases(nn.Module):
    """The phrases of a text, each once, weighted by how much oftener they stand in texts of a
    class; and a weight of its own for each.

    A phrase of several words has its place by a sum over its words, modulo a prime, and now and
    then shares it.
    """

    _PRIME, _FACTOR = 2_147_483_647, 1_000_003

    def __init__(self, words: int, classes: int, ngrams: int, buckets: int) -> None:
        """For phrases of up to ``ngrams`` words."""
        super().__init__()
        self.words, self.ngrams, self.buckets = words, ngrams, buckets
        places = words + (buckets if ngrams > 1 else 0)
        self.register_buffer("ratio", torch.zeros(places, classes))
        self.weight = nn.Parameter(torch.full((places, classes), 0.02))
        self.bias = nn.Parameter(torch.zeros(classes))

    def places(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The places of each text's phrases, and which of them count: (N, phrases) each. A place
        that comes twice counts once."""
        columns = []
        key = torch.zeros_like(numbers)
        for n in range(self.ngrams):
            later = nn.functional.pad(numbers, (0, n))[:, n:] if n else numbers
            key = (key * self._FACTOR + later) % self._PRIME
            whole = later != PADDING
            place = numbers if n == 0 else self.words + key % self.buckets
            columns.append(torch.where(whole, place, PADDING))
        ordered = torch.cat(columns, dim=1).sort(dim=1).values
        first = torch.ones_like(ordered, dtype=torch.bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        return ordered, first & (ordered != PADDING)

    @torch.no_grad()
    def prepare(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        """Weigh the phrases: the log of how much likelier each is in texts of a class than in the
        others, with one added to every count.

        Args:
            batches: numbers of words and labels of the training texts.
        """
        counts = torch.zeros_like(self.get_buffer("ratio"))
        for numbers, labels in batches:
            places, present = self.places(numbers)
            for label in labels.unique().tolist():
                of_class = places[labels == label][present[labels == label]]
                counts[:, label] += torch.bincount(of_class, minlength=len(counts)).to(counts.dtype)
        others = counts.sum(dim=1, keepdim=True) - counts
        p, q = counts + 1, others + 1
        ratio = (p / p.sum(dim=0)).log() - (q / q.sum(dim=0)).log()
        seldom = counts.sum(dim=1) < 2
        seldom[: self.words] = False  # single words count however rare
        self.get_buffer("ratio").copy_(ratio.masked_fill(seldom[:, None], 0.0))

    def gains(self, numbers: Tensor, slopes: Tensor) -> Tensor:
        """How much a linear function of the logits rises when one word is replaced by another.

        The logits are linear in which phrases there are, so this is exact.

        Args:
            numbers: the words of one text, int64 (L,), without padding.
            slopes: the function's slope along each logit, (classes,).

        Returns:
            The rise for each place and each word of the vocabulary, (L, words).
        """
        value = (self.weight * self.get_buffer("ratio")) @ slopes
        spans = [(s, s + n) for n in range(1, self.ngrams + 1) for s in range(len(numbers) - n + 1)]
        places = {span: self._place(list(numbers[slice(*span)])) for span in spans}
        counts = torch.bincount(torch.stack(list(places.values())), minlength=len(value))
        every = torch.arange(self.words, device=numbers.device)
        rows = []
        for i in range(len(numbers)):
            covering = [(start, end) for start, end in spans if start <= i < end]
            old = torch.stack([places[span] for span in covering])
            others = counts - torch.bincount(old, minlength=len(value))
            lost = old.unique()
            removed = value[lost][others[lost] == 0].sum()
            new: list[Tensor] = []
            added = torch.zeros(self.words, dtype=value.dtype, device=value.device)
            for start, end in covering:
                words = list(numbers[start:end])
                words[i - start] = every
                place = self._place(words)
                counts_here = others[place] == 0  # a phrase that comes twice counts once
                for earlier in new:
                    counts_here = counts_here & (place != earlier)
                added += value[place] * counts_here
                new.append(place)
            rows.append(added - removed)
        return torch.stack(rows)

    def _place(self, words: Sequence[Tensor]) -> Tensor:
        """The place of the phrase of these words, each a tensor of the same shape or a single
        number."""
        if len(words) == 1:
            return words[0]
        key = torch.zeros((), dtype=torch.int64, device=words[0].device)
        for word in words:
            key = (key * self._FACTOR + word) % self._PRIME
        return self.words + key % self.buckets

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits (N, classes)."""
        places, present = self.places(numbers)
        weighted = nn.functional.embedding(places, self.weight) * nn.functional.embedding(
            places, self.get_buffer("ratio")
        )
        return (weighted * present.unsqueeze(2)).sum(dim=1) + self.bias


class Convolved(nn.Module):
    """Embedded words to the strongest answer of each filter anywhere in the text (Kim 2014,
    arXiv:1408.5882)."""

    works_through_padding = True

    def __init__(
        self, words: int, dimension: int, filters: int, widths: tuple[int, ...], dropout: float
    ) -> None:
        """So many filters of each width, in words."""
        super().__init__()
        self.embedding = embedding(words, dimension)
        self.dropout = nn.Dropout(dropout)
        self.convolutions = nn.ModuleList(nn.Conv1d(dimension, filters, width) for width in widths)

    def forward(self, numbers: Tensor) -> Tensor:
        """(N, filters · widths). A filter is asked at every word of the text, with nothing after
        its end, whatever else is padded."""
        rows = self.dropout(self.embedding(numbers)).transpose(1, 2)
        present = (numbers != PADDING).unsqueeze(1)
        answers = []
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            answer = convolution(
                nn.functional.pad(rows, (0, convolution.kernel_size[0] - 1))
            ).relu()
            answers.append((answer * present).amax(dim=2))
        return torch.cat(answers, dim=1)


class AttentionPooling(nn.Module):
    """The average of states with learned weights: softmax of v · tanh(W h + b) over the text.

    Yang et al. 2016, Hierarchical Attention Networks for Document Classification.
    """

    def __init__(self, size: int) -> None:
        """For states of this size."""
        super().__init__()
        self.hidden = nn.Linear(size, size)
        self.score = nn.Linear(size, 1, bias=False)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """States (N, L, size), of which those at ``present``, bool (N, L, 1), count, to (N,
        size)."""
        scores = self.score(self.hidden(states).tanh()).masked_fill(~present, -torch.inf)
        average: Tensor = (states * scores.softmax(dim=1)).sum(dim=1)
        return average


class Reader(nn.Module):
    """Embeds words, reads them in order with a recurrent network, and classifies by an average of
    its states."""

    works_through_padding = True

    def __init__(
        self,
        words: int,
        classes: int,
        kind: str,
        dimension: int,
        hidden: int,
        layers: int,
        dropout: float,
        *,
        both: bool,
        attention: bool = False,
    ) -> None:
        """A GRU or LSTM of this size.

        Args:
            both: read from both ends.
            attention: average the states with learned weights, and not with equal ones.
        """
        super().__init__()
        self.embedding = embedding(words, dimension)
        recurrent = nn.GRU if kind == "gru" else nn.LSTM
        self.recurrent = recurrent(
            dimension,
            hidden,
            layers,
            batch_first=True,
            dropout=dropout if layers > 1 else 0.0,
            bidirectional=both,
        )
        self.dropout = nn.Dropout(dropout)
        size = hidden * (2 if both else 1)
        self.attention = AttentionPooling(size) if attention else None
        self.last = nn.Linear(size, classes)

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits (N, classes). Padding takes no part: the sequences are packed."""
        lengths = (numbers != PADDING).sum(dim=1).clamp(min=1).cpu()
        embedded = self.dropout(self.embedding(numbers))
        packed = nn.utils.rnn.pack_padded_sequence(
            embedded, lengths, batch_first=True, enforce_sorted=False
        )
        states, _ = nn.utils.rnn.pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)
        present = (
            torch.arange(states.shape[1], device=numbers.device)
            < lengths.to(numbers.device)[:, None]
        ).unsqueeze(2)
        if self.attention is not None:
            pooled = self.attention(states, present)
        else:
            pooled = (states * present).sum(dim=1) / lengths.to(states.device)[:, None]
        logits: Tensor = self.last(self.dropout(pooled))
        return logits
