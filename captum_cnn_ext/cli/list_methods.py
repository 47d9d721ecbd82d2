"""``captum-cnn-ext list-methods``: which question each method answers, its cost, its paper."""

from __future__ import annotations

import argparse
import json
import math
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli import parsing
from captum_cnn_ext.cli.parsing import DONE, PROGRAM

if TYPE_CHECKING:
    from captum_cnn_ext.methods import KnownMethod

WIDTH = 96
FACTS = ("name", "at", "question", "idea", "advice", "mean_rank", "cost", "paper", "origin",
         "gradient", "also")  # fmt: skip
ORDER = (
    "Best first, whatever it costs: by the mean rank over the eight tasks of `bench --truth`,\n"
    "where the right answer is known (1 is best; a few ranks make no difference). Methods without\n"
    "a rank come last; random and gaussian are baselines, which do not look at the network.\n"
    "A name may be shortened: gradcam++ is LayerGradCamPlusPlus, layercam is LayerLayerCam."
)
EXAMPLES = f"""examples:
  {PROGRAM} list-methods
  {PROGRAM} list-methods --format short
  {PROGRAM} list-methods --format json
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    command = parsing.add_command(
        commands,
        "list-methods",
        _list_methods,
        "list every method: its question, when to take it, cost, paper",
        "Print which question each method answers, when to take it, what it costs, and "
        "its paper; best first.",
        EXAMPLES,
    )
    parsing.add_value(command, "--format", None, "short: one line for each method", "text",
                      choices=("text", "short", "json"))  # fmt: skip


def _list_methods(options: argparse.Namespace) -> int:
    from captum_cnn_ext.methods import known_methods

    methods = sorted(known_methods().values(), key=lambda m: m.mean_rank or math.inf)
    if options.format == "json":
        print(json.dumps([_facts(method) for method in methods], indent=2, ensure_ascii=False))
    elif options.format == "short":
        width = max(len(method.name) for method in methods)
        rows = [f"{method.name:{width}}  {method.question}" for method in methods]
        print("\n".join([ORDER, "", *rows]))
    else:
        print("\n\n".join([ORDER, *(_text(method) for method in methods)]))
    sys.stdout.flush()
    return DONE


def _facts(method: KnownMethod) -> dict[str, Any]:
    return {name: getattr(method, name) for name in FACTS}


def _text(method: KnownMethod) -> str:
    where = {
        "input": "a map of the input, for `cam`",
        "layer": "a map of a layer, for `cam`",
        "layers": "one map of several layers, for `cam`",
        "no map": "in Python",
    }
    gives = "a map of the input for a box, for `cam`" if method.of_boxes else where[method.at]
    lines = [
        f"{method.name} ({method.origin})",
        f"question  {method.question}",
        f"idea      {method.idea}",
        f"advice    {method.advice}",
        f"rank      {'' if method.mean_rank is None else f'{method.mean_rank:.0f}'}",
        f"cost      {method.cost}",
        f"paper     {method.paper.replace('*', '')}",
        f"gives     {gives}",
    ]
    wrapped = [lines[0], *(f"  {line}" for line in lines[1:] if line.split(maxsplit=1)[1:])]
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent=" " * 12, break_on_hyphens=False)
        for line in wrapped
    )
