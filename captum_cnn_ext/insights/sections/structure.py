"""The model's layers as a table."""

from __future__ import annotations

from captum_cnn_ext.evidence import LayerRow, ReceptiveField
from captum_cnn_ext.insights.report.blocks import Cell, Column, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext
from captum_cnn_ext.insights.report.section import Section


def build(context: AuditContext) -> SectionContent:
    """Every layer in the order in which it runs, with configuration, shapes and cost."""
    table = context.table
    columns = [Column("#", number=True), Column("layer"), Column("type")]
    columns += [Column("output"), Column("parameters", number=True)]
    columns += [Column("multiply-adds", number=True), Column("activation")]
    columns += [Column("filters", number=True), Column("kernel"), Column("stride")]
    columns += [Column("padding"), Column("groups", number=True)]
    columns += [Column("sees, pixels"), Column("notes")]
    cells = [
        [place, *_cells(row, context.fields.get(row.name))] for place, row in enumerate(table, 1)
    ]
    used = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in cells)]
    words = Text(
        f"{len(table)} layers, {table.parameters:,} parameters and {table.multiply_adds:,} "
        f"multiply-adds for one photo, in the order in which they run. Activation is the function "
        "that the layer's output goes into. What a unit sees is its receptive field with the part "
        "beyond the border, and how far the next unit's is moved; blank where it could not be "
        "computed. Click on a column head to sort."
        + (f" Note: {table.note}." if table.note else "")
    )
    caption = "Output shapes are those for one photo, without the batch."
    return SectionContent(
        [
            words,
            context.tabulate(
                "layers",
                caption,
                [columns[i] for i in used],
                [[row[i] for i in used] for row in cells],
                [f"structure-row-{place}" for place in range(1, len(cells) + 1)],
            ),
        ]
    )


def _cells(row: LayerRow, field: ReceptiveField | None) -> list[Cell]:
    notes = [row.note]
    notes += [f"runs {row.calls} times"] if row.calls > 1 else []
    notes += [f"shares parameters with {', '.join(row.shared_with)}"] if row.shared_with else []
    notes += [f"trainable: {row.trainable}"] if row.trainable not in ("", "yes") else []
    notes += [f"dilation {_size(row.dilation)}"] if any(d > 1 for d in row.dilation) else []
    return [
        row.name,
        row.type,
        ", ".join(" × ".join(map(str, shape[1:])) for shape in row.output_shapes),
        row.parameters or None,
        row.multiply_adds or None,
        row.activation,
        row.filters,
        _size(row.kernel),
        _size(row.stride),
        _size(row.padding),
        row.groups,
        _sees(field),
        "; ".join(note for note in notes if note),
    ]


def _sees(field: ReceptiveField | None) -> str:
    if field is None:
        return ""
    if field.whole_image:
        return "the whole image" if field.reason else f"{_size(field.size)} (the whole image)"
    strides = " × ".join(dict.fromkeys(f"{stride:g}" for stride in field.stride))
    return f"{_size(field.size)}, every {strides}"


def _size(values: tuple[int, ...] | str) -> str:
    """A length for each dimension, or one number where all are the same."""
    if isinstance(values, str):
        return values
    if not values:
        return ""
    return str(values[0]) if len(set(values)) == 1 else " × ".join(map(str, values))


SECTION = Section("structure", "Structure", build, open=False)
