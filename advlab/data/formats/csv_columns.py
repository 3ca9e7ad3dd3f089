"""Which columns of a CSV file hold the texts, the labels and the part of each row.

Columns that are not named are found by usual names, or else by what they hold in the whole file:
rows are often sorted by label, so that the first ones show one class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advlab.components import suggestion
from advlab.data import split_words
from advlab.data.formats.columns import other_columns, usual_name
from advlab.errors import UsageError

MAX_CLASSES = 100
TEXT_NAMES = (
    "text",
    "content",
    "review",
    "sentence",
    "tweet",
    "comment",
    "message",
    "body",
    "document",
    "phrase",
    "reviewtext",
    "tweettext",
    "fulltext",
)
LABEL_NAMES = (
    "label",
    "labels",
    "goldlabel",
    "labelname",
    "sentiment",
    "emotion",
    "class",
    "target",
    "category",
    "polarity",
    "verdict",
    "gold",
    "stance",
    "stars",
    "rating",
    "labelid",
    "y",
)
_FEW_TIMES = 5
"""A column with up to so many times as many different cells as another one may be meant as well:
three stances and two languages, but not two classes and fifty authors."""
_SENTENCE = 3  # words on average in cells that are texts rather than names or addresses
_LONG_CELL = 100  # characters of a cell beyond which its hash is kept


@dataclass(frozen=True)
class Columns:
    """The names of the columns, the indices of those that are read, and what a reader should know
    of the others."""

    names: list[str]
    text: int
    label: int
    split: int | None
    remarks: tuple[str, ...]


@dataclass
class Content:
    """What a column holds in the whole file.

    Attributes:
        rows: number of cells that are not empty.
        different: these cells, or hashes of long ones, up to one more than the largest number of
            classes.
        characters: number of characters of all cells.
        words: number of words between spaces.
    """

    rows: int = 0
    different: set[str | int] = field(default_factory=set)
    characters: int = 0
    words: int = 0

    def add(self, cell: str) -> None:
        """Count a cell."""
        if not cell:
            return
        self.rows += 1
        self.characters += len(cell)
        self.words += cell.count(" ") + 1
        if len(self.different) <= MAX_CLASSES:
            self.different.add(cell if len(cell) <= _LONG_CELL else hash(cell))

    def may_be_labels(self) -> bool:
        """Return whether there are several different cells, and some of them more than once."""
        return 2 <= len(self.different) <= MAX_CLASSES and len(self.different) < self.rows

    def words_each(self) -> float:
        """Return the mean number of words of the cells that are not empty."""
        return self.words / max(1, self.rows)


def contents_of(rows: Iterable[Sequence[str]], count: int) -> list[Content]:
    """Return what each of ``count`` columns holds. Rows of too few cells are refused elsewhere."""
    contents = [Content() for _ in range(count)]
    for row in rows:
        if len(row) >= count:
            for content, cell in zip(contents, row, strict=False):
                content.add(cell.strip())
    return contents


def find(
    path: Path,
    names: list[str],
    text_column: str | None,
    label_column: str | None,
    read_contents: Callable[[], list[Content]],
    is_part: bool = False,
) -> Columns:
    """Find the columns of texts and labels, and one that tells the part of each row.

    Args:
        text_column, label_column: names that are given.
        read_contents: reads what the columns hold; called where names do not suffice.
        is_part: whether the file is one part of a data set, so that no column tells the parts.

    Raises:
        UsageError: there is no such column, or several may be meant.
    """
    text = _named(path, names, text_column, "--text-column", TEXT_NAMES)
    label = _named(path, names, label_column, "--label-column", LABEL_NAMES)
    of_parts = [number for number, name in enumerate(names) if split_words.is_column(name)]
    contents = read_contents() if text is None or label is None or of_parts else []
    split = next(
        (
            number
            for number in of_parts
            if not is_part
            and number not in (text, label)
            and not split_words.is_flag(names[number])
            and {"train", "test"} <= _parts_in(contents[number])
        ),
        None,
    )
    if text is None:
        text = _text_column(path, names, contents, [label, *of_parts])
    if label is None:
        label = _label_column(path, names, contents, text, split, of_parts)
    _check(path, names, text, label)
    assert text is not None
    assert label is not None
    unused = [number for number in of_parts if number not in (text, label, split)]
    others = [name for number, name in enumerate(names) if number not in (text, label)]
    remarks = [
        f"{path}: column {names[number]!r} is not used as the split; "
        + _reason(names[number], contents[number], is_part)
        for number in unused
    ]
    for chosen, requested, usual, flag in (
        (label, label_column, LABEL_NAMES, "--label-column"),
        (text, text_column, TEXT_NAMES, "--text-column"),
    ):
        meant = [name for name in others if usual_name(name) in usual]
        if requested is None:
            remarks = [*other_columns(str(path), names[chosen], meant, flag), *remarks]
    return Columns(names, text, label, split, tuple(remarks))


def same_column(
    path: Path, names: Sequence[str], remarks: list[str], wanted: str, noun: str, flag: str
) -> str:
    """Return the name of the column that has the name of a column of the training part.

    Names that differ in case, spaces, hyphens and underscores alone are the same.

    Args:
        names: those of the columns of the file.
        remarks: a sentence is added here where the name is spelled otherwise.
        noun: what the column holds, in the plural.
        flag: the option that names it.

    Raises:
        UsageError: there is none, or several in other spellings.
    """
    if wanted in names:
        return wanted
    spelled = [name for name in names if usual_name(name) == usual_name(wanted)]
    if len(spelled) == 1:
        remarks.append(f"{path}: column {spelled[0]!r} is read as {wanted!r} of the training part")
        return spelled[0]
    raise UsageError(
        f"{path}: has no column {wanted!r}, which holds the {noun} of the training part; it has "
        f"{', '.join(names)[:200]}; {flag} names a column of all parts"
    )


def is_usual(text_name: str, label_name: str) -> bool:
    """Return whether either of two columns has a usual name of its content."""
    return usual_name(text_name) in TEXT_NAMES or usual_name(label_name) in LABEL_NAMES


def _named(
    path: Path, names: list[str], requested: str | None, flag: str, usual: tuple[str, ...]
) -> int | None:
    """The index of the requested column, or else of the first one with a usual name."""
    if requested is not None:
        if requested not in names:
            raise UsageError(
                f"{flag} {requested}: {path} has no such column{suggestion(requested, names)}; "
                f"it has {', '.join(names)[:200]}"
            )
        return names.index(requested)
    keys = [usual_name(name) for name in names]
    return next((keys.index(name) for name in usual if name in keys), None)


def _parts_in(content: Content) -> set[str]:
    """The parts that cells name."""
    parts = {split_words.part_of(cell) for cell in content.different if isinstance(cell, str)}
    return {part for part in parts if part is not None}


def _text_column(
    path: Path, names: list[str], contents: list[Content], excluded: Sequence[int | None]
) -> int | None:
    """The index of the column with the longest cells, of sentences where there are any."""
    columns = [column for column in range(len(names)) if column not in excluded]
    sentences = [column for column in columns if contents[column].words_each() >= _SENTENCE]
    columns = sentences or columns
    columns.sort(key=lambda column: -contents[column].characters)
    if not columns:
        return None
    half = contents[columns[0]].characters / 2
    equal = [column for column in columns if contents[column].characters >= half]
    if sentences and len(equal) > 1:
        listed = ", ".join(repr(names[column]) for column in equal[:5])
        raise UsageError(
            f"{path}: several columns may hold the texts: {listed}; --text-column must name one"
        )
    return columns[0]


def _label_column(
    path: Path,
    names: list[str],
    contents: list[Content],
    text: int | None,
    split: int | None,
    of_parts: Sequence[int],
) -> int | None:
    """The index of the column that has few different cells, each more than once."""
    others = [column for column in range(len(names)) if column not in (text, split)]
    fitting = [column for column in others if contents[column].may_be_labels()]
    fitting = [column for column in fitting if column not in of_parts] or fitting
    if not fitting:
        return others[0] if len(others) == 1 else None
    counts = {column: len(contents[column].different) for column in fitting}
    equal = [column for column in fitting if counts[column] <= _FEW_TIMES * min(counts.values())]
    if len(equal) > 1:
        listed = ", ".join(f"{names[column]!r} ({counts[column]})" for column in equal[:5])
        raise UsageError(
            f"{path}: several columns may hold the labels, by how many different cells they have: "
            f"{listed}; --label-column must name one"
        )
    return equal[0]


def _check(path: Path, names: list[str], text: int | None, label: int | None) -> None:
    """Refuse columns that are not there, are one, or are not the only ones of their name."""
    for column in (text, label):
        if column is not None and names.count(names[column]) > 1:
            raise UsageError(
                f"{path}: {names.count(names[column])} columns are named {names[column]!r}; rename "
                "the others"
            )
    if text is not None and label is not None and text != label:
        return
    if len(names) == 1:
        raise UsageError(
            f"{path}: there is one column, {names[0][:200]!r}; --delimiter names the character "
            "between the cells, and a title or comment above the header must be removed"
        )
    raise UsageError(
        f"{path}: cannot detect the columns; --text-column and --label-column must name two of "
        f"{', '.join(names)[:200]}"
    )


def _reason(name: str, content: Content, is_part: bool) -> str:
    """Why a column that might tell the part of each row does not."""
    if is_part:
        return "names of files tell the parts"
    if split_words.is_flag(name):
        return "a column named split, with train and test, would be"
    cells = sorted(str(cell) for cell in content.different)
    listed = ", ".join(map(repr, cells[:3])) + (", …" if len(cells) > 3 else "")
    return f"it must name train and test, and holds {listed or 'nothing'}"
