"""``captum-cnn-ext audit --data``: one HTML report on a network and a labelled data set."""

from __future__ import annotations

import argparse
import sys
import traceback
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from captum_cnn_ext.cli.arguments import (
    DONE,
    INCOMPLETE,
    PROGRAM,
    UsageError,
    add_loader_arguments,
    load,
    load_other,
    one_line,
    print_notes,
    split,
)
from captum_cnn_ext.cli.processes import processes

if TYPE_CHECKING:
    from captum_cnn_ext.models import LoadedModel

FOR_PHOTOS = ("images", "methods", "target", "sections", "quick", "full", "overlays")
FOR_DATA = ("labels", "masks", "boxes", "twin", "checkpoint", "no_tests")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What names a labelled data set."""
    group = parser.add_argument_group("a labelled data set instead of photos")
    add = group.add_argument
    add(
        "--data",
        metavar="FOLDER",
        help="a folder with one folder for each class; or demo, which makes a small data set "
        "with a planted shortcut, and a model",
    )
    add(
        "--labels",
        metavar="CSV",
        help="a table with the columns path,label[,group], instead of class folders",
    )
    add(
        "--masks",
        metavar="FOLDER",
        help="masks of the objects: pictures with the photos' names, 0 outside the object",
    )
    add(
        "--boxes",
        metavar="PATH",
        help="boxes of the objects: a COCO JSON file, or a folder of Pascal VOC XML files",
    )
    add(
        "--twin",
        metavar="FILE",
        help="weights of a second training run of the same model, which tells with --against how "
        "much changes by chance alone",
    )
    add_loader_arguments(add)
    add("--no-tests", action="store_true", help="leave out the search for shortcuts and its tests")
    add(
        "--checkpoint",
        metavar="FOLDER",
        help="keep intermediate results here, and resume from them",
    )


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
    if options.data is not None and len(split(options.layer) or [""]) > 1:
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
    from captum_cnn_ext._engine.judging.arguments import ArgumentError
    from captum_cnn_ext.insights import audit_dataset

    try:
        with processes() as (rank, _):
            loaded, photos = _demo(options) if options.data == "demo" else _given(options)
            others = {
                name: None if getattr(options, name) is None else load_other(options, name)
                for name in ("against", "twin")
            }
            for note in photos.notes if rank == 0 else ():
                print(f"{PROGRAM}: note: {note}", file=sys.stderr)
            done = audit_dataset(
                loaded,
                photos,
                layer=next(iter(split(options.layer) or ()), None),
                batch_size=options.batch_size,
                num_workers=options.workers,
                on_error=options.on_error,
                checkpoint=options.checkpoint,
                test_shortcuts=not options.no_tests,
                seed=options.seed,
                title=options.title,
                show_progress=not options.no_progress,
                against=others["against"],
                twin=others["twin"],
            )
            yield done, loaded, rank == 0
    except ArgumentError as error:
        raise UsageError(one_line(error)) from error
    except OSError as error:
        raise UsageError(f"--out {options.out}: cannot be written ({one_line(error)})") from error


def _given(options: argparse.Namespace) -> tuple[LoadedModel, Any]:
    from captum_cnn_ext.photos import labelled_photos

    loaded = load(options, options.class_names)
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
        for finding in done.page.overview.of(verdict):
            print(f"- {finding.text} {finding.next_step}".rstrip())
    print_notes(loaded)
    for problem in done.page.problems:
        traceback.print_exception(problem.error)
    if done.page.problems:
        failed = "; ".join(str(problem) for problem in done.page.problems)
        print(f"{PROGRAM}: the report is not complete: {failed}", file=sys.stderr)
    return INCOMPLETE if done.page.problems else DONE
