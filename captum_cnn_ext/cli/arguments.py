"""What the commands share: arguments that name a model and photos, and errors in one line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from captum_cnn_ext.models import LoadedModel

PROGRAM = "captum-cnn-ext"
DONE, INCOMPLETE, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
MODEL_HELP = (
    "demo (EfficientNet-Lite0 with its ImageNet weights), torchvision:NAME, timm:NAME, "
    "package.module:FACTORY or path/file.py:FACTORY; the last two run that code"
)
WEIGHTS_HELP = "file (.pt, .pth, .safetensors) or name such as DEFAULT, which downloads"


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
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="demo", metavar="SPEC", help=f"{MODEL_HELP} (demo)")
    parser.add_argument("--weights", metavar="W", help=WEIGHTS_HELP)
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 (default: cpu)")


def load(options: argparse.Namespace, class_names: str | None = None) -> LoadedModel:
    from captum_cnn_ext.models import load_model

    try:
        return load_model(
            options.model, weights=options.weights, class_names=class_names, device=options.device
        )
    except (ImportError, OSError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(one_line(error)) from error


def split(text: str | None) -> list[str] | None:
    """The parts of ``a,b``."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
