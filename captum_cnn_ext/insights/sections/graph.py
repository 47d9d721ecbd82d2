"""The network drawn, with its modules linked to where the report says more about them."""

from captum_cnn_ext.evidence import ModelGraph
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Drawing, SectionContent, Text
from captum_cnn_ext.insights.report.section import Section
from captum_cnn_ext.methods.call import MODEL, X
from captum_cnn_ext.methods.expression import Expression, evaluate, imported, source

DEPTH = 2  # stages and their blocks: what fits on a screen
MOST_NODES = 120  # a larger graph is drawn with its inner modules as one box each


def build(audited: Audited) -> SectionContent:
    """The graph at the finest depth that can still be looked at."""
    call, graph = _graph(audited)
    links = {row.name: f"#structure-row-{place}" for place, row in enumerate(audited.table, 1)}
    if any(key == "feature_maps" for key in audited.section_keys):
        links |= {
            layer.name: f"#feature_maps-{place}" for place, layer in enumerate(audited.layers, 1)
        }
    words = Text(
        f"How values flow through the network, from the input at the top: {len(graph.nodes)} "
        "boxes, each a module with everything inside it. Click a box to go to its row in the table "
        "of layers, or, for a layer explained in this report, to its feature maps. "
        "`captum-cnn-ext structure --graph FILE` draws the network in full."
    )
    try:
        svg = graph.to_svg(links=links)
    except ImportError as error:
        return SectionContent([Text(f"Not drawn: {error}", "note")])
    return SectionContent(
        [words, Drawing(svg, f"Graph of {graph.model}", source(call.to_svg(), "svg"))]
    )


def _graph(audited: Audited) -> tuple[Expression, ModelGraph]:
    for depth in range(DEPTH, 0, -1):
        call = imported("captum_cnn_ext.evidence.model_graph")(MODEL, X[:1], depth)
        graph: ModelGraph = evaluate(call, model=audited.model, x=audited.inputs)
        if len(graph.nodes) <= MOST_NODES:
            break
    return call, graph


SECTION = Section("graph", "Graph of the network", build, open=False)
