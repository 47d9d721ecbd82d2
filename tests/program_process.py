"""The program in processes of its own that begin with its imports made: a second each, not four."""

import multiprocessing
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from unittest import mock

PRELOADED = ["captum_cnn_ext.cli", "captum_cnn_ext.insights", "captum_cnn_ext.bench", "gradio"]
MOST_STEPS, MOST_PHOTOS = 16, 2


def _run(words, folder, said):
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with Path(said).open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    from captum_cnn_ext import __file__ as package
    from captum_cnn_ext.cli import main

    assert Path(package).is_relative_to(folder)
    do_less_of_the_same(setattr, words[0] in ("audit", "bench") and "--truth" not in words)
    sys.exit(main(words))


def do_less_of_the_same(put, few_photos):
    """Long loops end early, and fewer photos are taken where nobody names any.

    ``put(owner, name, value)`` is `setattr`, or a monkeypatch's.
    """
    from captum_cnn_ext import photos
    from captum_cnn_ext.insights.dataset import demo
    from captum_cnn_ext.synthesis import ascent

    whole, every = ascent._Ascent.run, photos.demo_photos

    def run(self, *given):
        self.recipe = replace(self.recipe, steps=min(self.recipe.steps, MOST_STEPS))
        return whole(self, *given)

    put(ascent._Ascent, "run", run)
    put(demo, "STEPS", MOST_STEPS)
    if few_photos:
        put(photos, "demo_photos", lambda: dict(list(every().items())[:MOST_PHOTOS]))


def started(words, folder, said):
    """The program with these words in a folder that holds the package; writes into a file."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    process = context.Process(target=_run, args=(words, str(folder), str(said)))
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    before, here = list(sys.path), Path.cwd()
    # the process gets this path, but what is loaded first is looked up where Python starts
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    try:
        with mock.patch.dict(os.environ, PYTHONPATH=path, OMP_NUM_THREADS="1"):
            process.start()
    finally:
        sys.path[:] = before
        os.chdir(here)
    return process
