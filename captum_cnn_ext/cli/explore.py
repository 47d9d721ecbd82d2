"""``captum-cnn-ext explore``: a page on which a network is looked at, live."""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import DONE, PROGRAM, UsageError, usage_errors

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
    explore = parsing.add_command(
        commands,
        "explore",
        _explore,
        "explore a network interactively in the browser",
        "Open a page on this machine that shows what a network does with your images: "
        "its layers, their units, the classes, two images beside each other, a camera. Makes no "
        "network requests; ends with Ctrl-C.",
        EXAMPLES,
    )
    value, switch = partial(parsing.add_value, explore), partial(parsing.add_switch, explore)
    parsing.add_model(explore)
    parsing.add_photos(explore)
    parsing.add_class_names(explore)
    explore.add_argument("--top-patches", nargs="+", default=[], metavar="FILE",
        help="results of the command top-patches, shown beside the units")  # fmt: skip
    explore.add_argument("--dataset", "--patch-images", dest="patch_images", metavar="FOLDER",
        help="the folder of pictures that --top-patches ranked (default: --images)")  # fmt: skip
    value("--cache", "FOLDER", "keep synthesised images in this folder (default: until the "
          "explorer ends)")  # fmt: skip
    value("--host", "H", "address to listen on", "127.0.0.1")
    value("--port", "N", "port (default: the first free one from 7860)",
          type=parsing.integer(1, 65535))  # fmt: skip
    switch("--allow-remote", "allow other machines to connect; there is no password")
    switch("--open", "open the page in the browser")
    parsing.add_old_spelling(explore, "--labels", "--class-names")


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
    loaded = arguments.load(options, options.class_names)
    photos, _ = arguments.read_photos(options)
    loaded = arguments.settled(loaded, photos)
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
