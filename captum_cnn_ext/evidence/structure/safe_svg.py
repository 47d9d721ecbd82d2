"""Drawings as SVG from elsewhere, rebuilt so that they can only be looked at."""

import math
from xml.etree import ElementTree

_ON_PAPER = 0.58  # letters of 10 points are still read at this size
NAMESPACE = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_TAGS = {"svg", "g", "path", "polygon", "polyline", "ellipse", "text", "title", "a", "rect"}
_ATTRIBUTES = {
    *("width", "height", "viewBox", "id", "class", "transform", "fill", "stroke", "points", "d"),
    *("x", "y", "cx", "cy", "rx", "ry", "text-anchor", "font-family", "font-size"),
    *("stroke-width", "stroke-dasharray", "font-weight"),
}


def only_shapes(svg: str) -> str:
    """The SVG rebuilt from the elements and attributes that a drawing has, and nothing else."""
    ElementTree.register_namespace("", NAMESPACE)
    ElementTree.register_namespace("xlink", _LINK[1:].partition("}")[0])

    def rebuilt(element: ElementTree.Element) -> ElementTree.Element | None:
        tag = str(element.tag).rpartition("}")[2]
        if tag not in _TAGS:
            return None
        kept = {name: value for name, value in element.attrib.items() if name in _ATTRIBUTES}
        href = element.get(_LINK, element.get("href", ""))
        if tag == "a" and href.startswith("#"):
            kept["href"] = href
        copy = ElementTree.Element(f"{{{NAMESPACE}}}{tag}", kept)
        copy.text, copy.tail = element.text, element.tail
        copy.extend(child for inner in element if (child := rebuilt(inner)) is not None)
        return copy

    root = rebuilt(ElementTree.fromstring(svg))
    assert root is not None
    return ElementTree.tostring(root, encoding="unicode")


def in_columns(shapes: str, name: str, height: float = 1100.0, overlap: float = 60.0) -> str:
    """A tall drawing as columns for paper, each of them a window on the drawing itself.

    Args:
        shapes: what `only_shapes` returned; it must be in the same page, with ``name`` as its id.
        name: that id.
        height: height of a column, in the drawing's units.
        overlap: how much of a column is shown again at the top of the next, so that what one
            column cuts is whole in the other.
    """
    root = ElementTree.fromstring(shapes)
    left, top, width, tall = (float(part) for part in root.get("viewBox", "").split())
    count = max(1, math.ceil((tall - overlap) / (height - overlap)))
    step = (tall - overlap) / count
    return "\n".join(
        f'<svg width="{_ON_PAPER * width:.0f}pt" height="{_ON_PAPER * (step + overlap):.0f}pt" '
        f'viewBox="{left:g} {top + place * step:g} {width:g} {step + overlap:g}">'
        f'<use href="#{name}" x="{left:g}" y="{top:g}" width="{width:g}" height="{tall:g}"/></svg>'
        for place in range(count)
    )
