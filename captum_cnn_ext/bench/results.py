"""Results of many cells in one file that can be interrupted, resumed and merged."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.whole_files import write_whole
from captum_cnn_ext.errors import ArgumentError

Cell = dict[str, Any]
COMPACT = (",", ":")


@dataclass
class Results:
    """What was measured so far.

    Args:
        settings: of the run; results of other settings are not mixed.
        machine: what it ran on.
        cells: by method, then by image: figures of one map.
    """

    settings: dict[str, Any]
    machine: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)

    __repr__ = brief

    def __str__(self) -> str:
        where = f"{self.settings.get('model')}, layer {self.settings.get('layer')}"
        return f"{where}: {len(self)} maps by {len(self.cells)} methods"

    def _repr_markdown_(self) -> str:
        from captum_cnn_ext.bench import table, truths  # which need this class

        known = "truth" in self.settings
        return truths.markdown(self, truths.TASKS) if known else table.markdown(self)

    def __len__(self) -> int:
        return sum(len(images) for images in self.cells.values())

    def has(self, method: str, image: str) -> bool:
        return image in self.cells.get(method, {})

    def add(self, method: str, image: str, cell: Cell) -> None:
        self.cells.setdefault(method, {})[image] = cell

    def merge(self, other: Results) -> None:
        """Take over cells of the same settings.

        Raises:
            ArgumentError: the settings differ; names which.
        """
        ours, theirs = self.settings, other.settings
        differing = [k for k in {**ours, **theirs} if ours.get(k) != theirs.get(k)]
        if differing:
            raise ArgumentError(
                f"results: they were made with other settings ({', '.join(sorted(differing))}); "
                "write to another file"
            )
        self.machine = self.machine or other.machine
        for method, images in other.cells.items():
            for image, cell in images.items():
                self.add(method, image, cell)

    def in_order(self, methods: Sequence[str], images: Sequence[str]) -> Results:
        """The cells of these methods and images, in this order, whoever made them."""
        cells = {
            m: {i: self.cells[m][i] for i in images if self.has(m, i)}
            for m in methods
            if m in self.cells
        }
        return Results(self.settings, self.machine, cells)

    def save(self, path: Path) -> None:
        """Write under a temporary name, then rename: the file is always whole."""
        cells = [
            f"{json.dumps(method)}: {{\n"
            + ",\n".join(
                f"{json.dumps(i)}:{json.dumps(c, separators=COMPACT)}" for i, c in images.items()
            )
            + "\n}"
            for method, images in self.cells.items()
        ]  # a line a cell
        head = f'"settings": {json.dumps(self.settings)},\n"machine": {json.dumps(self.machine)}'
        text = f'{{\n{head},\n"cells": {{\n' + ",\n".join(cells) + "\n}\n}\n"
        write_whole(path, text.encode())

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read a file that ``save`` wrote.

        Raises:
            ArgumentError: it holds something else.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            parts = [found[name] for name in ("settings", "machine", "cells")]
            cells = [cell for images in parts[2].values() for cell in images.values()]
            if not all(isinstance(part, dict) for part in (*parts, *cells)):
                raise TypeError("expected objects")
            return cls(*parts)
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise ArgumentError(f"{path}: holds no results of this benchmark ({error})") from error


def joined(settings: dict[str, Any], paths: Iterable[Path]) -> Results:
    """What all files that exist hold."""
    found = Results(settings)
    for path in paths:
        if path.exists():
            found.merge(Results.load(path))
    return found
