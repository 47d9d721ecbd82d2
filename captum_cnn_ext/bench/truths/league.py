"""Every method on every task: its cells, made and saved by the loop of `bench.run`."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._numbers import as_count
from captum_cnn_ext.bench.methods import Method, Subject
from captum_cnn_ext.bench.results import Cell, Results
from captum_cnn_ext.bench.run import MethodError, fill, timed_forward, timed_maps
from captum_cnn_ext.bench.truths.contenders import the_truth
from captum_cnn_ext.bench.truths.fingerprints import (
    code_fingerprint,
    files_of,
    fingerprint,
    result_code,
)
from captum_cnn_ext.bench.truths.metrics_without_truth import judged
from captum_cnn_ext.bench.truths.networks import Training
from captum_cnn_ext.bench.truths.task import Explain, Task, Trial


@dataclass(frozen=True)
class TruthSettings:
    """What a run of the tasks computes; kept with its results.

    Args:
        images: of each task and seed that every method explains.
        judged: images of a trial on which metrics that need no truth are computed too, on three or
            four trials of a task; 0 for none.
    """

    images: int = 16
    judged: int = 0

    __repr__ = brief

    def __post_init__(self) -> None:
        as_count("images", self.images)
        as_count("judged", self.judged, 0)

    def to_dict(self) -> dict[str, Any]:
        return {"truth": 1, **asdict(self)}


def items(tasks: Mapping[str, Task], seeds: Sequence[int]) -> list[str]:
    """What is judged, in order: all tasks with the first seed, then with the next."""
    return [f"{task}/{seed}" for seed in seeds for task in tasks]


def run_truths(
    tasks: Mapping[str, Task],
    seeds: Sequence[int],
    methods: Mapping[str, Method],
    settings: TruthSettings,
    results: Results,
    *,
    training: Training | None = None,
    save: Callable[[Results], None] = lambda results: None,
    show_progress: bool = False,
    only: Callable[[int], bool] = lambda number: True,
) -> None:
    """Fill ``results`` with the cells that are missing; ``save`` after every task and seed.

    A method that fails on a task gets a cell with the error's words, and the run goes on.

    Cost: for each task and seed the training of its networks, and each method on its images.

    Args:
        tasks: by name.
        seeds: of networks, images and noise.
        methods: by name, functions of (subject, images (N, C, H, W), classes (N,)).
        settings: what is computed.
        results: cells that are there are not made again, unless other code made them.
        training: how networks are trained and kept; None keeps none.
        save: called with the results after every task and seed.
        show_progress: draw a progress bar over tasks and seeds.
        only: whether item number i is this process's part.

    Example::

        >>> from captum_cnn_ext.bench import Results, truths
        >>> settings = truths.TruthSettings(images=4)
        >>> results = Results(settings.to_dict())
        >>> chosen = {n: m for n, m in truths.contenders().items() if n in ("the truth", "random")}
        >>> truths.run_truths({"built": truths.TASKS["built"]}, [0], chosen, settings, results)
        >>> results.cells["the truth"]["built/0"]["scores"]["built"]["rank correlation"]
        [1.0, 1.0, 1.0, 1.0]
    """
    training = training or Training()
    if without_stale(tasks, seeds, methods, results):
        save(results)

    def prepare(number: int, item: str) -> Callable[[Method], Cell]:
        task, seed = item.rsplit("/", 1)
        make = tasks[task].trials
        trials = make(int(seed), settings.images, training)
        timed = [(trial, timed_forward(trial.model, trial.inputs)) for trial in trials]

        def cell(method: Method) -> Cell:
            found = _cell(timed, int(seed), settings.judged, method)
            for about in found.get("about", {}).values():
                about["generator hash"] = code_fingerprint(files_of(make))
            return {**found, "code": result_code(make, method)}

        return cell

    fill(
        results, methods, items(tasks, seeds), prepare,
        save=save, show_progress=show_progress, only=only,
    )  # fmt: skip


def without_stale(
    tasks: Mapping[str, Task],
    seeds: Sequence[int],
    methods: Mapping[str, Method],
    results: Results,
) -> int:
    """Drop the cells that other code made than would make them now; how many these were."""
    dropped = 0
    for item in items(tasks, seeds):
        for method, run in methods.items():
            if results.has(method, item):
                code = result_code(tasks[item.rsplit("/", 1)[0]].trials, run)
                if results.cells[method][item].get("code") != code:
                    del results.cells[method][item]
                    dropped += 1
    return dropped


def _cell(trials: Sequence[tuple[Trial, float]], seed: int, judges: int, method: Method) -> Cell:
    scores: dict[str, dict[str, list[float]]] = {}
    said: dict[str, dict[str, list[float]]] = {}
    passes = []
    for number, (trial, one) in enumerate(trials):
        spent: list[float] = []
        explain = _explain(trial, method, seed, spent)
        try:
            found = trial.score(trial, explain)
            if judges and number % max(1, len(trials) // 3) == 0 and method is not the_truth:
                said[trial.name] = judged(trial, explain, judges)
        except MethodError as error:
            return {"error": f"{trial.name}: {error}"}
        scores[trial.name] = {
            name: [round(v, 4) for v in values.tolist()] for name, values in found.items()
        }
        passes.append(spent[0] / max(one, 1e-9) if spent else 0.0)
    cell: Cell = {"passes": round(statistics.median(passes), 2), "scores": scores}
    if said:
        cell["judges"] = said
    if method is the_truth:
        cell["about"] = {trial.name: _about(trial) for trial, _ in trials}
    return cell


def _explain(trial: Trial, method: Method, seed: int, spent: list[float]) -> Explain:
    """The method on this trial; seconds on the trial's own images are noted."""
    if method is the_truth:
        return trial.perfect

    def explain(
        inputs: Tensor | None = None,
        target: Tensor | None = None,
        model: nn.Module | None = None,
    ) -> Tensor:
        x = trial.inputs if inputs is None else inputs
        asked = trial.target if target is None else target
        last, middle = trial.layers
        subject = Subject(trial.model if model is None else model, last, seed, middle)
        maps, seconds, _ = timed_maps(partial(method, subject, x.clone(), asked), x)
        if inputs is None and target is None and model is None:
            spent.append(seconds)
        return maps

    return explain


def _about(trial: Trial) -> dict[str, Any]:
    """What was judged, so that another run can say that it is the same."""
    return {
        **{name: round(value, 4) for name, value in trial.about.items()},
        "images": len(trial.inputs),
        "images hash": fingerprint(trial.inputs, trial.target),
        "network hash": fingerprint(*trial.model.state_dict().values()),
    }
