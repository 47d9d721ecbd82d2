"""``captum-cnn-ext top-patches``: what excites each unit of a layer most, over a folder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from captum_cnn_ext.cli.arguments import (
    DONE,
    PROGRAM,
    UsageError,
    add_command,
    add_loader_arguments,
    add_model_arguments,
    add_on_error_argument,
    as_notes,
    integer,
    load,
    numbers,
    print_notes,
    usage_errors,
    writing,
)
from captum_cnn_ext.cli.pictures import checked_picture, write_picture
from captum_cnn_ext.cli.processes import processes

DRAWN = 12  # channels in the picture unless named
EXAMPLES = f"""examples:
  {PROGRAM} top-patches --images photos/ --layer _blocks.4
  {PROGRAM} top-patches --model torchvision:resnet50 --weights DEFAULT --layer layer3 \\
      --images imagenet/val --workers 4 --checkpoint job.npz --on-error skip
  torchrun --nproc-per-node 2 -m captum_cnn_ext top-patches --images photos/ --layer _blocks.4
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    parser = add_command(
        commands,
        "top-patches",
        help="find the image patches that activate each channel of a layer most",
        description="Run a network on a folder of pictures and find, for each channel of a layer, "
        "where it responds most. Writes channels, pictures and positions (.npz and .json); "
        "--picture draws the patches.",
        epilog=EXAMPLES,
    )
    add_model_arguments(parser)
    add = parser.add_argument
    add(
        "--layer",
        required=True,
        metavar="NAME",
        help="dotted name of the layer, as structure prints it",
    )
    add(
        "--images",
        required=True,
        metavar="FOLDER",
        help="a folder, which is searched with its subfolders",
    )
    add(
        "--k", type=integer(1), default=9, metavar="N", help="patches for each channel (default: 9)"
    )
    add("--channels", metavar="A,B", help="channels to rank (default: all)")
    add(
        "--unit",
        choices=("max", "min", "mean"),
        default="max",
        help="by which value of its map a channel is ranked (default: max)",
    )
    add_loader_arguments(add)
    add_on_error_argument(parser)
    add(
        "--checkpoint",
        metavar="FILE",
        help="save intermediate results in this .npz file, and resume from it",
    )
    add(
        "--out",
        default="top_patches.npz",
        metavar="FILE",
        help="file of results (default: top_patches.npz)",
    )
    add("--picture", metavar="FILE", help=f"draw the first {DRAWN} channels ranked into this file")
    add("--no-progress", action="store_true", help="no progress bar")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    channels = numbers("channels", options.channels)
    _judge_files(options)
    loaded = load(options)
    from captum_cnn_ext.evidence import top_patches

    with processes() as (rank, _), writing(options.out), usage_errors(FileNotFoundError):
        with as_notes():
            top = top_patches(
                loaded.model,
                options.layer,
                options.images,
                options.k,
                channels,
                options.unit,
                preprocess=loaded.preprocess,
                batch_size=options.batch_size,
                num_workers=options.workers,
                on_error=options.on_error,
                checkpoint=options.checkpoint,
                show_progress=not options.no_progress,
            )
        if rank == 0:
            _write(top, loaded, options)
            print_notes(loaded)
    return DONE


def _write(top: Any, loaded: Any, options: argparse.Namespace) -> None:
    path = top.save(options.out)
    print(top)
    for number, why in top.skipped:
        print(f"skipped image {number}: {why}")
    print(f"result: {path} and {path.with_suffix('.json').name}")
    if options.picture:
        from captum_cnn_ext.render import show_patches

        shown = top.channels[:DRAWN]
        figure, _ = show_patches(
            top.patches(options.images, shown, loaded.preprocess),
            mean=loaded.mean,
            std=loaded.std,
            row_titles=[str(channel) for channel in shown.tolist()],
            values=top.values[:DRAWN],
            title=f"{top.layer}: {len(shown)} of {len(top.channels)} channels, "
            f"strongest of {top.seen:,} images",
        )
        write_picture(figure, options.picture, "picture")


def _judge_files(options: argparse.Namespace) -> None:
    out = Path(options.out)
    if out.suffix != ".npz":
        raise UsageError(f"--out {options.out!r}: expected a file name that ends in .npz")
    if not out.parent.is_dir():
        raise UsageError(f"--out {options.out!r}: its folder does not exist")
    if options.picture is not None:
        checked_picture(options.picture, "picture")
    if not Path(options.images).is_dir():
        raise UsageError(f"--images {options.images!r}: expected a folder")
