"""What the commands do with their arguments: load a model, read photos, say what is to be noted."""

from __future__ import annotations

import argparse
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli.parsing import DONE, INCOMPLETE, PROGRAM, UsageError, one_line, usage_errors

if TYPE_CHECKING:
    from captum_cnn_ext.insights import Problem
    from captum_cnn_ext.models import LoadedModel
    from captum_cnn_ext.photos import PhotoFiles

SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")  # of weights
PARAMETERS = {  # that have another name than their option
    "dataset": "data",
    "layers": "layer",
    "num_workers": "workers",
    "patch_images": "images",
    "photos": "images",
    "spec": "model",
}


@contextmanager
def as_notes(said: bool = True) -> Iterator[None]:
    """Print the block's warnings after it, each once and without the place in our code.

    Args:
        said: False keeps quiet, where another process speaks.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            texts = [" ".join(str(w.message).split()) for w in caught if said]
            for text in dict.fromkeys(texts):
                print(f"{PROGRAM}: note: {text}", file=sys.stderr)


@contextmanager
def writing(out: str, option: str = "out") -> Iterator[None]:
    """The same where ``--out`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"--{option} {out}: cannot be written ({one_line(error)})") from error


@contextmanager
def auditing(out: str) -> Iterator[None]:
    """What an audit refuses, and that its report cannot be written, as one line."""
    from captum_cnn_ext.errors import ArgumentError

    try:
        with writing(out):
            yield
    except ArgumentError as error:
        raise UsageError(one_line(error)) from error


def in_options(message: str, options: argparse.Namespace) -> str:
    """A message that begins with an argument of Python's, with the option that was typed for it."""
    begin = re.match(r"([a-z_]+)((?:\[\d+\])?)([=:])", message)
    if begin is None:
        return message
    name = PARAMETERS.get(begin[1], begin[1])
    name = "image" if name == "images" and hasattr(options, "image") else name
    if not hasattr(options, name):
        return message
    between = " " if begin[3] == "=" else ":"
    rest = message[begin.end() :].replace(
        "model.named_modules() lists", f"{PROGRAM} structure lists"
    )
    return f"--{name.replace('_', '-')}{begin[2]}{between}{rest}"


def print_notes(loaded: LoadedModel) -> None:
    """What one has to know of the model to believe its pictures: random weights, and the like."""
    from captum_cnn_ext.models.guessed import Guess

    guess = loaded.preprocess
    told = guess.note if isinstance(guess, Guess) and guess.settled else None  # before the work
    for note in loaded.notes:
        if note != told:
            print(f"{PROGRAM}: note: {note}", file=sys.stderr)


def print_problems(problems: Sequence[Problem]) -> int:
    """What failed and is missing from a report; the exit code."""
    for problem in problems:
        traceback.print_exception(problem.error)
    if problems:
        failed = "; ".join(str(problem) for problem in problems)
        print(f"{PROGRAM}: the report is not complete: {failed}", file=sys.stderr)
    return INCOMPLETE if problems else DONE


def load(options: argparse.Namespace, class_names: str | None = None) -> LoadedModel:
    from captum_cnn_ext.models import load_model

    if sys.stderr.isatty():  # importing PyTorch and building a model take seconds
        print(f"loading {options.model} ...", file=sys.stderr)
    with usage_errors(ImportError, OSError, TypeError, RuntimeError):
        return load_model(
            options.model, weights=options.weights, class_names=class_names, device=options.device
        )


def load_other(options: argparse.Namespace, argument: str) -> LoadedModel:
    """A second model: another spec, or the same spec with other weights."""
    other, given = argparse.Namespace(**vars(options)), getattr(options, argument)
    if Path(given).suffix.lower() in SUFFIXES:
        other.weights = given
    else:
        other.model, other.weights = given, None
    try:
        return load(other, options.class_names)
    except UsageError as error:
        raise UsageError(f"--{argument} {given}: {error}") from error


def settled(loaded: LoadedModel, pictures: Any, said: bool = True) -> LoadedModel:
    """The model as it takes these pictures; that this is a guess is said before any work."""
    from captum_cnn_ext.models import guessed

    with as_notes(said):
        return guessed.settled(loaded, pictures)


def read_photos(options: argparse.Namespace) -> tuple[PhotoFiles, list[str]]:
    """The pictures asked for, and a note where only the first ones were read."""
    from captum_cnn_ext.photos import PhotoFiles, demo_photos, load_photos

    most = getattr(options, "max_images", 0) or None
    with usage_errors(ImportError, OSError):
        if options.images is None:
            every = demo_photos()
            photos = PhotoFiles(list(every.items())[:most], len(every))
        else:
            photos = load_photos(options.images, on_error=options.on_error, max_images=most)
    if photos.skipped:
        print(f"{PROGRAM}: skipped: {photos.skipped_words()}", file=sys.stderr)
    if len(photos) + len(photos.skipped) == photos.found:
        return photos, []
    note = f"the first {most} of {photos.found} pictures were used; --max-images 0 takes all"
    print(f"{PROGRAM}: {note}", file=sys.stderr)
    return photos, [note]


def split(text: str | None) -> list[str] | None:
    """The parts of ``a,b``."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def numbers(name: str, text: str | None) -> list[int] | None:
    """The numbers of ``--name 3,14,15``."""
    parts = split(text)
    if parts is None:
        return None
    if not parts or not all(part.isdecimal() for part in parts):
        raise UsageError(f"--{name} {text!r}: expected numbers from 0, such as 3,14,15")
    return [int(part) for part in parts]
