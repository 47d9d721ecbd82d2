"""The rows of a layer table, and how they are printed and written."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.whole_files import write_whole

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LayerRow:
    """One layer. ``None``, an empty string or an empty tuple where a layer has no such thing.

    ``activation`` is the one that the layer's output goes into, found through normalisation,
    dropout and max pooling, whether it is a module or a function call. ``parameters`` counts a
    shared parameter at the first layer that has it. Shapes are those of the first call;
    ``multiply_adds`` are summed over ``calls``.
    """

    name: str
    type: str
    filters: int | None
    kernel: Shape
    stride: Shape
    padding: Shape | str
    padding_mode: str
    dilation: Shape
    groups: int | None
    bias: bool | None
    activation: str
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    parameters: int
    trainable: str
    multiply_adds: int
    calls: int
    shared_with: tuple[str, ...]
    note: str

    __repr__ = brief


# Order in which columns give way when a terminal is too narrow for all.
_DISPENSABLE = ("input", "bias", "filters")
_MAX_WIDTH = 120
_LONG_TYPE, _LONG_CELL = 20, 40
WEIGHTS_READ = "not called; weights used elsewhere"
_UNCALLED = {WEIGHTS_READ: "not called *"}
_NUMBERS = {"filters", "groups", "parameters", "mult-adds", "calls"}


@dataclass(frozen=True, repr=False)
class LayerTable:
    """The rows of `layer_table` in the order of execution, with totals; ``str()`` prints it.

    ``note`` says where the forward pass takes values out of its tensors (``item``, ``numpy``, a
    branch on a value): what is listed is then what ran for this input.
    """

    model: str
    input_shapes: tuple[Shape, ...]
    rows: tuple[LayerRow, ...]
    parameters: int
    trainable_parameters: int
    multiply_adds: int
    note: str = ""

    __repr__ = brief

    def __iter__(self) -> Iterator[LayerRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: int | str) -> LayerRow:
        """A row by its position or by the layer's name."""
        if isinstance(key, int):
            return self.rows[key]
        found = [row for row in self.rows if row.name == key]
        if not found:
            from captum_cnn_ext.errors import nearest

            raise KeyError(f"no layer {key!r}{nearest(key, [row.name for row in self.rows])}")
        return found[0]

    def to_dicts(self) -> list[dict[str, Any]]:
        """One dictionary per row, keys as the fields of `LayerRow`; `json.dump` takes them."""
        return [{f.name: getattr(row, f.name) for f in fields(row)} for row in self.rows]

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str:
        """All columns as CSV text; with ``path`` the file is also written, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([f.name for f in fields(LayerRow)])
        for row in self.rows:
            writer.writerow([plain(getattr(row, f.name)) for f in fields(row)])
        if path is not None:
            write_whole(Path(path), text.getvalue().encode())
        return text.getvalue()

    def to_markdown(self) -> str:
        """A Markdown table of the columns that say something, and the totals."""
        columns = self._columns()
        lines = [
            "| " + " | ".join(columns) + " |",
            "|" + "|".join(" ---: " if c in _NUMBERS else " --- " for c in columns) + "|",
        ]
        for cells in zip(*columns.values(), strict=True):
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        note = ["", f"Note: {self.note}."] if self.note else []
        return "\n".join([*lines, "", self._totals(), *note, ""])

    _repr_markdown_ = to_markdown

    def __str__(self) -> str:
        columns, gap, left_out = self._terminal_columns(), 2, []

        def width() -> int:
            cells = (max(map(len, (name, *cells))) for name, cells in columns.items())
            return sum(cells) + gap * (len(columns) - 1)

        for name in _DISPENSABLE:
            if width() > _MAX_WIDTH and name in columns:
                del columns[name]
                left_out.append(name)
        if width() > _MAX_WIDTH:
            gap = 1
            columns["type"] = [shorten(kind, _LONG_TYPE) for kind in columns["type"]]
        widths = {name: max(map(len, (name, *cells))) for name, cells in columns.items()}

        def line(cells: Iterable[str]) -> str:
            placed = zip(widths.items(), cells, strict=True)
            return (
                (" " * gap)
                .join(
                    cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
                    for (name, width), cell in placed
                )
                .rstrip()
            )

        rule = "-" * width()
        lines = [f"{self.model}, input {plain(self.input_shapes)}", "", line(columns), rule]
        lines += [line(cells) for cells in zip(*columns.values(), strict=True)]
        lines += [rule, self._totals()]
        if any(row.note == WEIGHTS_READ for row in self.rows):
            lines.append("* Another module reads its weights: a hook on this layer never fires.")
        if self.note:
            lines.append(f"Note: {self.note}.")
        if left_out:
            names = ", ".join(left_out)
            lines.append(f"Too wide for the page: {names}. CSV (--format csv) has all columns.")
        return "\n".join(lines)

    def _totals(self) -> str:
        frozen = self.parameters - self.trainable_parameters
        unit, name = next(
            (u for u in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if self.multiply_adds >= u[0]), (1, "")
        )
        return (
            f"{len(self.rows):,} layers, {self.parameters:,} parameters "
            f"({f'{frozen:,} of them frozen' if frozen else 'all trainable'}), "
            f"{self.multiply_adds:,} multiply-adds ({self.multiply_adds / unit:.2f} {name})"
        )

    def _columns(self) -> dict[str, list[str]]:
        """The cells of every column that says something in at least one row."""
        rows = self.rows
        columns = {
            "layer": [row.name or "(the model itself)" for row in rows],
            "type": [row.type for row in rows],
            "filters": [plain(row.filters) for row in rows],
            "kernel": [plain(row.kernel) for row in rows],
            "stride": [short(row.stride) for row in rows],
            "padding": [short(row.padding) for row in rows],
            "padding mode": [row.padding_mode for row in rows],
            "dilation": [short(row.dilation) for row in rows],
            "groups": [plain(row.groups) for row in rows],
            "bias": [plain(row.bias) for row in rows],
            "activation": [row.activation for row in rows],
            "input": [plain(row.input_shapes) for row in rows],
            "output": [plain(row.output_shapes) for row in rows],
            "parameters": [f"{row.parameters:,}" if row.parameters else "" for row in rows],
            "trainable": [row.trainable for row in rows],
            "mult-adds": [f"{row.multiply_adds:,}" if row.multiply_adds else "" for row in rows],
            "calls": [str(row.calls) for row in rows],
            "shared with": [plain(row.shared_with) for row in rows],
            "note": [row.note for row in rows],
        }
        usual = {"dilation": "1", "groups": "1", "trainable": "yes", "calls": "1"}
        return {
            name: cells
            for name, cells in columns.items()
            if not set(cells) <= {"", usual.get(name, "")}
        }

    def _terminal_columns(self) -> dict[str, list[str]]:
        """As `_columns`, with a kernel's settings in one cell and no columns for rare remarks."""
        columns = self._columns()
        for name in ("stride", "padding", "padding mode", "dilation", "groups", "calls", "note"):
            columns.pop(name, None)
        columns["type"] = [
            f"{row.type} ({row.calls} calls)" if row.calls > 1 else row.type for row in self.rows
        ]
        columns["output"] = [
            plain(row.output_shapes) if row.calls else _UNCALLED.get(row.note, row.note)
            for row in self.rows
        ]
        if "kernel" in columns:
            columns["kernel"] = [_kernel(row) for row in self.rows]
        for name in {"input", "output", "shared with"}.intersection(columns):
            columns[name] = [shorten(cell, _LONG_CELL) for cell in columns[name]]
        return columns


def _kernel(row: LayerRow) -> str:
    """A kernel and its unusual settings: 3x3 s2 p1 d2 g32 (stride, padding, dilation, groups)."""
    parts = [plain(row.kernel)]
    for letter, value, usual in (
        ("s", row.stride, "1"),
        ("p", row.padding, "0"),
        ("d", row.dilation, "1"),
        ("g", row.groups, "1"),
    ):
        if row.kernel and (text := short(value)) not in ("", usual):
            parts.append(f"{letter}{text}")
    return " ".join([*parts, row.padding_mode] if row.padding_mode else parts)


def plain(value: Any) -> str:
    """A cell: shapes as 3x3, several shapes joined by +, names by commas, yes and no."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        inner = "x" if all(isinstance(item, int) for item in value) else None
        inner = inner or (", " if isinstance(value[0], str) else " + ")
        return inner.join(map(plain, value))
    return str(value)


def short(value: Any) -> str:
    """As `_plain`, a size that is the same in every dimension said once: 2x2 as 2."""
    same = isinstance(value, tuple) and len(set(value)) == 1
    return str(value[0]) if same else plain(value)


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
