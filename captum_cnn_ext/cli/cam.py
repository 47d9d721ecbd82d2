"""``captum-cnn-ext cam``: several methods on the same photos, in one picture."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from captum_cnn_ext.cli.arguments import (
    METHODS_HELP,
    PROGRAM,
    add_command,
    add_model_arguments,
    add_old_spelling,
    add_photo_arguments,
    add_seed_argument,
    add_target,
    as_notes,
    explained_target,
    load,
    print_notes,
    read_photos,
    split,
    usage_errors,
)
from captum_cnn_ext.cli.pictures import add_overlays, checked_picture, write_overlays, write_picture

METHODS = "LayerHiResCam,Occlusion,FullGrad,Saliency"  # that differ in kind
EXAMPLES = f"""examples:
  {PROGRAM} cam
  {PROGRAM} cam --image dog.jpg --methods gradcam,hirescam,ablationcam --target 207
  {PROGRAM} cam --model torchvision:resnet50 --weights DEFAULT --image dog.jpg \\
      --layer layer3,layer4 --methods LayerLayerCam,LayerRefineCam,Saliency --out dog.png
  {PROGRAM} cam --model torchvision:fasterrcnn_resnet50_fpn --weights DEFAULT --image dog.jpg \\
      --layer backbone.body.layer4 --methods hirescam,occlusion --target box:0
  {PROGRAM} list-methods
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    cam = add_command(
        commands,
        "cam",
        help="explain photos by several methods, side by side in one picture",
        description="Explain photos by several methods and write one picture that compares "
        "them. Prints which layer was used.",
        epilog=EXAMPLES,
    )
    add_model_arguments(cam)
    add_photo_arguments(cam)
    add = cam.add_argument
    add("--methods", default=METHODS, metavar="A,B",
        help=f"{METHODS_HELP} (default: {METHODS})")  # fmt: skip
    add(
        "--layer",
        metavar="A,B",
        help="layers by dotted name, as structure prints them (default: the suggested one)",
    )
    add_target(cam)
    add("--class-names", metavar="FILE", help="names of the classes: one per line, or JSON")
    add("--sign", choices=("positive", "negative", "all", "absolute_value"), default="positive",
        help="which evidence is drawn (default: positive)")  # fmt: skip
    add_seed_argument(add)
    add("--out", default="cam.png", metavar="FILE", help="picture to write (default: cam.png)")
    add_overlays(cam)
    add("--no-progress", action="store_true", help="no progress bar")
    add_old_spelling(cam, "--layers", "--layer")
    cam.set_defaults(run=_cam)


def _cam(options: argparse.Namespace) -> int:
    from captum_cnn_ext.insights.comparison import compare
    from captum_cnn_ext.methods import INPUT, find_methods

    with usage_errors():
        methods = [method.name for method in find_methods(split(options.methods) or [])]
    checked_picture(options.out)
    loaded = load(options, options.class_names)
    target = explained_target(options.target, loaded.class_names)
    photos, _ = read_photos(options)
    with usage_errors(), as_notes():
        found = compare(
            loaded,
            photos,
            methods,
            layers=split(options.layer),
            target=target,
            seed=options.seed,
            show_progress=not options.no_progress,
        )
        figure = found.figure(options.sign)
    for line in found.labels:
        print(line)
    for place in dict.fromkeys(place for place in found.places.values() if place != INPUT):
        names = [
            name.removesuffix(f" at {place}") for name, at in found.places.items() if at == place
        ]
        print(f"{', '.join(names)}: layer {place}")
    if "LayerCam" in methods and "LayerLayerCam" not in methods:
        text = "LayerCam is CAM (Zhou 2016); LayerCAM (Jiang 2021) is called LayerLayerCam"
        print(f"{PROGRAM}: note: {text}", file=sys.stderr)
    write_picture(figure, options.out)
    print_notes(loaded)
    return write_overlays(found, options.overlays, sign=options.sign)
