"""What does each prior add to the default recipe? Development classes only, at equal cost.

EfficientNet-Lite0 is shown as much as by 256 images of 224 pixels, once each forward and backward.
Judged as in ``bench_synthesis_quality.py``; beside each way the default on the same classes and
seeds. Images already made are not made again.

    python benchmarks/bench_synthesis_priors.py --variants default annealed --seeds 0 1
"""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bench_synthesis_quality import DEVELOPMENT, JUDGES, as_picture, judge, measured
from measure import RESULTS
from torch import Tensor, nn

from captum_cnn_ext.models import load_model
from captum_cnn_ext.synthesis import Custom, Target, maximize, presets
from captum_cnn_ext.synthesis import transforms as t
from captum_cnn_ext.synthesis.objectives.algebra import Objective, Place, View
from captum_cnn_ext.synthesis.regularizers import Regularizer, TotalVariation

STEPS = 256
DEFAULT = presets.transferable()
VIEW = {"scale": (0.6, 1.8), "degrees": 15, "shift": 0.2}


class AnnealedTotalVariation(Regularizer):
    """Its weight goes evenly from ``first`` to ``last``; a penalty is asked for once a step."""

    def __init__(self, first: float, last: float) -> None:
        self.first, self.last, self.step = first, last, 0

    def penalty(self, image: Tensor) -> Tensor | None:
        part = self.step / STEPS
        self.step += 1
        return TotalVariation(self.first + (self.last - self.first) * part).penalty(image)


class AnnealedAdam(torch.optim.Adam):
    """Its rate goes from ``lr`` to 0 along half a cosine."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        self.first, self.done = lr, 0

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["lr"] = self.first * (1 + math.cos(math.pi * self.done / STEPS)) / 2
        self.done += 1
        return super().step(closure)


def mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    flips = torch.rand(len(images), generator=generator) < 0.5
    return torch.where(flips.reshape(-1, 1, 1, 1), images.flip(3), images)


def repeated(times: int) -> t.Transform:
    """So many views of each image in a step."""
    return lambda images, generator: images.repeat(times, 1, 1, 1)


class Growing:
    """Small views first: three of 128 pixels cost what one of 224 does; then large ones."""

    def __init__(self, sizes: Sequence[tuple[int, int, int]]) -> None:
        self.sizes, self.step = sizes, 0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        size, views = next((s, v) for s, v, until in self.sizes if self.step < until)
        self.step += 1
        images = DEFAULT.transforms[0](images.repeat(views, 1, 1, 1), generator)
        if size == images.shape[2]:
            return images
        return F.interpolate(images, (size, size), mode="area")


class Unsteady(nn.Module):
    """A network whose batch norms have another scale in every pass, ``sd`` around their own."""

    def __init__(self, model: nn.Module, sd: float, shift: float = 0.0) -> None:
        super().__init__()
        self.model, self.sd, self.shift = model, sd, shift
        self.norms = [
            f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)
        ]
        self.draws = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        known = dict(self.model.named_parameters())
        other = {
            name: known[name] * (1 + self.sd * torch.randn(known[name].shape, generator=self.draws))
            for name in self.norms
        }
        return torch.func.functional_call(self.model, other, (x,))


class Together(nn.Module):
    """Several networks as one: the mean of what they say."""

    def __init__(self, *models: nn.Module) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([model(x) for model in self.models]).mean(0)


def agreement(model: nn.Module, target: int, weight: float) -> Objective:
    """The class, less how far two views are apart in the last feature map (relative, pooled)."""
    place, target_of = Place("_bn1"), Target(target)

    def score(view: View) -> Tensor:
        if view.count == 1:  # the image as it is, at the end
            return target_of.score(view)
        pooled = view.at(place).relu().mean((2, 3))
        one, two = pooled.chunk(2)
        apart = (one - two).square().sum(1) / (pooled.square().sum(1).mean() + 1e-6)
        return target_of.score(view) - weight * apart.repeat(2)

    return Objective(score, (place,), True, name="class and agreement")


def margin(model: nn.Module, target: int) -> Objective:
    """The class less the log of the sum of the others' exponentials."""
    keep = torch.arange(1000) != target
    return Custom(None, lambda scores: scores[:, target] - scores[:, keep].logsumexp(1))


def mean_of_views(model: nn.Module, target: int) -> Objective:
    """The class, where steps have different numbers of views."""
    one = Target(target)
    return replace(one, score=lambda view: one.score(view).mean().reshape(1))


def relative_statistics(model: nn.Module, first: int, over: str = "image") -> Objective:
    """Of the first batch norms, the mean of distances relative to what is remembered."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)][:first]
    places = [Place(norm, at_input=True) for norm in norms]
    dims = (2, 3) if over == "image" else (0, 2, 3)

    def score(view: View) -> Tensor:
        total = torch.zeros(view.count)
        for place, norm in zip(places, norms, strict=True):
            maps = view.at(place)
            mean = maps.mean(dims) - norm.running_mean
            variance = maps.var(dims, correction=0) - norm.running_var
            total = total + mean.norm(dim=-1) / norm.running_mean.norm()
            total = total + variance.norm(dim=-1) / norm.running_var.norm()
        return -total / len(norms)

    return Objective(score, tuple(places), name="relative statistics")


@dataclass
class Made:
    """What of the default is otherwise; ``views`` a step, so that steps are fewer."""

    recipe: Any = DEFAULT
    objective: Callable[[nn.Module, Any], Objective] = lambda model, target: Target(target)
    network: Callable[[nn.Module], nn.Module] = lambda model: model
    together: bool = False  # all classes in one batch


def adam(rate: float, **options: Any) -> Any:
    return partial(torch.optim.Adam, lr=rate, **options)


def several(views: int, rate: float) -> Any:
    return replace(
        DEFAULT,
        steps=STEPS // views,
        optimizer=adam(rate),
        transforms=[repeated(views), *DEFAULT.transforms],
    )


def with_statistics(weight: float, first: int, over: str = "image") -> Callable[..., Objective]:
    return lambda model, target: Target(target) + weight * relative_statistics(model, first, over)


def reflecting() -> Any:
    return replace(DEFAULT, transforms=[t.affine(**VIEW, fill="reflect")])


ANNEALED = partial(AnnealedAdam, lr=1.6e-3)
VARIANTS: dict[str, Callable[[], Made]] = {
    "default": Made,
    "total variation, 2000 to 0": lambda: Made(
        replace(DEFAULT, regularizers=[AnnealedTotalVariation(2000, 0)])
    ),
    "total variation, 0 to 2000": lambda: Made(
        replace(DEFAULT, regularizers=[AnnealedTotalVariation(0, 2000)])
    ),
    "2 views, 128 steps": lambda: Made(several(2, 1.6e-3)),
    "4 views, 64 steps": lambda: Made(several(4, 3.2e-3)),
    "2 views that agree, 128 steps": lambda: Made(
        several(2, 1.6e-3), lambda model, target: agreement(model, target, 5.0)
    ),
    "coarse to fine": lambda: Made(
        replace(DEFAULT, transforms=[Growing([(64, 12, 32), (128, 3, 128), (224, 1, 999)])]),
        mean_of_views,
    ),
    "margin over other classes": lambda: Made(objective=margin),
    "statistics, 12 norms, 5": lambda: Made(DEFAULT, with_statistics(5.0, 12)),
    "statistics, 12 norms, 0.5": lambda: Made(DEFAULT, with_statistics(0.5, 12)),
    "statistics, 12 norms, 0.5, reflected": lambda: Made(reflecting(), with_statistics(0.5, 12)),
    "statistics, all, 0.5, batch": lambda: Made(
        DEFAULT, with_statistics(0.5, 99, "batch"), together=True
    ),
    "statistics, all, 5, batch": lambda: Made(
        DEFAULT, with_statistics(5.0, 99, "batch"), together=True
    ),
    "annealed rate 1.6e-3": lambda: Made(replace(DEFAULT, optimizer=ANNEALED)),
    "mirrored views": lambda: Made(replace(DEFAULT, transforms=[mirrored, *DEFAULT.transforms])),
    "unsteady norms 0.05": lambda: Made(network=partial(Unsteady, sd=0.05)),
    "unsteady norms 0.2": lambda: Made(network=partial(Unsteady, sd=0.2)),
    "annealed, mirrored": lambda: Made(
        replace(DEFAULT, optimizer=ANNEALED, transforms=[mirrored, *DEFAULT.transforms])
    ),
}


def made(variant: str, demo: Any, targets: Sequence[int], seed: int) -> Tensor:
    how = VARIANTS[variant]()
    found = maximize(
        how.network(demo.model),
        how.objective(demo.model, list(targets) if how.together else targets[0]),
        224,
        recipe=how.recipe,
        mean=demo.mean,
        std=demo.std,
        seed=seed,
    )
    return found.images


def rounds(variant: str, targets: Sequence[int]) -> list[list[int]]:
    return [list(targets)] if VARIANTS[variant]().together else [[target] for target in targets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--classes", nargs="+", type=int, default=list(DEVELOPMENT))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--pictures", type=Path, default=None, help="a folder for PNG files")
    options = parser.parse_args()
    demo = load_model("demo")
    judges = {number: judge(number) for number in JUDGES}
    path = RESULTS / "synthesis_priors--cpu.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for variant in options.variants:
        for seed in options.seeds:
            for targets in rounds(variant, options.classes):
                rows = known.setdefault(variant, {})
                if all(f"{target}, {seed}" in rows for target in targets):
                    continue
                images = made(variant, demo, targets, seed)
                for image, target in zip(images.split(1), targets, strict=True):
                    rows[f"{target}, {seed}"] = measured(image, target, demo, judges)
                    if options.pictures is not None:
                        options.pictures.mkdir(exist_ok=True)
                        as_picture(image).save(options.pictures / f"{variant} {target} {seed}.png")
                path.write_text(json.dumps(known, indent=1))
            print(variant, seed, means(known[variant]), flush=True)
    path.with_suffix(".md").write_text(table(known))


def means(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    listed = list(rows.values())
    found = {name: sum(row[name] for row in listed) / len(listed) for name in listed[0]}
    return {name: round(value, 3) for name, value in found.items()}


def table(known: dict[str, Any]) -> str:
    """Each variant, and the default on the same classes and seeds."""
    shown = ["Lite1", "Lite2", "Lite0", "JPEG 50", "16 views", "slope", "saturated %"]
    lines = [
        "# What each prior adds to the default recipe",
        "",
        " ".join((__doc__ or "").split("\n\n")[1].split()),
        "",
        f"| | images | {' | '.join(shown)} | default: Lite1 | default: Lite2 |",
        "|---" * (len(shown) + 4) + "|",
    ]
    for variant, rows in known.items():
        both = {key: row for key, row in rows.items() if key in known["default"]}
        mean = means(both)
        default = means({key: known["default"][key] for key in both})
        cells = [f"{mean[name]:.2f}" for name in shown]
        cells += [f"{default[f'Lite{number}']:.2f}" for number in JUDGES]
        lines.append(f"| {variant} | {len(both)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
