"""``captum-cnn-ext structure``: a network's layers as a table."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from captum_cnn_ext.cli.arguments import (
    DONE,
    PROGRAM,
    UsageError,
    add_command,
    add_model_arguments,
    load,
    one_line,
)

EXAMPLES = f"""examples:
  {PROGRAM} structure
  {PROGRAM} structure --model torchvision:resnet18 --input-size 3x128x128
  {PROGRAM} structure --model timm:resnet50d --format csv > layers.csv
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    structure = add_command(
        commands,
        "structure",
        help="print a network's layers as a table",
        description="Print every layer: configuration, shapes, parameters, multiply-adds.",
        epilog=EXAMPLES,
    )
    add_model_arguments(structure)
    structure.add_argument("--input-size", metavar="CxHxW", help="such as 3x224x224")
    structure.add_argument(
        "--format", choices=("text", "csv", "markdown", "json"), default="text", help="(text)"
    )
    structure.set_defaults(run=_structure)


def _structure(options: argparse.Namespace) -> int:
    size = _input_size(options.input_size)
    loaded = load(options)
    import json

    import torch

    from captum_cnn_ext.evidence import layer_table

    shape = size or (len(loaded.mean), *loaded.input_size)
    like = next((p for p in loaded.model.parameters() if p.is_floating_point()), torch.zeros(()))
    try:
        table = layer_table(loaded.model, torch.zeros(1, *shape, dtype=like.dtype))
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    if options.format == "text":
        text = str(table)
    elif options.format == "csv":
        text = table.to_csv().rstrip("\n")
    elif options.format == "markdown":
        text = table.to_markdown()
    else:
        text = json.dumps(table.to_dicts(), indent=2)
    print(text)
    sys.stdout.flush()
    return DONE


def _input_size(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input-size {text!r}: expected channels x height x width: 3x224x224")
    return tuple(int(part) for part in parts)
