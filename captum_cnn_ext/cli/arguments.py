"""What the commands share: arguments that name a model and photos, and errors in one line."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from captum_cnn_ext.models import LoadedModel
    from captum_cnn_ext.photos import PhotoFiles

PROGRAM = "captum-cnn-ext"
DONE, INCOMPLETE, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
MOST_IMAGES = 16
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")  # of weights
MODEL_HELP = (
    "demo (EfficientNet-Lite0 with its ImageNet weights), torchvision:NAME, timm:NAME, "
    "package.module:FACTORY or path/file.py:FACTORY; the last two run your code"
)
PARAMETERS = {  # that have another name than their option
    "dataset": "data",
    "layers": "layer",
    "num_workers": "workers",
    "patch_images": "images",
    "photos": "images",
    "spec": "model",
}
WEIGHTS_HELP = (
    "a file (.pt, .pth, .safetensors), or a name of torchvision's or timm's such as DEFAULT, which "
    "downloads them (default: those of the demo; for other models random ones)"
)
METHODS_HELP = (
    "names as list-methods prints them; capitals and a leading Layer may be left out: gradcam, "
    "smoothgrad"
)
TARGET_FORMS = "a class by its number or name, box:3, class:3 or class:7@120,80"
_NAMED_TARGET = re.compile(r"(class:)?(?!box:|-\d)([^@]+?)(@\d+,\d+)?")


class UsageError(Exception):
    """Something the user gave that cannot be used: one line for the user, no traceback."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse prints the usage as well."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def add_command(commands: Any, name: str, *, help: str, description: str, epilog: str) -> Any:
    """A parser for the command ``name``, its examples printed as written."""
    return commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, 80),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="demo", metavar="SPEC", help=f"{MODEL_HELP} (default: demo)"
    )
    parser.add_argument("--weights", metavar="W", help=WEIGHTS_HELP)
    parser.add_argument(
        "--device", metavar="D", help="where to run: cpu, cuda, cuda:1 (default: cpu)"
    )


def add_images_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--images",
        "--image",
        nargs="+",
        metavar="PATH",
        help="picture files, or folders, which are searched with their subfolders (default: four "
        "sample photos)",
    )
    add_on_error_argument(parser)


def add_on_error_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="skip",
        help="if a picture cannot be read: stop with an error (raise), or leave it out and say so "
        "(skip, the default)",
    )


def add_loader_arguments(add: Callable[..., Any]) -> None:
    """How a data set is read; ``add`` is a parser's or a group's ``add_argument``."""
    add(
        "--batch-size",
        type=integer(1),
        default=32,
        metavar="N",
        help="images at once (default: 32)",
    )
    add(
        "--workers",
        type=integer(0),
        default=0,
        metavar="N",
        help="processes that load images ahead (default: 0)",
    )


def add_seed_argument(add: Callable[..., Any]) -> None:
    add("--seed", type=int, default=0, metavar="N", help="random seed (default: 0)")


def add_photo_arguments(parser: argparse.ArgumentParser) -> None:
    add_images_arguments(parser)
    parser.add_argument(
        "--max-images",
        type=integer(0),
        default=MOST_IMAGES,
        metavar="N",
        help=f"use the first N pictures, 0 for all (default: {MOST_IMAGES})",
    )


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """The type of an argument that counts something."""

    def judged(text: str) -> int:
        found = int(text) if text.strip().isdecimal() else None
        if found is None or found < minimum or (maximum is not None and found > maximum):
            bounds = f"from {minimum} to {maximum}" if maximum else f"of at least {minimum}"
            raise argparse.ArgumentTypeError(f"{text!r}: expected an integer {bounds}")
        return found

    return judged


def add_target(parser: argparse.ArgumentParser) -> None:
    """What is explained: a class, a box, an area."""
    parser.add_argument(
        "--target",
        type=_target_text,
        metavar="T",
        help="number or name of a class (default: the most probable); for detectors and "
        "segmentation networks box:3, class:3, or class:7@120,80 at that pixel of the photo",
    )


def _target_text(text: str) -> str:
    """The type of ``--target``: what was typed, if it can be one; names are looked up later."""
    from captum_cnn_ext.targets import target_from_text

    if _NAMED_TARGET.fullmatch(text.strip()) is None:
        try:
            target_from_text(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r}: expected {TARGET_FORMS}") from error
    return text


def explained_target(text: str | None, class_names: Sequence[str] | None) -> Any:
    """What ``--target`` means for a model with these classes."""
    from captum_cnn_ext.models.class_names import class_index
    from captum_cnn_ext.targets import AnyClass, target_from_text

    if text is None:
        return None
    try:
        return target_from_text(text)
    except ValueError:
        named = _NAMED_TARGET.fullmatch(text.strip())
        if named is None:
            raise
    begin, name, point = named.groups(default="")
    with usage_errors():
        label = class_index(name, class_names)
    return target_from_text(f"{begin}{label}{point}") if point else AnyClass(label)


def add_old_spelling(parser: argparse.ArgumentParser, old: str, new: str) -> None:
    """Take ``old`` for ``new``, hidden and with a note, for one more version."""
    action = next(a for a in parser._actions if new in a.option_strings)
    parser.add_argument(
        old,
        action=_OldSpelling,
        dest=action.dest,
        const=new,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )


class _OldSpelling(argparse.Action):
    def __call__(self, parser: Any, namespace: Any, values: Any, option: str | None = None) -> None:
        note = f"{option} is the old spelling of {self.const} and goes away in the next version"
        print(f"{PROGRAM}: note: {note}", file=sys.stderr)
        setattr(namespace, self.dest, values)


@contextmanager
def as_notes() -> Iterator[None]:
    """Print the block's warnings after it, each once and without the place in our code."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        finally:
            for text in dict.fromkeys(" ".join(str(w.message).split()) for w in caught):
                print(f"{PROGRAM}: note: {text}", file=sys.stderr)


@contextmanager
def usage_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of the block as one line for the user: a ``ValueError``, and those of ``kinds``."""
    said: tuple[type[Exception], ...] = (ValueError, *kinds)
    try:
        yield
    except said as error:
        raise UsageError(one_line(error)) from error


@contextmanager
def writing(out: str, option: str = "out") -> Iterator[None]:
    """The same where ``--out`` cannot be written."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"--{option} {out}: cannot be written ({one_line(error)})") from error


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
    return f"--{name.replace('_', '-')}{begin[2]}{between}{message[begin.end() :]}"


def print_notes(loaded: LoadedModel) -> None:
    """What one has to know of the model to believe its pictures: random weights, and the like."""
    for note in loaded.notes:
        print(f"{PROGRAM}: note: {note}", file=sys.stderr)


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


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
