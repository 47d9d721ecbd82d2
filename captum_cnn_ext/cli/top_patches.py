"""``captum-cnn-ext top-patches``: what excites each unit of a layer most, over a folder."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import DONE, PROGRAM, UsageError, usage_errors
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
    parser = parsing.add_command(
        commands,
        "top-patches",
        _run,
        "find the image patches that activate each channel of a layer most",
        "Run a network on a folder of pictures and find, for each channel of a layer, "
        "where it responds most. Writes channels, pictures and positions (.npz and .json); "
        "--picture draws the patches.",
        EXAMPLES,
    )
    value = partial(parsing.add_value, parser)
    parsing.add_model(parser)
    words = "dotted name of the layer, as structure prints it"
    value("--layer", "NAME", words, required=True)
    words = "a folder, which is searched with its subfolders"
    value("--images", "FOLDER", words, required=True)
    parsing.add_count(parser, "--k", "patches for each channel", 9)
    value("--channels", "A,B", "channels to rank (default: all)")
    words = "by which value of its map a channel is ranked"
    value("--unit", None, words, "max", choices=("max", "min", "mean"))
    parsing.add_loader(parser)
    parsing.add_on_error(parser)
    value("--checkpoint", "FILE", "save intermediate results in this .npz file, and resume from it")
    value("--out", "FILE", "file of results", "top_patches.npz")
    value("--picture", "FILE", f"draw the first {DRAWN} channels ranked into this file")
    parsing.add_no_progress(parser)


def _run(options: argparse.Namespace) -> int:
    channels = arguments.numbers("channels", options.channels)
    _judge_files(options)
    loaded = arguments.load(options)
    from captum_cnn_ext.evidence import top_patches
    from captum_cnn_ext.evidence.streams.image_stream import ImageFiles

    with processes() as (rank, _), arguments.writing(options.out), usage_errors(FileNotFoundError):
        loaded = arguments.settled(loaded, ImageFiles(options.images), said=rank == 0)
        with arguments.as_notes():
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
            arguments.print_notes(loaded)
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
