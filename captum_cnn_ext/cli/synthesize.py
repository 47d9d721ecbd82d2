"""``captum-cnn-ext synthesize``: pictures of what a class or the channels of a layer look for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import PROGRAM, UsageError, usage_errors
from captum_cnn_ext.cli.pictures import checked_picture, write_picture

if TYPE_CHECKING:
    from torch import Tensor

    from captum_cnn_ext.models import LoadedModel
    from captum_cnn_ext.synthesis import Objective

EXAMPLES = f"""examples:
  {PROGRAM} synthesize --target zebra,espresso
  {PROGRAM} synthesize --layer _blocks.4 --channels 3,14,15 --recipe lucid --film channels.gif
  {PROGRAM} synthesize --layer _blocks.2 --best 64 --size 96 --steps 64 --out gallery.png
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    command = parsing.add_command(
        commands,
        "synthesize",
        _synthesize,
        "synthesise images of what a class or a channel looks for",
        "Make images from noise that a class, or the channels of a layer, respond to most.",
        EXAMPLES,
    )
    value, count = partial(parsing.add_value, command), partial(parsing.add_count, command)
    parsing.add_model(command)
    value("--target", "A,B", "classes by their numbers or names; for segmentation networks and "
          "detectors class:7, or class:7@120,80 at that pixel of the image")  # fmt: skip
    value("--layer", "NAME", "dotted name of a layer, as structure prints it: its channels "
          "instead of classes")  # fmt: skip
    value("--margin", "M", "how much the other classes count against a class, from 0 to 1; a half "
          "tells apart classes that look alike", 0.5, type=float)  # fmt: skip
    value("--channels", "A,B", "channels of the layer (default: all, as a gallery)")
    count("--best", "how many channels a gallery keeps, those that reach most", 64)
    count("--size", "side of the images in pixels (default: the model's input; in a gallery 128)")
    value("--recipe", "NAME", "how the images are kept natural: transferable (the default; other "
          "networks recognise its images most often), lucid (the default of a gallery), chollet, "
          "yosinski or maco")  # fmt: skip
    count("--steps", "steps of gradient ascent; fewer are faster (default: the recipe's, 256 of "
          "transferable; in a gallery 128)")  # fmt: skip
    parsing.add_class_names(command)
    value("--film", "FILE", "save the optimisation as an animation (.gif, .webp or .mp4)")
    value("--out", "FILE", "picture to write", "synthesis.png")
    parsing.add_seed(command)
    parsing.add_no_progress(command)


def _synthesize(options: argparse.Namespace) -> int:
    channels = arguments.numbers("channels", options.channels)
    if (options.target is None) == (options.layer is None):
        raise UsageError(
            "expected either --target with classes, such as zebra,espresso, or --layer with the "
            "name of a layer"
        )
    if channels is not None and options.layer is None:
        raise UsageError("--channels: expected --layer as well")
    gallery = options.layer is not None and channels is None
    if gallery and options.film:
        raise UsageError("--film: expected --target or --channels; a gallery has no film")
    if options.film:
        _judge_film(options.film)
    checked_picture(options.out)
    loaded = arguments.load(options, options.class_names)
    targets = _targets(options.target, loaded.class_names)

    from captum_cnn_ext.render import save_film, show_images
    from captum_cnn_ext.synthesis import Snapshots, filter_atlas, maximize

    common = {
        "mean": loaded.mean,
        "std": loaded.std,
        "seed": options.seed,
        "show_progress": not options.no_progress,
    }
    with usage_errors(TypeError):
        if gallery:
            atlas = filter_atlas(
                loaded.model,
                options.layer,
                best=options.best,
                size=options.size or 128,
                recipe=options.recipe or "lucid",
                steps=options.steps or 128,
                **common,
            )
            reached = zip(atlas.channels.tolist(), atlas.values.tolist(), strict=True)
            titles = [f"{channel}: {value:.2f}" for channel, value in reached]
            heading = f"{options.layer}: the {len(titles)} channels that reached most"
            images, film = atlas.images, None
        else:
            _note_nominal_size(options, loaded)
            film = Snapshots(every=max(1, (options.steps or 256) // 32))
            objective, names = _objective(options, loaded, targets, channels)
            found = maximize(
                loaded.model,
                objective,
                options.size or loaded.input_size,
                recipe=options.recipe or "transferable",
                steps=options.steps,
                callbacks=[film],
                **common,
            )
            images = found.images
            values = found.values.tolist()
            titles = [f"{name}: {value:.2f}" for name, value in zip(names, values, strict=True)]
            if targets is not None and _are_classes(targets):
                titles = _as_seen(loaded, images, targets, titles)
            print("\n".join(titles))
            heading = options.layer or "classes"
        figure, _ = show_images(images, titles, title=f"{heading} of {loaded.name}")
        if film is not None and options.film:
            print(f"film: {save_film([*film.images, images], options.film)}")
    arguments.print_notes(loaded)
    return write_picture(figure, options.out)


def _targets(text: str | None, class_names: Sequence[str] | None) -> list[Any] | None:
    """Class arguments.numbers, or one target of a detector or a segmentation network."""
    from captum_cnn_ext.targets import AnyClass

    if text is None:
        return None
    parts = [text] if ":" in text or text in (class_names or ()) else arguments.split(text)
    if not parts:
        raise UsageError(
            f"--target {text!r}: expected classes by their numbers or names: zebra,espresso"
        )
    with usage_errors():
        target, *more = (parsing.explained_target(part, class_names) for part in parts)
    if ":" not in text:
        return [one.label if isinstance(one, AnyClass) else one for one in (target, *more)]
    if not isinstance(target, AnyClass):
        raise UsageError(f"--target {text}: expected a class, because no image has this box yet")
    return [replace(target, on_photo=False)]  # the image that is made is the model's input


def _objective(
    options: argparse.Namespace,
    loaded: LoadedModel,
    targets: list[Any] | None,
    channels: list[int] | None,
) -> tuple[Objective, list[str]]:
    from captum_cnn_ext.synthesis import Channel, Target

    if targets is not None:
        name = partial(_name, loaded)
        objective = Target(targets, margin=options.margin if _are_classes(targets) else 0.0)
        return objective, [name(t) if isinstance(t, int) else t.said(name) for t in targets]
    assert channels is not None
    return Channel(options.layer, channels), [f"channel {channel}" for channel in channels]


def _are_classes(targets: list[Any]) -> bool:
    return all(isinstance(target, int) for target in targets)


def _name(loaded: LoadedModel, label: int) -> str:
    known = loaded.class_names or []
    return known[label] if 0 <= label < len(known) else f"class {label}"


def _as_seen(
    loaded: LoadedModel, images: Tensor, classes: list[int], titles: list[str]
) -> list[str]:
    """What the network sees in the finished images, in words; a note where it is another class."""
    from captum_cnn_ext.insights.predictions import outputs_of, predicted
    from captum_cnn_ext.insights.wording import listed, percent

    mean, std = (images.new_tensor(v).reshape(-1, 1, 1) for v in (loaded.mean, loaded.std))
    like = next(loaded.model.parameters(), images)
    outputs, given = outputs_of(loaded.model, ((images - mean) / std).to(like))
    if outputs.ndim != 2:
        return titles
    said, others = [], []
    for row, label in zip(predicted(outputs, given).probabilities, classes, strict=True):
        own, most = float(row[label]), int(row.argmax())
        said.append(f"{_name(loaded, label)}: {percent(own)}")
        if own < float(row[most]):
            said[-1] += f", seen as {_name(loaded, most)} ({percent(float(row[most]))})"
        if own < float(row[most]) or (len(row) == 1 and own < 0.5):
            others.append(said[-1])
    if others:
        print(
            f"{PROGRAM}: note: the network does not recognise {len(others)} of {len(said)} images "
            f"as what was asked for: {listed(others)}. More --steps or a larger --margin may do, "
            "or --recipe yosinski, which shows it the image in no other views",
            file=sys.stderr,
        )
    return said


def _note_nominal_size(options: argparse.Namespace, loaded: LoadedModel) -> None:
    """Before the minutes that images of a wrong size take."""
    from captum_cnn_ext.models.guessed import ASSUMED
    from captum_cnn_ext.models.loaded import NOMINAL

    if not options.size and any(n == NOMINAL or n.startswith(ASSUMED) for n in loaded.notes):
        height, width = loaded.input_size
        print(
            f"{PROGRAM}: note: the images have {height} × {width} pixels, because the model came "
            "with no size of its own; --size sets another",
            file=sys.stderr,
        )


def _judge_film(name: str) -> None:
    """Before the minutes that the images take."""
    from captum_cnn_ext.render.synthesis import FILMS, require_ffmpeg

    suffix = Path(name).suffix.lower()
    if suffix not in FILMS:
        raise UsageError(f"--film {name}: expected a name that ends in one of {FILMS}")
    if suffix == ".mp4":
        try:
            require_ffmpeg()
        except ImportError as error:
            raise UsageError(f"--film: {error}") from error
