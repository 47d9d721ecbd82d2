"""``captum-cnn-ext dream``: a photo in which layers see more of what they saw."""

from __future__ import annotations

import argparse
from typing import Any

from captum_cnn_ext.cli.arguments import (
    DONE,
    PROGRAM,
    add_command,
    add_model_arguments,
    add_old_spelling,
    add_seed_argument,
    integer,
    load,
    print_notes,
    split,
    usage_errors,
    writing,
)
from captum_cnn_ext.cli.pictures import checked_picture

EXAMPLES = f"""examples:
  {PROGRAM} dream
  {PROGRAM} dream --image cat.jpg --layer _blocks.7,_blocks.10 --octaves 4 --out cat-dream.png
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    command = add_command(
        commands,
        "dream",
        help="DeepDream: exaggerate in a photo what layers respond to",
        description="Change a photo so that layers respond even more to what they find in it.",
        epilog=EXAMPLES,
    )
    add_model_arguments(command)
    add = command.add_argument
    add("--image", metavar="PATH", help="a picture file (default: a sample photo of a cat)")
    add(
        "--layer",
        metavar="A,B",
        help="layers by dotted name, as structure prints them (default: a middle one)",
    )
    add(
        "--octaves",
        type=integer(1),
        default=3,
        metavar="N",
        help="number of sizes, from small to whole (default: 3)",
    )
    add(
        "--steps", type=integer(1), default=20, metavar="N", help="steps at each size (default: 20)"
    )
    add(
        "--step-size",
        type=float,
        default=0.01,
        metavar="X",
        help="size of a step, for pixels in [0, 1] (default: 0.01)",
    )
    add(
        "--longest",
        type=integer(1),
        default=512,
        metavar="N",
        help="longer side in pixels (default: 512)",
    )
    add("--out", default="dream.png", metavar="FILE", help="picture to write (default: dream.png)")
    add_seed_argument(add)
    add("--no-progress", action="store_true", help="no progress bar")
    add_old_spelling(command, "--layers", "--layer")
    command.set_defaults(run=_dream)


def _dream(options: argparse.Namespace) -> int:
    from captum_cnn_ext.photos import demo_photos, load_photos

    path = checked_picture(options.out)
    with usage_errors(ImportError, OSError):
        photos = load_photos([options.image]) if options.image else demo_photos()
    loaded = load(options)

    import numpy as np
    import torch
    from PIL import Image
    from torchvision.transforms.functional import pil_to_tensor

    from captum_cnn_ext._engine.whole_files import write_whole
    from captum_cnn_ext.attr import suggest_layers
    from captum_cnn_ext.render import to_rgb
    from captum_cnn_ext.synthesis import deep_dream

    name = next(iter(photos)) if options.image else "chelsea"
    if len(photos) > 1:
        print(f"photo: {name}")
    photo = photos[name]
    photo.thumbnail((options.longest, options.longest))
    pixels = pil_to_tensor(photo.convert("L") if _is_grey(loaded.model) else photo).float() / 255
    device = next((p.device for p in loaded.model.parameters()), torch.device("cpu"))
    layers = split(options.layer)
    with usage_errors(TypeError):
        if not layers:
            middle = suggest_layers(loaded.model, pixels[None].to(device))
            layers = [middle[len(middle) // 2].name]
            print(f"layer: {layers[0]}")
        dream = deep_dream(
            loaded.model,
            pixels.to(device),
            layers,
            octaves=options.octaves,
            steps=options.steps,
            step_size=options.step_size,
            mean=loaded.mean,
            std=loaded.std,
            seed=options.seed,
            show_progress=not options.no_progress,
        )
    picture = Image.fromarray((to_rgb(dream.images[0]) * 255).round().astype(np.uint8))
    kind = Image.registered_extensions().get(path.suffix.lower())
    with writing(options.out), usage_errors():
        write_whole(path, lambda file: picture.save(file, kind))
    print(f"picture: {path}")
    print_notes(loaded)
    return DONE


def _is_grey(model: Any) -> bool:
    """Whether a network takes images of one channel, as far as its first convolution says."""
    import torch

    first = next((m for m in model.modules() if isinstance(m, torch.nn.Conv2d)), None)
    return first is not None and first.in_channels == 1
