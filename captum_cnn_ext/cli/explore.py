"""``captum-cnn-ext explore``: a page on which a network is looked at, live."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli.arguments import (
    DONE,
    PROGRAM,
    UsageError,
    add_command,
    add_model_arguments,
    add_old_spelling,
    add_photo_arguments,
    integer,
    load,
    read_photos,
    usage_errors,
)

if TYPE_CHECKING:
    from captum_cnn_ext.insights.explorer.code_snippets import Setup

EXAMPLES = f"""examples:
  {PROGRAM} explore
  {PROGRAM} explore --model torchvision:resnet50 --weights DEFAULT --images photos/
  {PROGRAM} explore --model path/net.py:build --weights net.pt --class-names names.txt \\
      --images photos/ --top-patches top_patches.npz --cache synthesised/
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    explore = add_command(
        commands,
        "explore",
        help="explore a network interactively in the browser",
        description="Open a page on this machine that shows what a network does with your images: "
        "its layers, their units, the classes, two images beside each other, a camera. Makes no "
        "network requests; ends with Ctrl-C.",
        epilog=EXAMPLES,
    )
    add_model_arguments(explore)
    add_photo_arguments(explore)
    add = explore.add_argument
    add("--class-names", metavar="FILE",
        help="names of the classes: one per line, or JSON")  # fmt: skip
    add("--top-patches", nargs="+", default=[], metavar="FILE",
        help="results of the command top-patches, shown beside the units")  # fmt: skip
    add("--dataset", "--patch-images", dest="patch_images", metavar="FOLDER",
        help="the folder of pictures that --top-patches ranked (default: --images)")  # fmt: skip
    add(
        "--cache",
        metavar="FOLDER",
        help="keep synthesised images in this folder (default: until the explorer ends)",
    )
    add(
        "--host", default="127.0.0.1", metavar="H", help="address to listen on (default: 127.0.0.1)"
    )
    add(
        "--port",
        type=integer(1, 65535),
        metavar="N",
        help="port (default: the first free one from 7860)",
    )
    add("--allow-remote", action="store_true",
        help="allow other machines to connect; there is no password")  # fmt: skip
    add("--open", action="store_true", help="open the page in the browser")
    add_old_spelling(explore, "--labels", "--class-names")
    explore.set_defaults(run=_explore)


def _explore(options: argparse.Namespace) -> int:
    from captum_cnn_ext.evidence import TopPatches
    from captum_cnn_ext.insights import explore
    from captum_cnn_ext.insights.explorer.limits import judge_host
    from captum_cnn_ext.insights.explorer.serving import require_gradio
    from captum_cnn_ext.insights.report.work import CALLED_OFTEN

    with usage_errors(ImportError, OSError):
        require_gradio()
        judge_host(options.host, options.allow_remote)
        top = [TopPatches.load(file) for file in options.top_patches]
    ranked = _ranked(options)
    loaded = load(options, options.class_names)
    photos, _ = read_photos(options)
    with usage_errors(TypeError):
        page = explore(
            loaded,
            photos,
            top_patches=top,
            patch_images=ranked,
            cache=options.cache,
            host=options.host,
            port=options.port,
            allow_remote=options.allow_remote,
            open_browser=options.open,
            sources=_sources(options, photos),
            setup=_setup(options),
        )
    for said_on_the_page in (CALLED_OFTEN, "DeconvNet: there is no max-pooling"):
        warnings.filterwarnings("ignore", said_on_the_page)
    print(f"{PROGRAM}: the explorer is at {page.url} (Ctrl-C ends it)", flush=True)
    try:
        page.wait()
    except KeyboardInterrupt:
        print()
    return DONE


def _ranked(options: argparse.Namespace) -> str | None:
    """The folder that the top patches are cut from."""
    if not options.top_patches:
        return None
    given = options.patch_images or (options.images or [None])[0]
    if given is None or not Path(given).is_dir():
        raise UsageError(
            "--top-patches: expected --dataset with the folder that was ranked, or --images with it"
        )
    return str(given)


def _sources(options: argparse.Namespace, photos: dict[str, Any]) -> dict[str, str]:
    skipping = ", on_error='skip'" * (options.on_error == "skip")
    given = "demo_photos()", f"load_photos({options.images!r}{skipping})"
    reader = given[options.images is not None]
    return {name: f"{reader}[{name!r}]" for name in photos}


def _setup(options: argparse.Namespace) -> Setup:
    from captum_cnn_ext.insights.explorer.code_snippets import Setup

    words = [repr(options.model)]
    words += [f"weights={options.weights!r}"] if options.weights else []
    words += [f"device={options.device!r}"] if options.device else []
    return Setup(
        ("from captum_cnn_ext.models import load_model",),
        (
            f"net = load_model({', '.join(words)})",
            "model, preprocess, mean, std = net.model, net.preprocess, net.mean, net.std",
        ),
    )
