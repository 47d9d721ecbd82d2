"""From blocks to one HTML page that escapes every text, loads nothing and names no local path.

Pictures are in the page, or beside it in one folder where they would make it too large to mail.
"""

import base64
import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path, PureWindowsPath
from typing import Any
from urllib.parse import quote

from captum_cnn_ext.errors import needing
from captum_cnn_ext.evidence.structure.safe_svg import NAMESPACE, in_columns, only_shapes
from captum_cnn_ext.insights.report.blocks import Cell, Drawing, Group, Picture, SectionContent
from captum_cnn_ext.insights.report.figure_code import setup_code
from captum_cnn_ext.insights.report.findings import Overview

# every text between quotes, blanks or brackets that begins like an absolute path
_PATH = re.compile(r"(?<![\w./<])(?:/[^\s/'\"<>|,;()]+){2,}/?|\b[A-Za-z]:\\[^\s'\"<>|,;]+")

# characters that turn the reading direction of what follows, or are not to be seen
_UNSEEN = re.compile(
    r"[\u0000-\u0008\u000b-\u001f\u007f\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
)


@dataclass(frozen=True)
class PageSection:
    """A section ready to be written: its content, or the text of what went wrong."""

    key: str
    title: str
    content: SectionContent | None
    problem: str = ""
    open: bool = True

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Link and title of each group, for the contents list."""
        blocks = self.content.blocks if self.content else ()
        titles = [block.title for block in blocks if isinstance(block, Group)]
        return [(f"{self.key}-{number}", title) for number, title in enumerate(titles, 1)]


@dataclass(frozen=True)
class Page:
    """All that the template needs."""

    title: str
    facts: Sequence[str]
    sections: Sequence[PageSection]
    overview: Overview
    model_code: str
    arrays_name: str = ""
    manifest_name: str = ""


def inline(picture: Picture) -> str:
    """The picture's bytes as an address: the page holds them itself."""
    return f"data:image/{picture.format};base64,{base64.b64encode(picture.data).decode()}"


@dataclass
class Beside:
    """Gives each picture a file name in a folder beside the page, and keeps the files."""

    folder: str
    files: dict[str, bytes] = field(default_factory=dict)

    def __call__(self, picture: Picture) -> str:
        names = {data: name for name, data in self.files.items()}
        name = names.get(picture.data, f"{len(self.files) + 1:03}.{picture.format}")
        self.files[name] = picture.data
        return f"{quote(self.folder)}/{name}"


def require_jinja() -> Any:
    """Jinja2, which only reports need.

    Raises:
        ImportError: it is not installed; the message names the extra that brings it.
    """
    with needing("reports need Jinja2, which is not installed", "report"):
        import jinja2
    return jinja2


def page_html(page: Page, source: Callable[[Picture], str] = inline) -> str:
    """Write the page; ``source`` says where each picture is."""
    jinja2 = require_jinja()
    from markupsafe import Markup

    def shown(value: Any) -> Any:
        # the last gate: no text that any section puts out can name a folder of this machine
        plain = isinstance(value, str) and not isinstance(value, Markup)
        return seen(without_folders(value)) if plain else value

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("captum_cnn_ext.insights"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=shown,
    )
    files = resources.files("captum_cnn_ext.insights") / "templates"

    def full_code(code: str) -> str:
        return setup_code(page.model_code, page.arrays_name or "audit.npz") + "\n" + code

    number = itertools.count(1)

    def drawn(drawing: Drawing) -> Any:
        # within HTML a drawing needs no namespace, and the page names no address
        shapes = only_shapes(drawing.svg).replace(f' xmlns="{NAMESPACE}"', "")
        name = f"drawing-{next(number)}"
        named = shapes.replace("<svg", f'<svg id="{name}"', 1)
        paper = f'<div class="on-paper" aria-hidden="true">{in_columns(shapes, name)}</div>'
        return Markup(f'<div class="on-screen">{named}</div>{paper}')

    environment.globals.update(
        drawn=drawn,
        full_code=full_code,
        image_source=lambda picture: Markup(source(picture)),
        images="data:" if source is inline else "'self' file: data:",
        breakable=breakable,
        cell_text=cell_text,
        style=Markup((files / "report.css").read_text(encoding="utf-8")),
        script=Markup((files / "report.js").read_text(encoding="utf-8")),
    )
    text: str = environment.get_template("report.html.j2").render(page=page)
    return text


def breakable(text: str) -> Any:
    """The text with places where a name such as LayerGradCam may be broken."""
    from markupsafe import Markup, escape

    plain = seen(without_folders(text))
    parts = re.split(r"(?<=[a-z0-9)])(?=[A-Z(])|(?<=[._/])(?=[A-Za-z_])", plain)
    return Markup("<wbr>").join(escape(part) for part in parts)


def cell_text(value: Cell) -> str:
    """A table cell as text."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, (int, float)) else value


def seen(text: str) -> str:
    """The text with its invisible and direction-turning characters spelt out."""
    return _UNSEEN.sub(lambda match: f"[U+{ord(match[0]):04X}]", text)


def without_folders(text: str) -> str:
    """The text with each absolute path that this machine could have cut to its last part."""

    def last_part(match: re.Match[str]) -> str:
        found = match[0]
        if not found.startswith("/"):
            return f"…\\{PureWindowsPath(found).name}"
        first = Path("/", found.split("/")[1])
        return f"…/{Path(found).name}" if first.exists() else found

    return _PATH.sub(last_part, text)
