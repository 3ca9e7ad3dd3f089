"""An encoder of texts by self-attention. It takes word numbers (N, L), 0 after the end, to
logits."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from advlab.networks.text import PADDING, embedding

_INNER = 4  # width of a feed-forward layer over that of its block, as in arXiv:1706.03762
_LONGEST_WAVE = 10_000.0  # of the positions, over 2π, in words; from the same paper


def positions(length: int, width: int, like: Tensor) -> Tensor:
    """Sinusoids of the place of a word (arXiv:1706.03762), (length, width): the sine of each
    frequency in even columns and its cosine in odd ones.

    They are computed and not learned, so that a text may be longer than those of the training.

    Args:
        like: a tensor of the device and the type that the result is to have.
    """
    place = torch.arange(length, device=like.device, dtype=like.dtype)[:, None]
    column = torch.arange(width, device=like.device)
    exponent = (column // 2 * 2).to(like.dtype) / width
    angle = place / _LONGEST_WAVE**exponent
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


class SelfAttention(nn.Module):
    """Scaled dot-product attention of several heads among the words of a text
    (arXiv:1706.03762)."""

    def __init__(self, width: int, heads: int) -> None:
        """``heads`` must divide ``width``."""
        super().__init__()
        self.heads = heads
        self.into = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """States (N, L, width) to the same shape.

        Args:
            present: which places hold a word, bool (N, L), at least one in each text; no word
                attends to the others.
        """
        count, length, width = states.shape
        parts = self.into(states).view(count, length, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        # On CUDA, masked attention of one kernel has a backward pass that is not repeatable.
        with sdpa_kernel(SDPBackend.MATH) if states.is_cuda else nullcontext():
            mixed = nn.functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=present[:, None, None, :]
            )
        attended: Tensor = self.out(mixed.transpose(1, 2).reshape(count, length, width))
        return attended


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each after a layer normalisation and beside a
    residual connection (pre-norm, arXiv:2002.04745)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Dropout acts on what each of the two adds."""
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.before_feedforward = nn.LayerNorm(width)
        self.feedforward = nn.Sequential(
            nn.Linear(width, _INNER * width), nn.GELU(), nn.Linear(_INNER * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, states: Tensor, present: Tensor) -> Tensor:
        """States (N, L, width) to the same shape; see ``SelfAttention``."""
        attended = self.attention(self.before_attention(states), present)
        states = states + self.dropout(attended)
        added: Tensor = self.dropout(self.feedforward(self.before_feedforward(states)))
        return states + added


class Encoder(nn.Module):
    """Embeds words, adds their positions, applies blocks of self-attention, and classifies by the
    mean of the states."""

    works_through_padding = True

    def __init__(
        self,
        words: int,
        classes: int,
        dimension: int,
        width: int,
        heads: int,
        blocks: int,
        dropout: float,
    ) -> None:
        """An encoder of this size.

        Args:
            dimension: of the word embedding, which a linear layer brings to ``width``.
            width: of the states between the blocks; a multiple of ``heads``.
        """
        super().__init__()
        self.embedding = embedding(words, dimension)
        self.scale = dimension**0.5  # embeddings are as large as positions, as in arXiv:1706.03762
        self.into = nn.Linear(dimension, width)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, classes)

    def forward(self, numbers: Tensor) -> Tensor:
        """Logits (N, classes). No word attends to padding, nor does the mean include any."""
        present = numbers != PADDING
        present[:, 0] = True  # attention in a text without any word would be 0 / 0
        states = self.into(self.embedding(numbers) * self.scale)
        states = self.dropout(states + positions(states.shape[1], states.shape[2], states))
        for block in self.blocks:
            states = block(states, present)
        states = self.norm(states) * present.unsqueeze(2)
        mean = states.sum(dim=1) / present.sum(dim=1, keepdim=True)
        logits: Tensor = self.last(self.dropout(mean))
        return logits
