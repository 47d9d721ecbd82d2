"""A report's tables as files for other programs."""

from __future__ import annotations

import csv
import io

from captum_cnn_ext.insights.blocks import Cell, Table
from captum_cnn_ext.insights.page import without_folders

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


def csv_bytes(table: Table) -> bytes:
    """A table as CSV in UTF-8, with the mark by which spreadsheets know it.

    A text that a spreadsheet would take for a formula gets an apostrophe before it; the manifest
    has it as it is.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([_cell(column.title) for column in table.columns])
    writer.writerows([[_cell(cell) for cell in row] for row in table.rows])
    return text.getvalue().encode("utf-8-sig")


def _cell(value: Cell) -> str | int | float:
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    shown = without_folders(value)
    return f"'{shown}" if shown.startswith(FORMULA) else shown
