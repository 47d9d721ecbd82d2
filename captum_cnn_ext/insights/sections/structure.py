"""The model's layers as a table."""

from captum_cnn_ext.evidence import LayerRow, ReceptiveField
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Cell, Column, SectionContent, Text
from captum_cnn_ext.insights.report.findings import Report
from captum_cnn_ext.insights.report.section import Section


def build(audited: Audited, report: Report) -> SectionContent:
    """Every layer in the order in which it runs, with configuration, shapes and cost."""
    table = audited.table
    columns = [Column("#", number=True), Column("layer"), Column("type")]
    columns += [Column("output"), Column("sees, pixels"), Column("parameters", number=True)]
    columns += [Column("multiply-adds", number=True), Column("activation", shown=False)]
    columns += [Column("filters", number=True, shown=False), Column("kernel"), Column("stride")]
    columns += [Column("padding", shown=False), Column("groups", number=True, shown=False)]
    columns += [Column("notes")]
    cells: list[list[Cell]] = []
    anchors: list[str] = []
    for place, row in enumerate(table, 1):
        first, *later = audited.calls.get(row.name) or [((), None)]
        cells.append([place, *_cells(row, first[1])])
        anchors.append(f"structure-row-{place}")
        for call, (shape, field) in enumerate(later, 2):
            cells.append(_later_call(row, call, shape, field, len(columns)))
            anchors.append(f"structure-row-{place}-call-{call}")
    used = [i for i in range(len(columns)) if any(row[i] not in (None, "") for row in cells)]
    words = Text(
        f"{len(table)} layers, {table.parameters:,} parameters and {table.multiply_adds:,} "
        "multiply-adds for one photo, in the order in which the layers run. “Sees” is the "
        "receptive field: how many pixels of the input one value of the layer depends on (with "
        "the part beyond the border), and how many pixels further the next value looks; blank "
        "where it could not be computed. A layer that runs several times has a row for each call. "
        "Click a column head to sort; layers.csv has more columns."
        + (f" Note: {table.note}." if table.note else "")
    )
    caption = "Output shapes are those for one photo, without the batch."
    return SectionContent(
        [
            words,
            report.tabulate(
                "layers",
                caption,
                [columns[i] for i in used],
                [[row[i] for i in used] for row in cells],
                anchors,
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
        ", ".join(_shape(shape) for shape in row.output_shapes),
        _sees(field),
        row.parameters or None,
        row.multiply_adds or None,
        row.activation,
        row.filters,
        _size(row.kernel),
        _size(row.stride),
        _size(row.padding),
        row.groups,
        "; ".join(note for note in notes if note),
    ]


def _later_call(
    row: LayerRow, call: int, shape: tuple[int, ...], field: ReceptiveField | None, width: int
) -> list[Cell]:
    """A row of its own: the parameters and the work are counted at the first call."""
    cells: list[Cell] = [None, f"{row.name}, call {call}", row.type, _shape(shape), _sees(field)]
    return cells + [None] * (width - len(cells) - 1) + [f"the layer above, run {call}"]


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape[1:]))


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


SECTION = Section("structure", "Layers of the network", build, open=False)
