"""``captum-cnn-ext deconv``: what the strongest units of a layer saw, in one picture."""

import argparse
from functools import partial
from typing import Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import PROGRAM, usage_errors
from captum_cnn_ext.cli.pictures import checked_picture, write_picture

UNITS = 8
EXAMPLES = f"""examples:
  {PROGRAM} deconv
  {PROGRAM} deconv --image dog.jpg --layer _blocks.10 --channels 7,29,84
  {PROGRAM} deconv --model torchvision:vgg16 --weights DEFAULT --image dog.jpg \\
      --layer features.21 --top 12 --rule deconvnet --out dog.png
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    deconv = parsing.add_command(
        commands,
        "deconv",
        _deconv,
        "show which pixels drive the channels of a layer",
        "Project the strongest responses of a layer's channels back to the pixels "
        "of the photos that caused them (deconvnet, or guided backpropagation).",
        EXAMPLES,
    )
    value = partial(parsing.add_value, deconv)
    parsing.add_model(deconv)
    parsing.add_photos(deconv)
    value("--layer", "NAME", "dotted name of the layer, as structure prints it (default: the end "
          "of the last stage but one)")  # fmt: skip
    value("--channels", "A,B", "channels of the layer (default: the strongest for each photo)")
    value("--top", "K", f"number of channels (default: {UNITS}, or all there are)",
          type=parsing.integer(1))  # fmt: skip
    deconv.add_argument(
        "--rule", choices=("auto", "deconvnet", "guided", "gradient"), default="auto",
        help="what rectifiers do on the way back (default: auto, which is deconvnet if there is "
        "max-pooling before the layer, else guided; DeconvNet in Python takes "
        "deconvnet)")  # fmt: skip
    deconv.add_argument("--crop", choices=("energy", "field", "none"), default="energy",
        help="what is drawn of each picture: the part with 95 %% of its energy (the default), the "
        "part that the unit sees (its receptive field), or all of it")  # fmt: skip
    value("--out", "FILE", "picture", "deconv.png")


def _deconv(options: argparse.Namespace) -> int:
    from captum_cnn_ext.attr import LayerFeatureMaps
    from captum_cnn_ext.insights.inputs import read_photos as read_inputs
    from captum_cnn_ext.insights.layers import default_layers
    from captum_cnn_ext.insights.reconstructing import AUTO, reconstructed
    from captum_cnn_ext.render import show_reconstructions

    channels = arguments.numbers("channels", options.channels)
    checked_picture(options.out)
    loaded = arguments.load(options)
    pictures, _ = arguments.read_photos(options)
    loaded = arguments.settled(loaded, pictures)
    with usage_errors():
        photos = read_inputs(pictures, loaded.preprocess, loaded.model)
        layer = options.layer or default_layers(loaded.model, photos.inputs[:1])[0][-2:][0].name
        top = options.top
        if top is None and channels is None:
            maps = LayerFeatureMaps(loaded.model, layer).attribute(photos.inputs[:1])
            top = min(UNITS, maps.shape[1])
        with arguments.as_notes():
            found, rule = reconstructed(
                loaded.model, layer, photos.inputs, options.rule, channels=channels, top=top
            )
        figure, _ = show_reconstructions(
            photos.inputs,
            found,
            mean=loaded.mean,
            std=loaded.std,
            row_titles=photos.names,
            crop=options.crop,
            title=f"{layer}, {rule}",
        )
    for name, units in zip(photos.names, found.channels.tolist(), strict=True):
        print(f"{name}: channels {', '.join(map(str, units))} of {layer}, {rule}")
    if rule == "guided" and options.rule == AUTO:
        print("guided, because there is no max-pooling before this layer; see --rule")
    arguments.print_notes(loaded)
    return write_picture(figure, options.out)
