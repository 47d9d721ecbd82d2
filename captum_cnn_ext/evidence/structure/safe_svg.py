"""Drawings as SVG from elsewhere, rebuilt so that they can only be looked at."""

from __future__ import annotations

from xml.etree import ElementTree

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
