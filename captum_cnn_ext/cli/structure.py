"""``captum-cnn-ext structure``: a network's layers as a table."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import DONE, PROGRAM, UsageError, usage_errors

EXAMPLES = f"""examples:
  {PROGRAM} structure
  {PROGRAM} structure --model torchvision:resnet18 --input-size 3x128x128
  {PROGRAM} structure --model torchvision:resnet18 --graph resnet18.svg
  {PROGRAM} structure --model timm:resnet50d --format csv > layers.csv
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    structure = parsing.add_command(
        commands,
        "structure",
        _structure,
        "print the layers of a network, with their names",
        "Print every layer: configuration, shapes, parameters, multiply-adds.",
        EXAMPLES,
    )
    value = partial(parsing.add_value, structure)
    parsing.add_model(structure)
    value("--input-size", "SIZE", "size of the input: 224, 224x224 or 3x224x224 (default: the "
          "model's)")  # fmt: skip
    formats = ("text", "csv", "markdown", "json")
    value("--format", None, "how the table is printed", "text", choices=formats)
    value("--graph", "FILE", "also draw the network into this file (.svg or .dot)")
    words = "in the graph, draw modules that are nested deeper as one box"
    parsing.add_count(structure, "--depth", words)


def _structure(options: argparse.Namespace) -> int:
    size = _input_size(options.input_size)
    _judge_graph(options)
    loaded = arguments.load(options)
    import json

    import torch

    from captum_cnn_ext._engine.judging.input_sizes import input_shape
    from captum_cnn_ext.evidence import layer_table

    given = size or (len(loaded.mean), *loaded.input_size)
    like = next((p for p in loaded.model.parameters() if p.is_floating_point()), torch.zeros(()))
    with usage_errors():
        shape = input_shape("input_size", given, loaded.model)
        table = layer_table(loaded.model, torch.zeros(shape, dtype=like.dtype))
    if options.format == "text":
        text = f"{table}{_suggested(loaded.model, shape)}"
    elif options.format == "csv":
        text = table.to_csv().rstrip("\n")
    elif options.format == "markdown":
        text = table.to_markdown()
    else:
        text = json.dumps(table.to_dicts(), indent=2)
    print(text)
    if options.graph:
        _draw(loaded.model, shape, options)
        print(f"graph: {options.graph}", file=sys.stderr)
    sys.stdout.flush()
    return DONE


def _suggested(model: Any, shape: tuple[int, ...]) -> str:
    """Where maps are worth looking at: these layers may hold others, and have no row then."""
    from captum_cnn_ext.attr import suggest_layers

    try:
        found = suggest_layers(model, shape)
    except (ValueError, RuntimeError):
        return ""  # a network without such layers; the table stands by itself
    names = (f"{one.name} ({' x '.join(map(str, one.shape[2:]))})" for one in found)
    return f"\n--layer for maps, the usual choice first: {', '.join(names)}"


def _judge_graph(options: argparse.Namespace) -> None:
    if options.graph is None:
        return
    target = Path(options.graph)
    if target.suffix not in (".svg", ".dot"):
        raise UsageError(f"--graph {options.graph!r}: expected a name that ends in .svg or .dot")
    if not target.parent.is_dir():
        raise UsageError(f"--graph {options.graph!r}: its folder does not exist")


def _draw(model: Any, shape: tuple[int, ...], options: argparse.Namespace) -> None:
    from captum_cnn_ext._engine.whole_files import write_whole
    from captum_cnn_ext.evidence import model_graph

    with usage_errors(ImportError, OSError, RuntimeError):
        graph = model_graph(model, shape, options.depth)
        if options.graph.endswith(".svg"):
            graph.to_svg(options.graph)
        else:
            write_whole(Path(options.graph), graph.to_dot().encode())


def _input_size(text: str | None) -> tuple[int, ...] | int | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) > 4 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input-size {text!r}: expected 224, 224x224 or 3x224x224")
    return int(parts[0]) if len(parts) == 1 else tuple(map(int, parts))
