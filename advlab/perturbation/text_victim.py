"""The network that an attack on texts is about, and what the attack may ask it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from advlab.data.vocabulary import Vocabulary
from advlab.data.word_space import WordSpace
from advlab.networks.replacement import replacement_gains

_ROWS = 256  # texts in one pass; fixed, since sums differ in their last bits between batch sizes


class TextVictim:
    """A network that reads texts, with its vocabulary. It counts its queries.

    One text is attacked at a time, and all rows of a pass are variants of it, of one length.
    Nothing therefore depends on which other texts are attacked.

    Attributes:
        vocabulary: of the network.
        space: the vectors in which words are similar; None where there are none.
        queries: how many texts the network was asked about; a gradient counts as one more.
    """

    def __init__(
        self,
        network: nn.Module,
        vocabulary: Vocabulary,
        device: torch.device,
        space: WordSpace | None = None,
    ) -> None:
        """The network is moved to ``device`` and must be in evaluation mode."""
        self._network = network.to(device)
        self._device = device
        self.vocabulary = vocabulary
        self.space = space
        self.queries = 0

    def numbers(self, words: Sequence[str]) -> list[int]:
        """The indices of words, as the network reads them; of no words that of an unknown one."""
        return self.vocabulary.encode_words(words)

    def logits(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Logits of texts, float32 (N, classes), on the CPU. Texts of one length share a pass, so
        that none is padded."""
        self.queries += len(rows)
        places: dict[int, list[int]] = {}
        for place, row in enumerate(rows):
            places.setdefault(len(row), []).append(place)
        order = [place for of_length in places.values() for place in of_length]
        with torch.inference_mode():
            logits = torch.cat(
                [
                    self._network(part).float().cpu()
                    for of_length in places.values()
                    for part in torch.tensor(
                        [rows[place] for place in of_length], device=self._device
                    ).split(_ROWS)
                ]
            )
        return logits[torch.tensor(order).argsort()]

    def margins(self, rows: Sequence[Sequence[int]], label: int) -> list[float]:
        """By how much the largest other logit exceeds the label's; see ``margin``."""
        return margin(self.logits(rows), label).tolist()

    def gains(self, rows: Sequence[Sequence[int]], label: int) -> Tensor:
        """How much the margin rises to first order with each replacement of one word.

        Returns:
            (N, L, words), on the CPU.
        """
        self.queries += len(rows)
        numbers = torch.tensor(rows, device=self._device)
        return replacement_gains(self._network, numbers, lambda logits: margin(logits, label)).cpu()


def margin(logits: Tensor, label: int) -> Tensor:
    """The largest logit of another class less the label's, (N,).

    Attacks on texts raise it, and a text is broken where it is at least 0, as ties count as wrong.
    For two classes it ranks texts as the cross-entropy does, but it does not round to a limit where
    the network is certain.
    """
    others = logits.clone()
    others[:, label] = -torch.inf
    return others.amax(dim=1) - logits[:, label]


def is_broken(value: float) -> bool:
    """Whether a text of this margin is misclassified; one that is not a number counts as wrong."""
    return not value < 0
