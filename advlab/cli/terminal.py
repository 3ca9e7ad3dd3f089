"""Output in any encoding: characters that a terminal lacks are written in ASCII."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

_HANDLER = "advlab-ascii"

# What NFKD does not take apart. "?" stands for the rest.
_ASCII = {
    "±": "+/-",
    "·": "|",
    "×": "x",
    "−": "-",
    "–": "-",
    "—": "-",
    "‖": "||",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "∞": "inf",
    "→": "->",
    "←": "<-",
    "√": "sqrt",
    "∂": "d",
    "∇": "grad ",
    "⌈": "ceil(",
    "⌉": ")",
    "✗": "x",
    "✓": "ok",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "ß": "ss",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "eps",
    "η": "eta",
    "θ": "theta",
    "λ": "lambda",
    "μ": "mu",
    "σ": "sigma",
    "Σ": "sum",
    "τ": "tau",
}


def use_any_encoding() -> None:
    """Let standard output and standard error take every text, whatever their encoding.

    In a C locale neither can write ε. Python then stops with an error on one and writes
    ``\\u03b5`` to the other.
    """
    codecs.register_error(_HANDLER, _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors != _HANDLER:
            stream.reconfigure(errors=_HANDLER)


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """What stands in for the characters that could not be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    if all("\udc80" <= character <= "\udcff" for character in characters):
        # Bytes of a file name that are no text: they are written as they are.
        return bytes(ord(character) - 0xDC00 for character in characters), error.end
    return "".join(map(_in_ascii, characters)), error.end


def _in_ascii(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    parts = unicodedata.normalize("NFKD", character)
    plain = "".join(part for part in parts if part.isascii())
    return plain or "?"
