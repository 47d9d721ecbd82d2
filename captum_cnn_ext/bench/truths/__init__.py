"""Attribution methods judged where the truth is known.

A task is a small file: images drawn by code, a network trained in seconds or built by hand, the
truth of each image and a score. A new one is a function that gives trials::

    def trials(seed, images, training):
        model = training(f"mine-{seed}", truths.small_cnn(2, seed), lambda: draw(2000, seed)[:2])
        x, y, masks = draw(images, seed + 1)
        return [truths.Trial("mine", model, x, y, masks)]

    TASKS = {"mine": truths.Task("mine", "Where is it?", "rank accuracy", trials)}

and ``captum-cnn-ext bench --truth --adapters FILE`` runs it beside the others; ``METHODS`` of that
file, functions of (subject, images, classes), take part beside ours.
"""

from captum_cnn_ext.bench.truths.contenders import CONTROLS, contenders
from captum_cnn_ext.bench.truths.league import TruthSettings, items, run_truths, without_stale
from captum_cnn_ext.bench.truths.metrics_without_truth import JUDGES
from captum_cnn_ext.bench.truths.networks import Training, small_cnn
from captum_cnn_ext.bench.truths.ranks import beaten, columns, ranking
from captum_cnn_ext.bench.truths.table import draw, markdown
from captum_cnn_ext.bench.truths.task import Task, Trial, mask_scores
from captum_cnn_ext.bench.truths.tasks import (
    bird_parts,
    grids,
    hand_built_network,
    scenes,
    shapes,
    single_deletion,
    tetrominoes,
    triggers,
)
from captum_cnn_ext.bench.truths.trust import trust

TASKS = {
    each.TASK.name: each.TASK
    for each in (
        hand_built_network,
        tetrominoes,
        shapes,
        grids,
        scenes,
        bird_parts,
        triggers,
        single_deletion,
    )
}

__all__ = [
    "CONTROLS",
    "JUDGES",
    "TASKS",
    "Task",
    "Training",
    "Trial",
    "TruthSettings",
    "beaten",
    "columns",
    "contenders",
    "draw",
    "items",
    "markdown",
    "mask_scores",
    "ranking",
    "run_truths",
    "small_cnn",
    "trust",
    "without_stale",
]
