"""``captum-cnn-ext bench``: methods x images, what each map costs and what it is worth."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli.arguments import (
    DONE,
    PROGRAM,
    UsageError,
    add_command,
    add_images_arguments,
    add_model_arguments,
    integer,
    load,
    one_line,
    read_photos,
    split,
)

if TYPE_CHECKING:
    from captum_cnn_ext.bench import Results
    from captum_cnn_ext.models import LoadedModel

EXAMPLES = f"""examples:
  {PROGRAM} bench
  {PROGRAM} bench --methods gaussian,LayerHiResCam,Occlusion --images photos/ --variants 1
  {PROGRAM} bench --model torchvision:resnet50 --weights DEFAULT --layer layer4 --device cuda
  {PROGRAM} bench --adapters benchmarks/peers.py
  torchrun --nproc-per-node 4 -m captum_cnn_ext bench --device cuda

A run that was interrupted goes on where it stopped when it is started again with the same --out.
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    bench = add_command(
        commands,
        "bench",
        help="compare attribution methods: cost and faithfulness",
        description="Run methods on images and write a table, a picture and the figures of each "
        "map (FILE.json, FILE.md, FILE.png). Under torchrun, images are shared out.",
        epilog=EXAMPLES,
    )
    add_model_arguments(bench)
    add = bench.add_argument
    add_images_arguments(bench)
    add("--variants", type=integer(1, 10), default=10, metavar="N",
        help="crops and mirror images of each photo, 1 to 10 (default: 10)")  # fmt: skip
    add("--methods", metavar="A,B", help="names as in the table or as list-methods prints them "
        "(default: those of the table in benchmarks/)")  # fmt: skip
    add("--adapters", metavar="FILE", help="a Python file with more METHODS; runs that code")
    add("--layer", metavar="NAME", help="dotted name of the layer for CAMs (default: chosen)")
    add("--steps", type=integer(1), default=24, metavar="N", help="of insertion and deletion (24)")
    add("--road-shares", default="0.2,0.4,0.6,0.8", metavar="A,B", help="removed by ROAD")
    add("--seed", type=int, default=0, metavar="N", help="for random numbers (default: 0)")
    add("--out", default="bench.json", metavar="FILE", help="results (default: bench.json)")
    add("--no-progress", action="store_true", help="no progress bar")
    bench.set_defaults(run=_bench)


def _bench(options: argparse.Namespace) -> int:
    out = Path(options.out)
    if out.suffix != ".json" or not out.parent.is_dir():
        raise UsageError(f"--out {options.out}: expected a name that ends in .json, in a folder")
    shares = _shares(options.road_shares)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines, for each map
    with _workers(options) as (rank, workers):
        return _run(options, out, shares, rank, workers)


def _run(
    options: argparse.Namespace, out: Path, shares: tuple[float, ...], rank: int, workers: int
) -> int:
    import torch

    from captum_cnn_ext import bench
    from captum_cnn_ext._engine.judging.arguments import ArgumentError
    from captum_cnn_ext.bench.cost import machine
    from captum_cnn_ext.bench.results import joined

    loaded = load(options)
    methods = _methods(options)
    images = _images(options, loaded)
    device = torch.device(options.device or "cpu")
    layer = _layer(options, loaded, device)
    settings = bench.Settings(
        loaded.name, loaded.weights, layer, options.steps, shares, options.seed
    )
    parts = sorted(out.parent.glob(f"{out.stem}.part*.json"))
    try:
        results = joined(settings.to_dict(), [out, *parts])
    except ArgumentError as error:
        raise UsageError(f"--out {out}: {one_line(error)}") from error
    done = len(results)
    if done and rank == 0:
        print(f"{PROGRAM}: {done} maps are there already", file=sys.stderr)
    results.machine = results.machine or machine(device)
    own = out if workers == 1 else out.with_name(f"{out.stem}.part{rank}.json")
    bench.run(
        loaded.model,
        methods,
        images,
        settings,
        results,
        device=device,
        save=lambda found: found.save(own),
        show_progress=rank == 0 and not options.no_progress,
        only=lambda number: number % workers == rank,
    )
    if workers > 1:
        torch.distributed.barrier()
        if rank:
            return DONE
        parts = sorted(out.parent.glob(f"{out.stem}.part*.json"))
        results.merge(joined(settings.to_dict(), parts))
    _write(results.in_order(list(methods), list(images)), out)
    for part in parts:
        part.unlink()
    return DONE


def _write(results: Results, out: Path) -> None:
    from captum_cnn_ext._engine.whole_files import write_together
    from captum_cnn_ext.bench import draw, markdown

    table = markdown(results)
    results.save(out)
    figure = draw(results)
    write_together(
        {
            out.with_suffix(".md"): table.encode(),
            out.with_suffix(".png"): lambda file: figure.savefig(file, dpi=130, format="png"),
        }
    )
    print(table)
    print(f"written: {out}, {out.with_suffix('.md')}, {out.with_suffix('.png')}")


@contextmanager
def _workers(options: argparse.Namespace) -> Iterator[tuple[int, int]]:
    """This process's number and how many there are, as torchrun says."""
    workers = int(os.environ.get("WORLD_SIZE", "1"))
    if workers == 1:
        yield 0, 1
        return
    import torch

    if options.device == "cuda":
        options.device = f"cuda:{os.environ['LOCAL_RANK']}"
    torch.distributed.init_process_group("gloo")
    try:
        yield torch.distributed.get_rank(), workers
    finally:
        torch.distributed.destroy_process_group()


def _methods(options: argparse.Namespace) -> dict[str, Any]:
    from captum_cnn_ext.bench.methods import METHODS, function_of
    from captum_cnn_ext.methods import find_methods

    adapters = {}
    if options.adapters:
        try:
            adapters = runpy.run_path(options.adapters)["METHODS"]
        except Exception as error:  # the user's code can raise anything
            raise UsageError(f"--adapters {options.adapters}: {one_line(error)}") from error
    if options.methods is None:
        return {**METHODS, **adapters}
    found = {"gaussian": METHODS["gaussian"]}  # what all are compared with
    for name in re.split(r",(?!\s*\d)", options.methods):  # version 0.1 had "SmoothGrad, 8 samples"
        if name.strip() in adapters:
            found[name.strip()] = adapters[name.strip()]
            continue
        try:
            (known,) = find_methods([name.strip()])
        except ValueError as error:
            raise UsageError(f"--{one_line(error)}") from error
        found[known.name] = function_of(known)
    return found


def _images(options: argparse.Namespace, loaded: LoadedModel) -> dict[str, Any]:
    from captum_cnn_ext.bench import variants

    photos, _ = read_photos(options)
    try:
        pictures = variants(photos, options.variants)
    except ValueError as error:
        raise UsageError(one_line(error)) from error
    return {name: lambda p=p: loaded.preprocess(p) for name, p in pictures.items()}


def _layer(options: argparse.Namespace, loaded: LoadedModel, device: Any) -> str:
    import torch

    from captum_cnn_ext._engine.judging.arguments import ArgumentError, find_layer
    from captum_cnn_ext.attr import suggest_layers

    try:
        if options.layer is not None:
            find_layer(loaded.model, options.layer)
            return str(options.layer)
        like = torch.zeros(1, len(loaded.mean), *loaded.input_size, device=device)
        return suggest_layers(loaded.model, like)[0].name
    except ArgumentError as error:
        raise UsageError(f"--layer: {one_line(error)}") from error


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in split(text) or ())
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise UsageError(f"--road-shares {text!r}: expected numbers between 0 and 1: 0.2,0.5")
    return shares
