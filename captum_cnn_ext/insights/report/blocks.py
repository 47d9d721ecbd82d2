"""What a section of the report is made of. Plain data; the template turns it into HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.errors import ArgumentError

Tone = Literal["plain", "note", "fine", "warning", "error"]
Cell = str | int | float | None


@dataclass(frozen=True)
class Text:
    """A paragraph; with a tone other than "plain" it stands in a box."""

    kind: ClassVar[str] = "text"
    text: str
    tone: Tone = "plain"

    __repr__ = brief


@dataclass(frozen=True)
class Listing:
    """A short list under a heading line, such as what was left out and why."""

    kind: ClassVar[str] = "listing"
    title: str
    items: Sequence[str]
    tone: Tone = "note"

    __repr__ = brief


@dataclass(frozen=True)
class Facts:
    """Names and values, one pair per line."""

    kind: ClassVar[str] = "facts"
    pairs: Sequence[tuple[str, str]]

    __repr__ = brief


@dataclass(frozen=True)
class Column:
    """A column of a table; numbers are aligned to the right and sorted as numbers.

    ``tones`` colour cells with these texts. A column that is not ``shown`` is in the file only.
    """

    title: str
    number: bool = False
    tones: Mapping[str, Tone] = field(default_factory=dict)
    shown: bool = True

    __repr__ = brief

    @staticmethod
    def texts(*titles: str) -> list[Column]:
        """Columns of texts under these titles."""
        return [Column(title) for title in titles]

    @staticmethod
    def numbers(*titles: str) -> list[Column]:
        """Columns of numbers under these titles."""
        return [Column(title, number=True) for title in titles]


@dataclass(frozen=True)
class Table:
    """Rows of cells, None where there is nothing; readers sort by clicking on a column's head.

    ``anchors`` names rows so that links can lead to them: one for each row, or none.
    """

    kind: ClassVar[str] = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    anchors: Sequence[str] = ()

    __repr__ = brief

    def __post_init__(self) -> None:
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            raise ValueError(
                f"rows: got a row of {len(wrong[0])} cells, expected {len(self.columns)}"
            )

    def column(self, title: str) -> list[Cell]:
        """The cells under a title, from top to bottom.

        Raises:
            ArgumentError: no column has this title, or several have.
        """
        titles = [column.title for column in self.columns]
        if titles.count(title) != 1:
            few = "several columns" if title in titles else "no column"
            raise ArgumentError(f"title={title!r}: {few} of this title; there are {titles}")
        place = titles.index(title)
        return [row[place] for row in self.rows]

    def on_page(self, join: bool = False) -> Table:
        """The columns that are shown; to ``join``, rows that are equal but for their first cell."""
        places = [place for place, column in enumerate(self.columns) if column.shown]
        rows = [[row[place] for place in places] for row in self.rows]
        columns = [self.columns[place] for place in places]
        if self.anchors or not join:
            return Table(self.caption, columns, rows, self.anchors)
        joined: dict[tuple[Cell, ...], str] = {}
        for first, *rest in rows:
            known = joined.get(tuple(rest))
            joined[tuple(rest)] = str(first) if known is None else f"{known}, {first}"
        return Table(self.caption, columns, [[names, *rest] for rest, names in joined.items()])


@dataclass(frozen=True)
class Picture:
    """A WebP or PNG with its size in pixels, words for who cannot see it, and a caption.

    ``code`` is the Python that draws it again, given ``model`` and the inputs ``x``.
    """

    kind: ClassVar[str] = "picture"
    data: bytes
    width: int
    height: int
    alt: str
    title: str = ""
    caption: str = ""
    code: str = ""

    __repr__ = brief

    @property
    def format(self) -> str:
        """Of the file: "webp" or "png"."""
        return "webp" if self.data[8:12] == b"WEBP" else "png"


@dataclass(frozen=True)
class Drawing:
    """A drawing as SVG that holds shapes, texts and links within the page; nothing else."""

    kind: ClassVar[str] = "drawing"
    svg: str
    alt: str
    code: str = ""

    __repr__ = brief


@dataclass(frozen=True)
class Panels:
    """Pictures side by side, as many in a row as the screen holds; large ones two.

    ``together`` pictures in turn, such as now and before, are never parted by the end of a row.
    """

    kind: ClassVar[str] = "panels"
    title: str
    pictures: Sequence[Picture]
    large: bool = False
    medium: bool = False
    together: int = 1

    __repr__ = brief


@dataclass(frozen=True)
class ColorScale:
    """Colours from low to high with the words for both ends."""

    kind: ClassVar[str] = "color_scale"
    colors: Sequence[str]
    low: str
    high: str


@dataclass(frozen=True)
class Bar:
    """One line of a prediction: its label, its share of the full width, its number as text."""

    label: str
    share: float
    text: str
    explained: bool = False


@dataclass(frozen=True)
class Prediction:
    """A photo with the classes that the network finds in it, strongest first."""

    photo: Picture
    bars: Sequence[Bar]


@dataclass(frozen=True)
class Predictions:
    """Predictions side by side."""

    kind: ClassVar[str] = "predictions"
    cards: Sequence[Prediction]


@dataclass(frozen=True)
class Group:
    """A part of a section with a heading of its own, listed in the contents."""

    kind: ClassVar[str] = "group"
    title: str
    blocks: Sequence[Block]

    __repr__ = brief


@dataclass(frozen=True)
class Fold:
    """What only some readers want, behind its title until it is clicked."""

    kind: ClassVar[str] = "fold"
    title: str
    blocks: Sequence[Block]

    __repr__ = brief


Block = (
    Text
    | Listing
    | Facts
    | Table
    | Picture
    | Drawing
    | Panels
    | ColorScale
    | Predictions
    | Group
    | Fold
)


@dataclass(frozen=True)
class SectionContent:
    """What a section shows, from top to bottom."""

    blocks: Sequence[Block]

    __repr__ = brief
