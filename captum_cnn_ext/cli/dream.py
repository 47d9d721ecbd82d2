"""``captum-cnn-ext dream``: a photo in which layers see more of what they saw."""

import argparse
from functools import partial
from typing import Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import DONE, PROGRAM, usage_errors
from captum_cnn_ext.cli.pictures import checked_picture

EXAMPLES = f"""examples:
  {PROGRAM} dream
  {PROGRAM} dream --image cat.jpg --layer _blocks.7,_blocks.10 --octaves 4 --out cat-dream.png
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    dream = parsing.add_command(
        commands,
        "dream",
        _dream,
        "DeepDream: exaggerate in a photo what layers respond to",
        "Change a photo so that layers respond even more to what they find in it.",
        EXAMPLES,
    )
    value, count = partial(parsing.add_value, dream), partial(parsing.add_count, dream)
    parsing.add_model(dream)
    value("--image", "PATH", "a picture file (default: a sample photo of a cat)")
    value("--layer", "A,B", "layers by dotted name, as structure prints them (default: a middle "
          "one)")  # fmt: skip
    count("--octaves", "number of sizes, from small to whole", 3)
    count("--steps", "steps at each size", 20)
    value("--step-size", "X", "size of a step, for pixels in [0, 1]", 0.01, type=float)
    count("--longest", "longer side in pixels", 512)
    value("--out", "FILE", "picture to write", "dream.png")
    parsing.add_seed(dream)
    parsing.add_no_progress(dream)
    parsing.add_old_spelling(dream, "--layers", "--layer")


def _dream(options: argparse.Namespace) -> int:
    from captum_cnn_ext.photos import demo_photos, load_photos

    path = checked_picture(options.out)
    with usage_errors(ImportError, OSError):
        photos = load_photos([options.image]) if options.image else demo_photos()
    loaded = arguments.load(options)

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
    layers = arguments.split(options.layer)
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
    with arguments.writing(options.out), usage_errors():
        write_whole(path, lambda file: picture.save(file, kind))
    print(f"picture: {path}")
    arguments.print_notes(loaded)
    return DONE


def _is_grey(model: Any) -> bool:
    """Whether a network takes images of one channel, as far as its first convolution says."""
    import torch

    first = next((m for m in model.modules() if isinstance(m, torch.nn.Conv2d)), None)
    return first is not None and first.in_channels == 1
