"""One HTML page of figures with captions, without scripts or network requests."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from urllib.parse import quote

from advlab.runs.files import write_text

_STYLE = """
  :root { color-scheme: light dark; }
  body { font: 17px/1.55 system-ui, sans-serif; }
  body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
  h1, h2 { line-height: 1.2; }
  h2 { margin-top: 3rem; border-top: 1px solid #8888; padding-top: 1.2rem; }
  pre { background: #8882; padding: .6rem .8rem; border-radius: .3rem; }
  pre { overflow-x: auto; font-size: .9rem; }
  figure { margin: 1.6rem 0; } figcaption { margin-top: .4rem; }
  img { max-width: 100%; height: auto; background: #fff; border-radius: .2rem; }
  table { border-collapse: collapse; }
  th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #8884; }
  footer { margin-top: 3rem; font-size: .85rem; opacity: .8; }
"""


@dataclass(frozen=True)
class Picture:
    """A picture file and the sentence under it."""

    file: Path
    words: str


@dataclass(frozen=True)
class Section:
    """A heading, what was typed, what came out in a sentence or two, and pictures of it."""

    title: str
    lines: Sequence[str]
    words: str
    pictures: Sequence[Picture]


def write_page(
    path: Path,
    title: str,
    introduction: str,
    summary: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    footer: str,
) -> None:
    """Write the page, whole or not at all. Pictures are linked by where they lie, as seen from the
    page's own folder.

    Args:
        summary: rows of a small table under the introduction: what, and its figure.
    """
    rows = "\n".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in summary
    )
    body = "\n".join(_section(section, path.parent) for section in sections)
    write_text(
        path,
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{escape(introduction)}</p>
<table>
{rows}
</table>
{body}
<footer>{escape(footer)}</footer>
</body>
</html>
""",
    )


def _section(section: Section, base: Path) -> str:
    typed = escape("\n".join(section.lines))
    figures = "\n".join(_figure(picture, base) for picture in section.pictures)
    head = f"<h2>{escape(section.title)}</h2>\n<pre>{typed}</pre>"
    return f"{head}\n<p>{escape(section.words)}</p>\n{figures}"


def _figure(picture: Picture, base: Path) -> str:
    place = quote(Path(os.path.relpath(picture.file, base)).as_posix())
    words = escape(picture.words)
    return (
        f'<figure><a href="{place}"><img src="{place}" '
        f'alt="{escape(picture.words, quote=True)}"></a><figcaption>{words}</figcaption></figure>'
    )
