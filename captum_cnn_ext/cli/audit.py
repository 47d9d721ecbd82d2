"""``captum-cnn-ext audit``: one HTML report on a network and photos."""

from __future__ import annotations

import argparse
import shlex
import signal
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli import arguments, audit_data, parsing
from captum_cnn_ext.cli.parsing import PROGRAM, usage_errors
from captum_cnn_ext.cli.pictures import add_overlays, write_overlays

if TYPE_CHECKING:
    from captum_cnn_ext.insights import SavedAudit
    from captum_cnn_ext.models import LoadedModel

EXAMPLES = f"""examples:
  {PROGRAM} audit
  {PROGRAM} audit --images cat.jpg dog.jpg --out pets.html
  {PROGRAM} audit --model torchvision:resnet50 --weights DEFAULT --layer layer3,layer4
  {PROGRAM} audit --model path/net.py:build --weights net.pt --target 3 --device cuda
  {PROGRAM} audit --sections summary,attributions --no-progress
  {PROGRAM} audit --full
  {PROGRAM} audit --model torchvision:fasterrcnn_resnet50_fpn --weights DEFAULT \\
      --images street.jpg --target box:0
  {PROGRAM} audit --model torchvision:resnet50 --weights old.pt --against new.pt
  {PROGRAM} audit --against torchvision:resnet34 --quick
  {PROGRAM} audit --data demo
  {PROGRAM} audit --data FOLDER --model path/net.py:build --weights w.pt --against old.pt
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    audit = parsing.add_command(
        commands,
        "audit",
        _audit,
        "write one HTML report on a network and some photos, or a labelled data set",
        "Write one self-contained HTML report on what a network does with some photos, "
        "or (--data) with a labelled data set; beside it the arrays behind its "
        "pictures (.npz), its record and tables (.manifest.json), and the tables as CSV.",
        EXAMPLES,
    )
    value = partial(parsing.add_value, audit)
    parsing.add_model(audit)
    parsing.add_photos(audit)
    value("--layer", "A,B", "layers to explain, by dotted name as structure prints them (default: "
          "the suggested ones)")  # fmt: skip
    value("--methods", "A,B", f"{parsing.METHODS_HELP} (default: a quick set)")
    parsing.add_class_names(audit)
    parsing.add_target(audit)
    value("--sections", "A,B", "sections of the report (default: all)")
    switch = partial(parsing.add_switch, audit.add_mutually_exclusive_group())
    switch("--quick", "predictions and maps only, in seconds (the default without --images)")
    switch("--full", "with checks of the maps and a look inside, in a minute or two (the default "
           "with --images)")  # fmt: skip
    value("--against", "OTHER", "compare with a second model (a spec as for --model) or with a "
          f"checkpoint of the same (a file: {', '.join(arguments.SUFFIXES)})")  # fmt: skip
    value("--title", None, "title of the report")
    value("--out", "FILE", "report to write", "audit.html")
    parsing.add_switch(audit, "--open", "open the report in the browser")
    parsing.add_seed(audit)
    parsing.add_no_progress(audit)
    parsing.add_old_spelling(audit, "--layers", "--layer")
    add_overlays(audit)
    audit_data.add_arguments(audit)
    audit.set_defaults(default=audit.get_default)


def _audit(options: argparse.Namespace) -> int:
    """Judge everything that can be judged without work, then do the work."""
    begin = time.perf_counter()
    audit_data.judge(options)
    _judge_before_model(options)
    if options.data is not None:
        return audit_data.audit_data(options)
    loaded = arguments.load(options, options.class_names)
    layers = _judge_layers(options.layer, loaded)
    target = parsing.explained_target(options.target, loaded.class_names)
    rival = None if options.against is None else arguments.load_other(options, "against")
    photos, notes = arguments.read_photos(options)
    loaded = arguments.settled(loaded, photos)
    rival = None if rival is None else arguments.settled(rival, photos)
    named = options.images is not None or options.sections is not None
    options.quick = options.quick or not (options.full or named)

    def announce(seconds: float) -> None:
        kind = "quick report" if options.quick else "report"
        print(f"{kind} on {_photos(len(photos))}, about {_rounded(seconds)}", flush=True)

    from captum_cnn_ext.insights import audit

    with arguments.auditing(options.out), _kept_interrupt() as check:
        done = audit(
            loaded,
            photos,
            layers=layers,
            methods=arguments.split(options.methods),
            target=target,
            seed=options.seed,
            show_progress=not options.no_progress,
            sections=arguments.split(options.sections),
            quick=options.quick,
            on_begin=announce,
            against=rival,
            title=options.title,
            notes=notes,
            command=_command(options),
            on_step=check,
        )
        check()
        saved = done.save(options.out)
    _print_files(saved)
    if options.open:
        webbrowser.open(saved.report.resolve().as_uri())
    drawn = write_overlays(done, options.overlays)
    print(done.overview.headline)
    print(f"{_photos(len(photos))} in {time.perf_counter() - begin:.0f} s", end="")
    print("; --full adds checks of the maps and a look inside" if options.quick else "")
    arguments.print_notes(loaded)
    return arguments.print_problems(done.problems) or drawn


def _print_files(saved: SavedAudit) -> None:
    files = ((saved.report, "report"), (saved.arrays, "arrays"), (saved.manifest, "record"))
    for path, what in files:
        print(f"{what}: {path} ({_file_size(path.stat().st_size)})")
    print(f"tables: {saved.tables}")
    if saved.images is not None:
        size = sum(file.stat().st_size for file in saved.images.iterdir())
        print(f"images: {saved.images} ({_file_size(size)}); share it together with the report")


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
    from captum_cnn_ext.insights.report.page import require_jinja
    from captum_cnn_ext.insights.sections import chosen_sections
    from captum_cnn_ext.methods import find_methods

    with usage_errors(ImportError):
        require_jinja()
        report_paths(options.out)
        chosen_sections(arguments.split(options.sections), comparing=options.against is not None)
        if options.methods:
            find_methods(arguments.split(options.methods) or [])


def _judge_layers(text: str | None, loaded: LoadedModel) -> list[str] | None:
    from captum_cnn_ext._engine.judging.arguments import find_layer

    names = arguments.split(text)
    with usage_errors():
        for name in names or ():
            find_layer(loaded.model, name, "layers")
    return names


def _photos(count: int) -> str:
    return "1 photo" if count == 1 else f"{count} photos"


def _rounded(seconds: float) -> str:
    if seconds < 60:
        return f"{max(5, 5 * round(seconds / 5))} s"
    return "a minute" if seconds < 90 else f"{round(seconds / 60)} minutes"


def _file_size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def _command(options: argparse.Namespace) -> str:
    """The command line again, without what is as by default and without folders."""
    words = [PROGRAM, "audit"]
    for name, value in vars(options).items():
        left_out = value in (None, options.default(name))
        if left_out or name in ("run", "default", "no_progress", "open"):
            continue
        values = value if isinstance(value, list) else [value]
        words.append(f"--{name.replace('_', '-')}")
        words += [] if value is True else [_last_part(str(v)) for v in values]
    return shlex.join(words)


def _last_part(text: str) -> str:
    return Path(text).name or text
