"""The loop: every method on every image, judged and timed, saved as it goes."""

import statistics
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext import metrics
from captum_cnn_ext._engine.backward.batch_norm_of_one_image import one_image_norms
from captum_cnn_ext._engine.judging.output_targets import fixed_target, is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.judging.targets import as_target, select_score
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._engine.running.forward import run_model
from captum_cnn_ext._numbers import as_count, as_numbers, as_seed
from captum_cnn_ext.bench.cost import peak_bytes, timed
from captum_cnn_ext.bench.methods import Method, Subject
from captum_cnn_ext.bench.results import Cell, Results
from captum_cnn_ext.errors import ArgumentError, TargetError


@dataclass(frozen=True)
class Settings:
    """What a run computes; kept with its results.

    Args:
        model, weights: names of the network, for people.
        layer: the dotted name of the layer that CAMs look at.
        steps: of insertion and deletion.
        road_shares: of the pixels that ROAD removes.
        seed: of random maps and noise.
        target: what is explained, in words; None is each image's strongest class.
    """

    model: str
    weights: str
    layer: str
    steps: int = 24
    road_shares: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8)
    seed: int = 0
    target: str | None = None

    __repr__ = brief

    def __post_init__(self) -> None:
        as_count("steps", self.steps)
        shares = as_numbers("road_shares", self.road_shares, above=0, below=1)
        object.__setattr__(self, "road_shares", shares)
        as_seed("seed", self.seed)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "road_shares": list(self.road_shares)}


def run(
    model: torch.nn.Module,
    methods: Mapping[str, Method],
    images: Mapping[str, Callable[[], Tensor]],
    settings: Settings,
    results: Results,
    *,
    device: torch.device,
    save: Callable[[Results], None] = lambda results: None,
    show_progress: bool = False,
    only: Callable[[int], bool] = lambda number: True,
    target: Any = None,
) -> None:
    """Fill ``results`` with the cells that are missing; ``save`` after every image.

    A method that fails on an image gets a cell with the error's words, and the run goes on.

    Cost: for each image one forward pass, and for each method its own cost,
    ``2 steps + 1 + 2 + 2 len(road_shares)`` forward passes for the metrics.

    Args:
        model: the network, in evaluation mode.
        methods: by name, functions of (subject, image (1, C, H, W), class).
        images: by name, functions that give (C, H, W) as the network takes it.
        settings: what is computed.
        results: cells that are there are not made again.
        device: where the images go.
        save: called with the results after every image.
        show_progress: draw a progress bar over the images.
        only: whether image number i is this process's part.
        target: a class, or a target of `captum_cnn_ext.targets` for all images; None is the
            strongest class of each. An image that has no such box or area gets cells that say so.

    Raises:
        ArgumentError: a target that ``settings.target`` does not name.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.bench import METHODS, Results, Settings, run
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1),
        ...                             torch.nn.Flatten(), torch.nn.Linear(4, 2)).eval()
        >>> settings = Settings("tiny", "random", "0", steps=2, road_shares=(0.5,))
        >>> results = Results(settings.to_dict())
        >>> chosen = {name: METHODS[name] for name in ("gaussian", "LayerHiResCam")}
        >>> image = {"noise": lambda: torch.rand(3, 16, 16)}
        >>> run(model, chosen, image, settings, results, device=torch.device("cpu"))
        >>> sorted(results.cells["LayerHiResCam"]["noise"])[:3]
        ['average_drop', 'class', 'deletion']
    """

    if (target is None) != (settings.target is None):
        raise ArgumentError(
            f"target={target!r}: settings.target is {settings.target!r}; expected it to say in "
            "words what is explained, so that results of different targets are not mixed"
        )

    def prepare(number: int, name: str) -> Callable[[Method], Cell]:
        x = images[name]().unsqueeze(0).to(device)
        subject = Subject(model, settings.layer, settings.seed + number)
        try:
            meant, one = _meant(model, x, target), timed_forward(model, x)
        except TargetError as error:
            if not is_function(target):
                raise
            missing = {"class": str(target), "error": " ".join(str(error).split())}
            return lambda method: missing
        label = meant if isinstance(meant, int) else str(meant)

        def cell(method: Method) -> Cell:
            explain = partial(method, subject, x.clone(), meant)
            try:
                maps, seconds, peak = timed_maps(explain, x, peak=number == 0)
            except MethodError as error:
                return {"class": label, "error": str(error)}
            judged = _judged(subject, maps, x, meant, settings)
            return {
                "class": label,
                "seconds": seconds,
                "forward_seconds": one,
                "peak_bytes": peak,
                **{name: float(value) for name, value in judged.items()},
            }

        return cell

    fill(results, methods, images, prepare, save=save, show_progress=show_progress, only=only)


def fill(
    results: Results,
    methods: Mapping[str, Method],
    items: Iterable[str],
    prepare: Callable[[int, str], Callable[[Method], Cell]],
    *,
    save: Callable[[Results], None],
    show_progress: bool = False,
    only: Callable[[int], bool] = lambda number: True,
) -> None:
    """Add the cells that are missing; ``save`` after every item.

    ``prepare(number, item)`` gives what makes an item's cell from a method; it is called for items
    that have something missing and are this process's part.
    """
    for number, item in enumerate(tqdm(items, disable=not show_progress, desc="bench")):
        missing = [m for m in methods if not results.has(m, item)]
        if not missing or not only(number):
            continue
        cell = prepare(number, item)
        for method in missing:
            results.add(method, item, cell(methods[method]))
        save(results)


class MethodError(Exception):
    """What a method raised, in its words: it does not work here, and that is a result."""


def timed_maps(
    explain: Callable[[], Any], x: Tensor, *, peak: bool = False
) -> tuple[Tensor, float, int | None]:
    """The maps (N, H, W) of images x, the seconds that they took, and the memory where asked.

    Raises:
        MethodError: whatever the method raises, or something that is no map.
    """
    try:
        with warnings.catch_warnings(), one_image_norms([x]):
            warnings.simplefilter("ignore")
            given, seconds = timed(explain, x.device)
            held = peak_bytes(explain, x.device) if peak else None
        return metrics.as_maps(given, x), seconds, held
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise MethodError(words) from error


def _meant(model: torch.nn.Module, x: Tensor, target: Any) -> Any:
    """What is explained in an image: one class, or one target that means the same everywhere."""
    if target is None:
        return int(scores(model, x).argmax())
    output = output_of(model, x)
    select_score(output, target)  # a wrong target is named before the work
    fixed = fixed_target(as_target(target), output)
    return fixed[0] if isinstance(fixed, list) else fixed


def scores(model: torch.nn.Module, x: Tensor) -> Tensor:
    """The model's scores of images, without gradients."""
    return output_tensor(output_of(model, x))


def output_of(model: torch.nn.Module, x: Tensor) -> Any:
    """What the model gives for images, without gradients."""
    with torch.no_grad():
        return run_model(model, (x.clone(),))


def timed_forward(model: torch.nn.Module, x: Tensor) -> float:
    """The median seconds of a forward pass, by the clock of `timed`."""
    return statistics.median(timed(partial(output_of, model, x), x.device)[1] for _ in range(3))


def _judged(
    subject: Subject, maps: Tensor, x: Tensor, target: Any, settings: Settings
) -> dict[str, Tensor]:
    model = subject.model
    up, down = metrics.insertion_and_deletion(model, x, maps, target, steps=settings.steps)
    masked = metrics.confidence(model, x, maps, target)
    road = metrics.road(model, x, maps, target, shares=settings.road_shares, seed=settings.seed)
    hill = metrics.as_maps(metrics.gaussian_map(x), x)
    return {
        "probability": masked.whole,
        "insertion": up.area,
        "deletion": down.area,
        "insertion_minus_deletion": up.area - down.area,
        "road": road.score,
        "average_drop": masked.average_drop,
        "increase": masked.increase,
        "sparseness": metrics.sparseness(maps, x),
        "like_gaussian": metrics.rank_correlation(maps, hill.to(maps)),
    }
