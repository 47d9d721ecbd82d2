"""The network drawn, with its modules linked to where the report says more about them."""

from __future__ import annotations

from captum_cnn_ext.evidence import ModelGraph, model_graph
from captum_cnn_ext.insights.report.blocks import Drawing, SectionContent, Text
from captum_cnn_ext.insights.report.context import AuditContext
from captum_cnn_ext.insights.report.section import Section

MOST_NODES = 240  # a larger graph is drawn with its inner modules as one box each


def build(context: AuditContext) -> SectionContent:
    """The graph at the finest depth that can still be looked at."""
    graph, depth = _graph(context)
    links = {row.name: f"#structure-row-{place}" for place, row in enumerate(context.table, 1)}
    if any(key == "feature_maps" for key in context.section_keys):
        links |= {
            layer.name: f"#feature_maps-{place}" for place, layer in enumerate(context.layers, 1)
        }
    words = Text(
        f"{len(graph.nodes)} boxes. Click on a module to go to its row in the table of layers, or, "
        "for a layer explained in this report, to its feature maps."
    )
    code = (
        "from captum_cnn_ext.evidence import model_graph\n"
        f"svg = model_graph(model, x[:1], {depth}).to_svg()"
    )
    try:
        svg = graph.to_svg(links=links)
    except ImportError as error:
        return SectionContent([Text(f"Not drawn: {error}", "note")])
    return SectionContent([words, Drawing(svg, f"Graph of {graph.model}", code)])


def _graph(context: AuditContext) -> tuple[ModelGraph, int]:
    image = context.inputs[:1]
    depths = max(name.count(".") + 1 for name, _ in context.model.named_modules())
    for depth in range(depths, 1, -1):
        graph = model_graph(context.model, image, depth)
        if len(graph.nodes) <= MOST_NODES:
            return graph, depth
    return model_graph(context.model, image, 1), 1


SECTION = Section("graph", "Graph", build, open=False)
