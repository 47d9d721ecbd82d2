"""``captum-cnn-ext cam``: several methods on the same photos, in one picture."""

import argparse
import sys
from functools import partial
from typing import Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import PROGRAM, usage_errors
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
    cam = parsing.add_command(
        commands,
        "cam",
        _cam,
        "explain photos by several methods, side by side in one picture",
        "Explain photos by several methods and write one picture that compares "
        "them. Prints which layer was used.",
        EXAMPLES,
    )
    value = partial(parsing.add_value, cam)
    parsing.add_model(cam)
    parsing.add_photos(cam)
    value("--methods", "A,B", parsing.METHODS_HELP, METHODS)
    value("--layer", "A,B", "layers by dotted name, as structure prints them (default: the "
          "suggested one)")  # fmt: skip
    parsing.add_target(cam)
    parsing.add_class_names(cam)
    value("--sign", None, "which evidence is drawn", "positive",
          choices=("positive", "negative", "all", "absolute_value"))  # fmt: skip
    parsing.add_seed(cam)
    value("--out", "FILE", "picture to write", "cam.png")
    add_overlays(cam)
    parsing.add_no_progress(cam)
    parsing.add_old_spelling(cam, "--layers", "--layer")


def _cam(options: argparse.Namespace) -> int:
    from captum_cnn_ext.insights.comparison import compare, place_in_words
    from captum_cnn_ext.methods import INPUT, find_methods

    with usage_errors():
        methods = [method.name for method in find_methods(arguments.split(options.methods) or [])]
    checked_picture(options.out)
    loaded = arguments.load(options, options.class_names)
    target = parsing.explained_target(options.target, loaded.class_names)
    photos, _ = arguments.read_photos(options)
    loaded = arguments.settled(loaded, photos)
    with usage_errors(), arguments.as_notes():
        found = compare(
            loaded,
            photos,
            methods,
            layers=arguments.split(options.layer),
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
        print(f"{', '.join(names)}: {place_in_words(found, place)}")
    if "LayerCam" in methods and "LayerLayerCam" not in methods:
        text = "LayerCam is CAM (Zhou 2016); LayerCAM (Jiang 2021) is called LayerLayerCam"
        print(f"{PROGRAM}: note: {text}", file=sys.stderr)
    write_picture(figure, options.out)
    arguments.print_notes(loaded)
    return write_overlays(found, options.overlays, sign=options.sign)
