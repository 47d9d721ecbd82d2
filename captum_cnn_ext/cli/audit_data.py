"""``captum-cnn-ext audit --data``: one HTML report on a network and a labelled data set."""

from __future__ import annotations

import argparse
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli import arguments, parsing
from captum_cnn_ext.cli.parsing import DONE, PROGRAM, UsageError
from captum_cnn_ext.cli.processes import processes

if TYPE_CHECKING:
    from captum_cnn_ext.models import LoadedModel

FOR_PHOTOS = ("images", "methods", "target", "sections", "quick", "full", "overlays")
FOR_DATA = ("labels", "masks", "boxes", "twin", "checkpoint", "no_tests")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What names a labelled data set."""
    group = parser.add_argument_group("a labelled data set instead of photos")
    value = partial(parsing.add_value, group)
    value("--data", "FOLDER", "a folder with one folder for each class; or demo, which makes a "
          "small data set with a planted shortcut, and a model")  # fmt: skip
    value(
        "--labels", "CSV", "a table with the columns path,label[,group], instead of class folders"
    )
    value("--masks", "FOLDER", "masks of the objects: pictures with the photos' names, 0 outside "
          "the object")  # fmt: skip
    value("--boxes", "PATH", "boxes of the objects: a COCO JSON file, or a folder of Pascal VOC "
          "XML files")  # fmt: skip
    value("--twin", "FILE", "weights of a second training run of the same model, which tells with "
          "--against how much changes by chance alone")  # fmt: skip
    parsing.add_loader(group)
    parsing.add_switch(group, "--no-tests", "leave out the search for shortcuts and its tests")
    value("--checkpoint", "FOLDER", "keep intermediate results here, and resume from them")


def judge(options: argparse.Namespace) -> None:
    """Refuse arguments that belong to the other kind of audit."""
    wrong = FOR_DATA if options.data is None else FOR_PHOTOS
    given = [name for name in wrong if getattr(options, name) not in (None, False)]
    if given and options.data is None:
        raise UsageError(
            f"--{given[0].replace('_', '-')}: is for a labelled data set; name one with --data"
        )
    if given:
        raise UsageError(f"--{given[0]}: is for photos (--images), not for --data")
    if options.data is not None and len(arguments.split(options.layer) or [""]) > 1:
        raise UsageError(f"--layer {options.layer!r}: expected one layer with --data")
    if options.twin is not None and options.against is None:
        raise UsageError("--twin: needs --against as well")


def audit_data(options: argparse.Namespace) -> int:
    """Load, stream, write."""
    with audited(options) as (done, loaded, first):
        if not first:
            return DONE
        saved = done.save(options.out)
        if options.open:
            webbrowser.open(saved.report.resolve().as_uri())
        return _said(done, saved, loaded)


@contextmanager
def audited(options: argparse.Namespace) -> Iterator[tuple[Any, LoadedModel, bool]]:
    """The audit that the options ask for, its model, and whether this process speaks for all."""
    from captum_cnn_ext.insights import audit_dataset

    with arguments.auditing(options.out), processes() as (rank, _):
        loaded, photos = _demo(options) if options.data == "demo" else _given(options)
        loaded = arguments.settled(loaded, photos, said=rank == 0)
        others: dict[str, Any] = {
            name: arguments.settled(arguments.load_other(options, name), photos, said=rank == 0)
            for name in ("against", "twin")
            if getattr(options, name) is not None
        }
        for note in photos.notes if rank == 0 else ():
            print(f"{PROGRAM}: note: {note}", file=sys.stderr)
        done = audit_dataset(
            loaded,
            photos,
            layer=next(iter(arguments.split(options.layer) or ()), None),
            batch_size=options.batch_size,
            num_workers=options.workers,
            on_error=options.on_error,
            checkpoint=options.checkpoint,
            test_shortcuts=not options.no_tests,
            seed=options.seed,
            title=options.title,
            show_progress=not options.no_progress,
            **others,
        )
        yield done, loaded, rank == 0


def _given(options: argparse.Namespace) -> tuple[LoadedModel, Any]:
    from captum_cnn_ext.photos import labelled_photos

    loaded = arguments.load(options, options.class_names)
    photos = labelled_photos(
        options.data,
        labels=options.labels,
        masks=options.masks,
        boxes=options.boxes,
        class_names=loaded.class_names,
    )
    return loaded, photos


def _demo(options: argparse.Namespace) -> tuple[LoadedModel, Any]:
    from captum_cnn_ext.insights.dataset.demo import demo

    if options.model != "demo" or options.labels or options.masks or options.boxes:
        raise UsageError("--data demo: brings its own model and labels")
    print("making pictures and training a small network on them ...", file=sys.stderr)
    return demo(options.seed)


def _said(done: Any, saved: Any, loaded: LoadedModel) -> int:
    for what in ("report", "findings", "arrays", "manifest", "tables", "images"):
        if getattr(saved, what) is not None:
            print(f"{what}: {getattr(saved, what)}")
    print(done.page.overview.headline)
    for verdict in ("wrong", "unsure"):
        for finding, step in done.page.overview.advised(verdict):
            print(f"- {finding.text} {step[:1].upper()}{step[1:]}".rstrip())
    arguments.print_notes(loaded)
    return arguments.print_problems(done.page.problems)
