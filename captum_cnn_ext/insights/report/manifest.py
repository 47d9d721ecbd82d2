"""The record beside a report: what was audited, how, and how the checks came out."""

import math
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib import metadata
from typing import Any

import torch

from captum_cnn_ext._engine.fingerprints import fingerprint
from captum_cnn_ext.insights.audited_model import AuditedModel
from captum_cnn_ext.insights.predictions import Explained
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Table
from captum_cnn_ext.insights.report.findings import Overview, Report
from captum_cnn_ext.insights.report.page import without_folders

FORMAT = "captum-cnn-ext audit 1"
PACKAGES = ("captum-cnn-ext", "captum", "torch", "torchvision", "numpy", "matplotlib", "pillow")
FINGERPRINT = "over name, type, shape and bytes of each tensor, in the order of state_dict()"


def manifest(
    audited: Audited,
    report: Report,
    remarks: Sequence[tuple[str, str]],
    title: str,
    overview: Overview,
    seconds: float,
) -> Any:
    """Everything that is needed to make the report again, and its numbers, ready for JSON."""
    rival = audited.rival
    record = {
        "format": FORMAT,
        "title": title,
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seconds": round(seconds, 1),
        "command": audited.command,
        "model": _model(audited.subject, audited.weights_sha256)
        | {
            "classes": None if audited.predicted is None else audited.predicted.outputs.shape[1],
            "mode": "training" if audited.model.training else "evaluation",
        },
        "against": None
        if rival is None
        else _model(rival.subject, fingerprint(rival.subject.model.state_dict())),
        "how_fingerprints_are_made": FINGERPRINT,
        "input_shape": list(audited.inputs.shape[1:]),
        "software": software(),
        "device": device_words(audited.inputs.device),
        "system": system_words(),
        "seed": audited.seed,
        "sections": list(audited.section_keys),
        "layers": [
            {"name": layer.name, "output_shape": list(layer.shape)} for layer in audited.layers
        ],
        "photos": [
            {
                "name": name,
                "input_sha256": fingerprint({"": audited.inputs[photo]}),
                **_explained(audited.explained, photo),
            }
            for photo, name in enumerate(audited.photos.names)
        ],
        "methods": [vars(parameters) for parameters in report.parameters],
        "rule_coverage": [
            {"layer": met.layer, "rule": met.rule, **vars(met.coverage)} for met in report.coverage
        ],
        "checks": [
            {
                "verdict": finding.verdict,
                "section": finding.section,
                "text": finding.text,
                "numbers": dict(finding.numbers),
            }
            for finding in overview.findings
        ],
        "not_checked": list(overview.unchecked),
        "problems": [str(problem) for problem in report.problems],
        "warnings": [f"{where}: {text}" for where, text in remarks],
        "tables": {name: records(table) for name, table in report.tables.items()},
    }
    return plain(record)


def _explained(explained: Explained, photo: int) -> dict[str, Any]:
    name, score = explained.names[photo], explained.scores[photo]
    if explained.of_classes:
        index = explained.targets[photo]
        return {"explained_class": name, "explained_index": index, "probability": score}
    box = explained.box(photo)
    return {"explained": name, "score": score, "box": None if box is None else list(box)}


def _model(subject: AuditedModel, weights: str) -> dict[str, Any]:
    parameters = list(subject.model.parameters())
    return {
        "name": subject.name,
        "weights": subject.weights,
        "weights_sha256": weights,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "preprocessing": subject.preprocessing,
        "mean": subject.mean,
        "std": subject.std,
        "notes": list(subject.notes),
    }


def records(table: Table) -> list[dict[str, Any]]:
    """A table's rows by the titles of its columns."""
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, row, strict=True)) for row in table.rows]


def plain(value: Any) -> Any:
    """The value for JSON: texts without folders of this machine, no number that JSON lacks."""
    if isinstance(value, str):
        return without_folders(value)
    if isinstance(value, Mapping):
        return {without_folders(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def software() -> dict[str, str]:
    """Versions by package."""
    return {"Python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def device_words(device: torch.device) -> str:
    """The device, with what decides over its numbers."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def system_words() -> str:
    """The operating system and the processor's kind."""
    return f"{platform.system()} {platform.machine()}"


def _version(package: str) -> str:
    if package == "torch":
        return torch.__version__  # says for which accelerator it was built
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
