"""What ``bench_synthesis_priors.py`` compares: each way is the bare recipe but for one thing."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from bench_synthesis_quality import JUDGES, judge
from torch import Tensor, nn

from captum_cnn_ext.synthesis import Target, presets
from captum_cnn_ext.synthesis import transforms as t
from captum_cnn_ext.synthesis.callbacks import Step
from captum_cnn_ext.synthesis.objectives.algebra import Objective, Place, View
from captum_cnn_ext.synthesis.regularizers import Regularizer, SkipGradient, TotalVariation

STEPS = 256
BARE = replace(presets.transferable(), regularizers=())
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
        images = BARE.transforms[0](images.repeat(views, 1, 1, 1), generator)
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
    """With a judge, at its size: the mean of what both say."""

    def __init__(self, model: nn.Module, number: int) -> None:
        super().__init__()
        self.model, self.other, self.size = model, judge(number), JUDGES[number]

    def forward(self, x: Tensor) -> Tensor:
        larger = F.interpolate(x, self.size, mode="bilinear", antialias=True)
        return (self.model(x) + self.other(larger)) / 2


class DropBranches(nn.Module):
    """A network whose residual branches are left out by chance, late ones up to ``most``."""

    def __init__(self, model: nn.Module, most: float) -> None:
        super().__init__()
        self.model, draws = copy.deepcopy(model), torch.Generator().manual_seed(0)
        blocks = [m for m in self.model.modules() if hasattr(m, "id_skip")]
        for place, block in enumerate(blocks):
            convolutions = block._block_args
            if (
                block.id_skip
                and convolutions.stride == 1
                and (convolutions.input_filters == convolutions.output_filters)
            ):
                block._bn2.register_forward_hook(
                    partial(self._drop, most * place / len(blocks), draws)
                )

    @staticmethod
    def _drop(share: float, draws: torch.Generator, _: nn.Module, x: Any, branch: Tensor) -> Tensor:
        return branch * float(torch.rand((), generator=draws) >= share) / (1 - share)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Tail:
    """Adds up the images of the last steps."""

    def __init__(self, share: float) -> None:
        self.first, self.total, self.count = (1 - share) * STEPS, torch.zeros(()), 0

    def __call__(self, step: Step) -> None:
        if step.index >= self.first:
            self.total, self.count = self.total + step.images, self.count + 1

    def mean(self) -> Tensor:
        return self.total / self.count


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
    """What of the bare recipe is otherwise; ``views`` a step, so that steps are fewer."""

    recipe: Any = BARE
    objective: Callable[[nn.Module, Any], Objective] = lambda model, target: Target(target)
    network: Callable[[nn.Module], nn.Module] = lambda model: model
    together: bool = False  # all classes in one batch
    tail: float = 0.0  # the mean of the images of this share of the steps, instead of the last


def adam(rate: float, **options: Any) -> Any:
    return partial(torch.optim.Adam, lr=rate, **options)


def several(views: int, rate: float) -> Any:
    return replace(
        BARE,
        steps=STEPS // views,
        optimizer=adam(rate),
        transforms=[repeated(views), *BARE.transforms],
    )


def with_statistics(weight: float, first: int, over: str = "image") -> Callable[..., Objective]:
    return lambda model, target: Target(target) + weight * relative_statistics(model, first, over)


def reflecting() -> Any:
    return replace(BARE, transforms=[t.affine(**VIEW, fill="reflect")])


def skipping(transforms: Any) -> Any:
    return replace(BARE, transforms=transforms, regularizers=[SkipGradient(0.5)])


ANNEALED = partial(AnnealedAdam, lr=1.6e-3)
VARIANTS: dict[str, Callable[[], Made]] = {
    "bare": Made,
    "skip gradient 0.5": lambda: Made(replace(BARE, regularizers=[SkipGradient(0.5)])),
    "skip gradient 0.3": lambda: Made(replace(BARE, regularizers=[SkipGradient(0.3)])),
    "skip gradient 0.5, mirrored": lambda: Made(skipping([mirrored, *BARE.transforms])),
    "skip gradient 0.5, scales from 0.4": lambda: Made(
        skipping([t.affine(**VIEW | {"scale": (0.4, 1.8)})])
    ),
    "skip gradient 0.5, 2 views, 128 steps": lambda: Made(
        replace(several(2, 1.6e-3), regularizers=[SkipGradient(0.5)])
    ),
    "skip gradient 0.5, half a margin": lambda: Made(
        skipping(BARE.transforms),
        lambda model, target: Target(target, margin=0.5),
    ),
    "skip gradient 0.5, unsteady norms 0.05": lambda: Made(
        skipping(BARE.transforms), network=partial(Unsteady, sd=0.05)
    ),
    "mean of the last half": lambda: Made(tail=1 / 2),
    "mean of the last third": lambda: Made(tail=1 / 3),
    "mean of the last sixth": lambda: Made(tail=1 / 6),
    "branches dropped, 0.2": lambda: Made(network=partial(DropBranches, most=0.2)),
    "with Lite1": lambda: Made(network=partial(Together, number=1)),
    "with Lite2": lambda: Made(network=partial(Together, number=2)),
    "total variation, 2000 to 0": lambda: Made(
        replace(BARE, regularizers=[AnnealedTotalVariation(2000, 0)])
    ),
    "total variation, 0 to 2000": lambda: Made(
        replace(BARE, regularizers=[AnnealedTotalVariation(0, 2000)])
    ),
    "2 views, 128 steps": lambda: Made(several(2, 1.6e-3)),
    "4 views, 64 steps": lambda: Made(several(4, 3.2e-3)),
    "2 views that agree, 128 steps": lambda: Made(
        several(2, 1.6e-3), lambda model, target: agreement(model, target, 5.0)
    ),
    "coarse to fine": lambda: Made(
        replace(BARE, transforms=[Growing([(64, 12, 32), (128, 3, 128), (224, 1, 999)])]),
        mean_of_views,
    ),
    "margin over other classes": lambda: Made(
        objective=lambda model, target: Target(target, margin=1.0)
    ),
    "statistics, 12 norms, 5": lambda: Made(BARE, with_statistics(5.0, 12)),
    "statistics, 12 norms, 0.5": lambda: Made(BARE, with_statistics(0.5, 12)),
    "statistics, 12 norms, 0.5, reflected": lambda: Made(reflecting(), with_statistics(0.5, 12)),
    "statistics, all, 0.5, batch": lambda: Made(
        BARE, with_statistics(0.5, 99, "batch"), together=True
    ),
    "statistics, all, 5, batch": lambda: Made(
        BARE, with_statistics(5.0, 99, "batch"), together=True
    ),
    "annealed rate 1.6e-3": lambda: Made(replace(BARE, optimizer=ANNEALED)),
    "mirrored views": lambda: Made(replace(BARE, transforms=[mirrored, *BARE.transforms])),
    "unsteady norms 0.05": lambda: Made(network=partial(Unsteady, sd=0.05)),
    "unsteady norms 0.2": lambda: Made(network=partial(Unsteady, sd=0.2)),
    "annealed, mirrored": lambda: Made(
        replace(BARE, optimizer=ANNEALED, transforms=[mirrored, *BARE.transforms])
    ),
}
