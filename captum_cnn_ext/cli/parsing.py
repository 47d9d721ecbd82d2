"""How the commands are spelled: options that several of them have, and errors in one line."""

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from captum_cnn_ext.errors import nearest

PROGRAM = "captum-cnn-ext"
DONE, INCOMPLETE, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
MOST_IMAGES = 16
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

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuses an unknown option here, where its command and the command's options are known."""
        found, rest = super().parse_known_args(args, namespace)
        unknown = next((word for word in rest if word.startswith("-")), None)
        if unknown is not None:
            hint = nearest(unknown.partition("=")[0], self._option_string_actions)
            self.error(f"there is no option {unknown}{hint}")
        return found, rest


def add_command(
    commands: Any, name: str, run: Callable[..., int], help: str, description: str, epilog: str
) -> Any:
    """A parser for the command ``name``, its examples printed as written."""
    parser = commands.add_parser(
        name,
        help=help,
        description=textwrap.fill(description, 80),
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_value(
    parser: Any, flag: str, metavar: str | None, words: str, default: Any = None, **more: Any
) -> None:
    """An option with one value; its default is told after the words."""
    told = "" if default is None else f" (default: {default})"
    parser.add_argument(flag, metavar=metavar, help=words + told, default=default, **more)


def add_count(
    parser: Any, flag: str, words: str, default: int | None = None, least: int = 1
) -> None:
    """An option with a whole number."""
    add_value(parser, flag, "N", words, default, type=integer(least))


def add_switch(parser: Any, flag: str, words: str) -> None:
    """An option without a value."""
    parser.add_argument(flag, action="store_true", help=words)


def add_model(parser: Any) -> None:
    """What names a model, and where it runs."""
    spec = (
        "demo (EfficientNet-Lite0 with its ImageNet weights), torchvision:NAME, timm:NAME, "
        "package.module:FACTORY or path/file.py:FACTORY; the last two run your code"
    )
    weights = (
        "a file (.pt, .pth, .safetensors), or a name of torchvision's or timm's such as DEFAULT, "
        "which downloads them (default: those of the demo; for other models random ones)"
    )
    add_value(parser, "--model", "SPEC", spec, "demo")
    add_value(parser, "--weights", "W", weights)
    add_value(parser, "--device", "D", "where to run: cpu, cuda, cuda:1 (default: cpu)")


class _AsTyped(argparse.Action):
    """``--image`` for ``--images``: messages name the one that was typed."""

    def __call__(self, _: Any, options: Any, values: Any, flag: str | None = None) -> None:
        setattr(options, self.dest, values)
        if flag == "--image":
            options.image = values


def add_images(parser: Any) -> None:
    parser.add_argument(
        "--images",
        "--image",
        action=_AsTyped,
        nargs="+",
        metavar="PATH",
        help="picture files, or folders, which are searched with their subfolders (default: four "
        "sample photos)",
    )
    add_on_error(parser)


def add_on_error(parser: Any) -> None:
    parser.add_argument(
        "--on-error",
        choices=("raise", "skip"),
        default="skip",
        help="if a picture cannot be read: stop with an error (raise), or leave it out and say so "
        "(skip, the default)",
    )


def add_photos(parser: Any) -> None:
    add_images(parser)
    add_count(parser, "--max-images", "use the first N pictures, 0 for all", MOST_IMAGES, 0)


def add_loader(parser: Any) -> None:
    """How a data set is read."""
    add_count(parser, "--batch-size", "images at once", 32)
    add_count(parser, "--workers", "processes that load images ahead", 0, 0)


def add_class_names(parser: Any) -> None:
    add_value(parser, "--class-names", "FILE", "names of the classes: one per line, or JSON")


def add_seed(parser: Any) -> None:
    add_value(parser, "--seed", "N", "random seed", 0, type=int)


def add_no_progress(parser: Any) -> None:
    add_switch(parser, "--no-progress", "no progress bar")


def add_target(parser: Any) -> None:
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


def integer(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """The type of an argument that counts something."""

    def judged(text: str) -> int:
        digits = text.strip()
        found = int(digits) if digits.isascii() and digits.isdecimal() else None
        if found is None or found < minimum or (maximum is not None and found > maximum):
            bounds = f"of at least {minimum}"
            if maximum is not None:
                bounds = f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"{text!r}: expected an integer {bounds}")
        return found

    return judged


def add_old_spelling(parser: Any, old: str, new: str) -> None:
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
def usage_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Errors of the block as one line for the user: a ``ValueError``, and those of ``kinds``."""
    said: tuple[type[Exception], ...] = (ValueError, *kinds)
    try:
        yield
    except said as error:
        raise UsageError(one_line(error)) from error


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
