"""The zoo's results as a page: networks down, classes across, refusals as footnotes."""

import re
from pathlib import Path
from typing import Any

_SHORT = {
    "LayerDeepFeatureFactorization": "DFF",
    "LayerSmoothGradCamPlusPlus": "Smooth++",
    "LayerGradCamPlusPlus": "GradCam++",
    "ActivationMaximization": "ActMax",
    "LayerIntegratedGradients": "LayerIG",
    "LayerFeatureAblation": "FeatAblation",
    "NeuronGuidedBackprop": "NeuronGuided",
    "NeuronDeconvolution": "NeuronDeconv",
}


def write_table(results: dict[str, Any], columns: list[str], path: Path) -> None:
    notes: dict[str, int] = {}
    counts = {"ok": 0, "refused": 0, "WRONG": 0}
    rows = []
    for key, found in results.items():
        row = [f"{key} ({found['layer']})"]
        for column in columns:
            one = found["cells"].get(column)
            row.append(_cell(one, notes, counts, found["layer"]))
        rows.append("| " + " | ".join(row) + " |")
    names = [_SHORT.get(c, c.removeprefix("Layer")) for c in columns]
    versions = sorted({found["torch"] for found in results.values()})
    head = [
        "# The zoo",
        "",
        f"{len(results)} networks, {sum(counts.values())} cells: {counts['ok']} ok, "
        f"{counts['refused']} refused, {counts['WRONG']} wrong. torch {', '.join(versions)}, CPU, "
        "random weights with calibrated batch norms, 64 pixels where the network takes them "
        "(`zoo.json` says). What *ok* means is in `zoo.py`. "
        "Numbers are footnotes: the refusal's message.",
        "",
        f"| network (layer) | {' | '.join(names)} |",
        f"|---|{'---|' * len(columns)}",
    ]
    foot = ["", *(f"{number}. {text}" for text, number in notes.items())]
    path.write_text("\n".join([*head, *rows, *foot]) + "\n")


def _cell(one: Any, notes: dict[str, int], counts: dict[str, int], layer: str) -> str:
    if one is None:
        return ""
    counts[one["status"]] += 1
    if one["status"] == "ok":
        return "ok"
    text = _general(one["note"].replace("\n", " "), layer)
    number = notes.setdefault(text, len(notes) + 1)
    return f"**WRONG** {number}" if one["status"] == "WRONG" else f"{number}"


def _general(note: str, layer: str) -> str:
    """The message without what differs from network to network."""
    note = note.replace(repr(layer), "'…'").replace("|", "/")
    note = re.sub(r"layer '[^']+'", "layer '…'", note)
    return re.sub(r"\(\d[\d, ]*\)", "(…)", note)
