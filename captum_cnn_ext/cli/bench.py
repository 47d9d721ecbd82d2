"""``captum-cnn-ext bench``: methods x images, what each map costs and what it is worth."""

from __future__ import annotations

import argparse
import os
import re
import runpy
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import DONE, PROGRAM, UsageError, one_line, usage_errors
from captum_cnn_ext.cli.processes import processes, results_in, saved_by, write
from captum_cnn_ext.errors import nearest

if TYPE_CHECKING:
    from captum_cnn_ext.models import LoadedModel

EXAMPLES = f"""examples:
  {PROGRAM} bench
  {PROGRAM} bench --methods gaussian,LayerHiResCam,Occlusion --images photos/ --variants 1
  {PROGRAM} bench --model torchvision:resnet50 --weights DEFAULT --layer layer4 --device cuda
  {PROGRAM} bench --model torchvision:fasterrcnn_resnet50_fpn --weights DEFAULT --target box:0
  {PROGRAM} bench --adapters benchmarks/peers.py
  {PROGRAM} bench --truth quick
  {PROGRAM} bench --truth --tasks triggers --methods gradcam,layercam,occlusion
  torchrun --nproc-per-node 4 -m captum_cnn_ext bench --device cuda

A run that was interrupted goes on where it stopped when it is started again with the same --out.
With --truth, networks are kept in a folder beside the results.
"""
TRUTH = {"full": (5, 16, 2), "quick": (1, 16, 2)}  # seeds, images of a task, judged ones


def add(commands: Any) -> None:
    """Add this command to the program's."""
    bench = parsing.add_command(
        commands,
        "bench",
        _bench,
        "compare attribution methods: cost and faithfulness",
        "Run methods on images and write a table, a picture and the numbers of each "
        "map (FILE.json, FILE.md, FILE.png). Under torchrun, images are split across processes.",
        EXAMPLES,
    )
    value, count = partial(parsing.add_value, bench), partial(parsing.add_count, bench)
    parsing.add_model(bench)
    parsing.add_images(bench)
    value("--variants", "N", "crops and mirror images made of each photo, 1 to 10", 10,
          type=parsing.integer(1, 10))  # fmt: skip
    value(
        "--methods", "A,B", f"{parsing.METHODS_HELP} (default: those of the table in benchmarks/)"
    )
    value("--adapters", "FILE", "a Python file of yours that defines METHODS = {name: "
          "function(subject, x, target)}, or TASKS for --truth; it is run")  # fmt: skip
    value("--layer", "NAME", "dotted name of the layer for CAMs (default: the suggested one)")
    parsing.add_target(bench)
    count("--steps", "steps of insertion and deletion", 24)
    value("--road-shares", "A,B", "shares of the pixels that ROAD removes", "0.2,0.4,0.6,0.8")
    parsing.add_seed(bench)
    value("--out", "FILE", "file of results (default: bench.json; with --truth truth.json)")
    bench.add_argument("--truth", nargs="?", const="full", choices=sorted(TRUTH), metavar="quick",
        help="judge methods on networks that are trained for it, where the right answer is "
            "known")  # fmt: skip
    value("--tasks", "A,B", "tasks of --truth (default: all)")
    count("--seeds", "networks trained for each task of --truth (default: 5; quick: 1)")
    parsing.add_no_progress(bench)


def _bench(options: argparse.Namespace) -> int:
    out = Path(options.out or ("truth.json" if options.truth else "bench.json"))
    if out.suffix != ".json" or not out.parent.is_dir():
        raise UsageError(f"--out {options.out}: expected a name that ends in .json, in a folder")
    shares = _shares(options.road_shares)
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler's own lines, for each map
    with processes() as (rank, workers):
        if workers > 1 and options.device == "cuda":
            options.device = f"cuda:{os.environ['LOCAL_RANK']}"
        if options.truth:
            if options.target is not None:
                raise UsageError("--target: not with --truth, whose tasks say what is explained")
            return _truth(options, out, rank, workers)
        return _run(options, out, shares, rank, workers)


def _run(
    options: argparse.Namespace, out: Path, shares: tuple[float, ...], rank: int, workers: int
) -> int:
    import torch

    from captum_cnn_ext import bench
    from captum_cnn_ext.bench.terminal import text

    loaded = arguments.load(options)
    target = _target(options, loaded)
    methods = _methods(options)
    images = _images(options, loaded)
    device = torch.device(options.device or "cpu")
    layer = _layer(options, loaded, device, images, target)
    settings = bench.Settings(
        loaded.name,
        loaded.weights,
        layer,
        options.steps,
        shares,
        options.seed,
        target=options.target,
    )
    with results_in(out, settings.to_dict(), device, rank, workers) as results:
        bench.run(
            loaded.model,
            methods,
            images,
            settings,
            results,
            device=device,
            save=saved_by(out, rank, workers),
            show_progress=rank == 0 and not options.no_progress,
            only=lambda number: number % workers == rank,
            target=target,
        )
    if rank == 0:
        kept = results.in_order(list(methods), list(images))
        write(kept, out, bench.markdown(kept), lambda: bench.draw(kept), text(kept))
        arguments.print_notes(loaded)
    return DONE


def _target(options: argparse.Namespace, loaded: LoadedModel) -> Any:
    if "@" in (options.target or ""):
        raise UsageError(
            f"--target {options.target}: expected no point, which would be another place in each "
            "crop of a photo"
        )
    return parsing.explained_target(options.target, loaded.class_names)


def _truth(options: argparse.Namespace, out: Path, rank: int, workers: int) -> int:
    import torch

    from captum_cnn_ext.bench import truths

    seeds, images, judged = TRUTH[options.truth]
    seeds = seeds if options.seeds is None else options.seeds
    tasks = {**truths.TASKS, **_adapters(options, "TASKS")}
    for name in arguments.split(options.tasks) or ():
        if name not in tasks:
            raise UsageError(f"--tasks: {name!r} is no task{nearest(name, list(tasks))}")
    tasks = {name: tasks[name] for name in arguments.split(options.tasks) or tasks}
    methods = truths.contenders(_adapters(options, "METHODS"))
    if options.methods is not None:
        chosen = _chosen(options.methods, methods)
        methods = {m: f for m, f in methods.items() if m in {*chosen, *truths.CONTROLS}}
    settings = truths.TruthSettings(images, judged)
    order = truths.items(tasks, range(seeds))
    with results_in(out, settings.to_dict(), torch.device("cpu"), rank, workers) as results:
        save = saved_by(out, rank, workers)
        stale = truths.without_stale(tasks, range(seeds), methods, results)
        if stale:
            save(results)
            if rank == 0:
                print(f"{PROGRAM}: {stale} of them by other code: made again", file=sys.stderr)
        try:
            truths.run_truths(
                tasks,
                range(seeds),
                methods,
                settings,
                results,
                training=truths.Training(out.with_name(f"{out.stem}.networks")),
                save=save,
                show_progress=rank == 0 and not options.no_progress,
                only=lambda number: number % workers == rank,
            )
        except (ImportError, RuntimeError) as error:  # an extra is missing, a network did not learn
            raise UsageError(f"--truth: {one_line(error)}") from error
    if rank == 0:
        kept = results.in_order(list(methods), order)
        whole, shown = truths.markdown(kept, tasks), truths.table.text(kept)
        write(kept, out, whole, lambda: truths.draw(kept), shown)
    return DONE


def _chosen(asked: str, methods: dict[str, Any]) -> list[str]:
    """Names as in the table, or as `list-methods` prints them: then at both layers."""
    from captum_cnn_ext.methods import find_methods

    found = []
    for name in re.split(r",(?!\s*\d|\s*middle)", asked):
        name = name.strip()
        if name not in methods:
            with usage_errors():
                name = find_methods([name])[0].name
        found += [m for m in methods if m == name or m == f"{name}, middle layer"]
    return found


def _methods(options: argparse.Namespace) -> dict[str, Any]:
    from captum_cnn_ext.bench.methods import METHODS, function_of
    from captum_cnn_ext.methods import find_methods

    adapters = _adapters(options, "METHODS")
    if options.methods is None:
        return {**METHODS, **adapters}
    found = {"gaussian": METHODS["gaussian"]}  # what all are compared with
    for name in re.split(r",(?!\s*\d)", options.methods):  # version 0.1 had "SmoothGrad, 8 samples"
        if name.strip() in adapters:
            found[name.strip()] = adapters[name.strip()]
            continue
        with usage_errors():
            (known,) = find_methods([name.strip()])
        found[known.name] = function_of(known)
    return found


def _adapters(options: argparse.Namespace, kind: str) -> dict[str, Any]:
    """What the user's file has under this name."""
    if not options.adapters:
        return {}
    try:
        made = runpy.run_path(options.adapters)
    except Exception as error:  # the user's code can raise anything
        raise UsageError(f"--adapters {options.adapters}: {one_line(error)}") from error
    if not {"METHODS", "TASKS"} & set(made):
        raise UsageError(
            f"--adapters {options.adapters}: defines neither METHODS nor TASKS; expected "
            'METHODS = {"name": function}, each called as function(subject, x, target)'
        )
    found: dict[str, Any] = made.get(kind, {})
    return found


def _images(options: argparse.Namespace, loaded: LoadedModel) -> dict[str, Any]:
    from captum_cnn_ext.bench import variants

    photos, _ = arguments.read_photos(options)
    with usage_errors():
        pictures = variants(photos, options.variants)
    return {name: lambda p=p: loaded.preprocess(p) for name, p in pictures.items()}


def _layer(
    options: argparse.Namespace,
    loaded: LoadedModel,
    device: Any,
    images: dict[str, Any],
    target: Any,
) -> str:
    import torch

    from captum_cnn_ext._engine.judging.arguments import find_layer
    from captum_cnn_ext.attr import suggest_layers
    from captum_cnn_ext.insights.layers import default_layers

    with usage_errors():
        if options.layer is not None:
            find_layer(loaded.model, options.layer)
            return str(options.layer)
        if target is not None:  # the first image tells where such a box is found
            image = next(iter(images.values()))()[None].to(device)
            return default_layers(loaded.model, image, [target])[0][-1].name
        like = torch.zeros(1, len(loaded.mean), *loaded.input_size, device=device)
        return suggest_layers(loaded.model, like)[0].name


def _shares(text: str) -> tuple[float, ...]:
    try:
        shares = tuple(float(part) for part in arguments.split(text) or ())
    except ValueError:
        shares = ()
    if not shares or not all(0 < share < 1 for share in shares):
        raise UsageError(f"--road-shares {text!r}: expected numbers between 0 and 1: 0.2,0.5")
    return shares
