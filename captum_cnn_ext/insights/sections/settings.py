"""Everything that is needed to make this report again."""

from __future__ import annotations

import hashlib
import platform
from datetime import datetime, timezone
from importlib import metadata

import torch
from torch import Tensor

from captum_cnn_ext.insights.blocks import Block, Column, Facts, Group, SectionContent, Table
from captum_cnn_ext.insights.context import AuditContext
from captum_cnn_ext.insights.section import Section

PACKAGES = ("captum-cnn-ext", "captum", "torch", "torchvision", "numpy", "matplotlib", "pillow")


def build(context: AuditContext) -> SectionContent:
    """Versions, device, seed, preprocessing, fingerprints, parameters and the list of arrays."""
    blocks: list[Block] = [Facts(_facts(context))]
    if context.parameters:
        columns = [Column("method"), Column("from"), Column("parameters")]
        rows = [(p.method, p.origin, p.parameters) for p in context.parameters]
        blocks.append(Group("Parameters of the methods", [Table("", columns, rows)]))
    photos = [
        (name, _fingerprint({"": image}), context.subject.class_name(target), target)
        for name, image, target in zip(
            context.photos.names, context.inputs, context.targets, strict=True
        )
    ]
    columns = [Column("photo"), Column("SHA-256 of the network input"), Column("explained class")]
    columns.append(Column("index", number=True))
    blocks.append(Group("Photos", [Table("", columns, photos)]))
    columns = [Column("array"), Column("shape"), Column("type"), Column("what it is")]
    arrays = [
        (name, " × ".join(map(str, array.shape)), str(array.dtype), context.array_words[name])
        for name, array in context.arrays.items()
    ]
    caption = (
        "The first axis is the photo; maps have channels, height and width after it. Attributions "
        "are those of the explained class, signed and not scaled."
    )
    blocks.append(Group("Arrays in the file beside this report", [Table(caption, columns, arrays)]))
    return SectionContent(blocks)


def _facts(context: AuditContext) -> list[tuple[str, str]]:
    versions = [f"{name} {_version(name)}" for name in PACKAGES]
    device = context.inputs.device
    layers = ", ".join(layer.label for layer in context.layers)
    command = [("Command", context.command)] if context.command else []
    return [
        *command,
        ("Date", datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")),
        ("Software", ", ".join([f"Python {platform.python_version()}", *versions])),
        ("Device", _device(device)),
        ("Operating system", f"{platform.system()} {platform.machine()}"),
        ("Seed", f"{context.seed}, set again before each method"),
        ("Mode of the model", "training" if context.model.training else "evaluation"),
        ("Preprocessing", context.subject.preprocessing),
        ("Layers", f"{layers}. {context.layer_reason}"),
        ("Explained class", "as asked for" if context.target_given else "the strongest one"),
        ("SHA-256 of the weights", _fingerprint(context.model.state_dict())),
        (
            "How fingerprints are made",
            "over name, type, shape and bytes of each tensor, in the order of state_dict()",
        ),
    ]


def _device(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def _version(package: str) -> str:
    if package == "torch":
        return torch.__version__  # says for which accelerator it was built
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _fingerprint(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or tensor.is_quantized or tensor.layout != torch.strided:
            digest.update(f"{name} {tensor!r}".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        raw = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(raw.view(torch.uint8).numpy().tobytes() if raw.numel() else b"")
    return digest.hexdigest()


SECTION = Section("settings", "Settings", build)
