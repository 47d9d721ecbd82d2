"""The command line: ``captum-cnn-ext audit`` and ``captum-cnn-ext structure``."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from captum_cnn_ext import __version__

if TYPE_CHECKING:
    from captum_cnn_ext.models import LoadedModel

PROGRAM = "captum-cnn-ext"
DONE, INCOMPLETE, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
MOST_IMAGES = 16
MODEL_HELP = (
    "demo (EfficientNet-Lite0 with its ImageNet weights), torchvision:NAME, timm:NAME, "
    "package.module:FACTORY or path/file.py:FACTORY; the last two run that code"
)
WEIGHTS_HELP = "file (.pt, .pth, .safetensors) or name such as DEFAULT, which downloads"
EXAMPLES = f"""examples:
  {PROGRAM} audit
      the packaged network on four packaged photos, into audit.html and audit.npz
  {PROGRAM} audit --model torchvision:resnet50 --weights DEFAULT --images photos/ \\
      --layers layer3,layer4 --out report.html
  {PROGRAM} audit --model path/net.py:build --weights net.safetensors --class-names names.txt
  {PROGRAM} structure --model torchvision:resnet18 --format markdown
"""
AUDIT_EXAMPLES = f"""examples:
  {PROGRAM} audit
  {PROGRAM} audit --images cat.jpg dog.jpg --out pets.html
  {PROGRAM} audit --model torchvision:resnet50 --weights DEFAULT --layers layer3,layer4
  {PROGRAM} audit --model path/net.py:build --weights net.pt --target 3 --device cuda
  {PROGRAM} audit --sections summary,attributions --no-progress
"""
STRUCTURE_EXAMPLES = f"""examples:
  {PROGRAM} structure
  {PROGRAM} structure --model torchvision:resnet18 --input-size 3x128x128
  {PROGRAM} structure --model timm:resnet50d --format csv > layers.csv
"""


class UsageError(Exception):
    """Something the user gave that cannot be used: one line for the user, no traceback."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, where argparse prints the usage as well."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Cost: that of the command.

    Args:
        arguments: what follows the program's name; None takes it from ``sys.argv``.

    Returns:
        0; 1 for a report in which a section failed; 2 for unusable input, with one line on
        stderr; 130 after Ctrl-C. No half-written file is left in any case.

    Raises:
        SystemExit: after ``--help`` and ``--version``.

    Example::

        >>> from captum_cnn_ext.cli import main
        >>> main(["structure", "--model", "no-such-model"])
        2
    """
    try:
        options = _parser().parse_args(arguments)
        code: int = options.run(options)
        return code
    except UsageError as error:
        print(f"{PROGRAM}: error: {error}", file=sys.stderr)
        return WRONG_ARGUMENTS
    except KeyboardInterrupt:
        print(f"\n{PROGRAM}: interrupted, nothing written", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        sys.stderr.close()
        return DONE


def _parser() -> argparse.ArgumentParser:
    style: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = _Parser(
        prog=PROGRAM,
        description="Explain what a convolutional network does with your photos.",
        epilog=EXAMPLES,
        **style,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    audit = commands.add_parser(
        "audit",
        help="write one HTML report on a network and photos",
        description="Write one self-contained HTML report and the arrays behind its pictures.",
        epilog=AUDIT_EXAMPLES,
        **style,
    )
    _model_arguments(audit)
    add = audit.add_argument
    add("--images", nargs="+", metavar="PATH", help="picture files or folders (default: packaged)")
    add("--max-images", type=int, default=MOST_IMAGES, metavar="N",
        help=f"use the first N pictures, 0 for all (default: {MOST_IMAGES})")  # fmt: skip
    add("--layers", metavar="A,B", help="dotted names of layers to explain (default: chosen)")
    add("--class-names", metavar="FILE", help="one name per line, or JSON")
    add("--target", type=int, metavar="N", help="class to explain (default: the strongest)")
    add("--sections", metavar="A,B", help="sections of the report (default: all)")
    add("--title", help="heading of the report")
    add("--out", default="audit.html", metavar="FILE", help="report to write (default: audit.html)")
    add("--seed", type=int, default=0, metavar="N", help="for random numbers (default: 0)")
    add("--no-progress", action="store_true", help="no progress bar")
    audit.set_defaults(run=_audit)

    structure = commands.add_parser(
        "structure",
        help="print a network's layers as a table",
        description="Print every layer: configuration, shapes, parameters, multiply-adds.",
        epilog=STRUCTURE_EXAMPLES,
        **style,
    )
    _model_arguments(structure)
    structure.add_argument("--input-size", metavar="CxHxW", help="such as 3x224x224")
    structure.add_argument(
        "--format", choices=("text", "csv", "markdown", "json"), default="text", help="(text)"
    )
    structure.set_defaults(run=_structure)
    return parser


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="demo", metavar="SPEC", help=f"{MODEL_HELP} (demo)")
    parser.add_argument("--weights", metavar="W", help=WEIGHTS_HELP)
    parser.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1 (default: cpu)")


# --- audit ------------------------------------------------------------------------------------


def _audit(options: argparse.Namespace) -> int:
    """Judge everything that can be judged without work, then do the work."""
    begin = time.perf_counter()
    if options.max_images < 0:
        raise UsageError(f"--max-images {options.max_images}: expected 0 or more")
    _judge_before_model(options)
    loaded = _load(options, options.class_names)
    layers = _judge_layers(options.layers, loaded)
    photos, notes = _photos(options)

    from captum_cnn_ext._engine.arguments import ArgumentError
    from captum_cnn_ext.insights import audit

    try:
        with _kept_interrupt() as check:
            done = audit(
                loaded,
                photos,
                layers=layers,
                target=options.target,
                seed=options.seed,
                show_progress=not options.no_progress,
                sections=_names(options.sections),
                title=options.title,
                notes=notes,
                command=_command(options),
                on_step=check,
            )
            check()
            saved = done.save(options.out)
    except ArgumentError as error:
        raise UsageError(_one_line(error)) from error
    except OSError as error:
        raise UsageError(f"--out {options.out}: cannot be written ({_one_line(error)})") from error
    for path, what in ((saved.report, "report"), (saved.arrays, "arrays")):
        print(f"{what}: {path} ({_file_size(path.stat().st_size)})")
    count = "1 photo" if len(photos) == 1 else f"{len(photos)} photos"
    print(f"{count} in {time.perf_counter() - begin:.0f} s")
    for note in loaded.notes:
        print(f"{PROGRAM}: note: {note}", file=sys.stderr)
    for problem in done.problems:
        traceback.print_exception(problem.error)
    if done.problems:
        failed = "; ".join(str(problem) for problem in done.problems)
        print(f"{PROGRAM}: the report is not complete: {failed}", file=sys.stderr)
    return INCOMPLETE if done.problems else DONE


@contextmanager
def _kept_interrupt() -> Iterator[Callable[..., None]]:
    """Make sure that Ctrl-C ends the block, at the latest when the function given is called.

    Python drops the ``KeyboardInterrupt`` that comes while an object is being finalised.
    """
    pressed = threading.Event()

    def note_and_raise(number: int, frame: FrameType | None) -> None:
        pressed.set()
        raise KeyboardInterrupt

    def check(*_: object) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGINT, note_and_raise)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)


def _judge_before_model(options: argparse.Namespace) -> None:
    from captum_cnn_ext.insights.files import report_paths
    from captum_cnn_ext.insights.page import require_jinja
    from captum_cnn_ext.insights.sections import chosen_sections

    try:
        require_jinja()
        report_paths(options.out)
        chosen_sections(_names(options.sections))
    except (ImportError, ValueError) as error:
        raise UsageError(_one_line(error)) from error


def _judge_layers(text: str | None, loaded: LoadedModel) -> list[str] | None:
    from captum_cnn_ext._engine.arguments import ArgumentError, find_layer

    names = _names(text)
    try:
        for name in names or ():
            find_layer(loaded.model, name, "layers")
    except ArgumentError as error:
        raise UsageError(_one_line(error)) from error
    return names


def _photos(options: argparse.Namespace) -> tuple[dict[str, Any], list[str]]:
    from captum_cnn_ext.photos import demo_photos, load_photos

    try:
        photos = demo_photos() if options.images is None else load_photos(options.images)
    except (ImportError, OSError, ValueError) as error:
        raise UsageError(_one_line(error)) from error
    if not 0 < options.max_images < len(photos):
        return photos, []
    note = (
        f"the first {options.max_images} of {len(photos)} pictures were used; "
        "--max-images 0 takes all"
    )
    print(f"{PROGRAM}: {note}", file=sys.stderr)
    return dict(list(photos.items())[: options.max_images]), [note]


def _file_size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _command(options: argparse.Namespace) -> str:
    """The command line again, without what is as by default and without folders."""
    words = [PROGRAM, "audit"]
    for name, value in vars(options).items():
        if value in (None, False) or name in ("run", "no_progress") or value == DEFAULTS.get(name):
            continue
        values = value if isinstance(value, list) else [value]
        words += [f"--{name.replace('_', '-')}", *(_last_part(str(v)) for v in values)]
    return shlex.join(words)


DEFAULTS = {"model": "demo", "out": "audit.html", "seed": 0, "max_images": MOST_IMAGES}


def _last_part(text: str) -> str:
    return Path(text).name or text


# --- structure --------------------------------------------------------------------------------


def _structure(options: argparse.Namespace) -> int:
    size = _input_size(options.input_size)
    loaded = _load(options)
    import json

    import torch

    from captum_cnn_ext.evidence import layer_table

    shape = size or (len(loaded.mean), *loaded.input_size)
    like = next((p for p in loaded.model.parameters() if p.is_floating_point()), torch.zeros(()))
    try:
        table = layer_table(loaded.model, torch.zeros(1, *shape, dtype=like.dtype))
    except ValueError as error:
        raise UsageError(_one_line(error)) from error
    if options.format == "text":
        text = str(table)
    elif options.format == "csv":
        text = table.to_csv().rstrip("\n")
    elif options.format == "markdown":
        text = table.to_markdown()
    else:
        text = json.dumps(table.to_dicts(), indent=2)
    print(text)
    sys.stdout.flush()
    return DONE


def _input_size(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"--input-size {text!r}: expected channels x height x width: 3x224x224")
    return tuple(int(part) for part in parts)


# --- both -------------------------------------------------------------------------------------


def _load(options: argparse.Namespace, class_names: str | None = None) -> LoadedModel:
    from captum_cnn_ext.models import load_model

    try:
        return load_model(
            options.model, weights=options.weights, class_names=class_names, device=options.device
        )
    except (ImportError, OSError, TypeError, ValueError, RuntimeError) as error:
        raise UsageError(_one_line(error)) from error


def _names(text: str | None) -> list[str] | None:
    """The parts of ``a,b``."""
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
