"""Object and scene swapped: the same pictures, one network told objects, the other told scenes.

BAM's three scores (Yang, Kim, *Benchmarking Attribution Methods with Relative Feature Importance*,
2019, arXiv:1907.09701) with objects and textures drawn by code. The attribution of a region is its
share of the map's positive part.
"""

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.run import scores
from captum_cnn_ext.bench.truths.drawing import (
    KINDS,
    Generator,
    colour,
    normalized,
    places,
    shape_mask,
)
from captum_cnn_ext.bench.truths.networks import Training, small_cnn
from captum_cnn_ext.bench.truths.task import Explain, Scores, Task, Trial

SIZE = 32
OBJECTS = KINDS[:4]
SCENES = ("stripes", "checks", "dots", "waves")
CLOSE = 0.1  # an attribution that changes by less than this share is the same


def texture(kind: str, random: Generator) -> Tensor:
    """(3, SIZE, SIZE) from 0 to 1 in two soft colours."""
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    step, shift = random.uniform(4, 7), random.uniform(0, 8, 2)
    u, v = 2 * np.pi * (x + shift[0]) / step, 2 * np.pi * (y + shift[1]) / step
    level = {
        "stripes": torch.sin(u) if random.uniform() < 0.5 else torch.sin(v),
        "checks": torch.sign(torch.sin(u) * torch.sin(v)),
        "dots": ((torch.sin(u) * torch.sin(v)) > 0.6).float() * 2 - 1,
        "waves": torch.sin(u + 2 * torch.sin(v / 3)),
    }[kind]
    one, two = (torch.from_numpy(random.uniform(0.25, 0.75, 3)).float() for _ in range(2))
    share = (level[None] + 1) / 2
    noise = torch.from_numpy(random.normal(0, 0.03, (3, SIZE, SIZE))).float()
    return (one[:, None, None] * share + two[:, None, None] * (1 - share) + noise).clamp(0, 1)


def draw(count: int, random: Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Scenes with an object, the same without, masks of objects, objects' and scenes' classes."""
    without = []
    objects, scenes = (torch.from_numpy(random.integers(4, size=count)) for _ in range(2))
    masks = torch.zeros(count, SIZE, SIZE, dtype=torch.bool)
    for mask, kind, scene in zip(masks, objects, scenes, strict=True):
        without.append(texture(SCENES[int(scene)], random))
        radius = random.uniform(6, 8.5)
        (centre,) = places([radius], SIZE, random)
        mask |= shape_mask(OBJECTS[int(kind)], SIZE, centre, radius)
    empty = torch.stack(without)
    paints = torch.stack([colour(random) for _ in range(count)])[..., None]
    return (
        normalized(torch.where(masks[:, None], paints, empty)),
        normalized(empty), masks, objects, scenes,
    )  # fmt: skip


def unimportant(model: nn.Module, images: Tensor, masks: Tensor, steps: int = 60) -> Tensor:
    """The images with something in the mask that leaves every output of the model as it is."""
    region = masks[:, None].to(images)
    wanted = scores(model, images)
    generator = torch.Generator().manual_seed(0)
    patch = torch.randn(images.shape, generator=generator, device="cpu").requires_grad_()
    optimizer = torch.optim.Adam([patch], 0.05)
    with torch.enable_grad():
        for _ in range(steps):
            optimizer.zero_grad()
            seen = images * (1 - region) + patch * region
            loss = (model(seen) - wanted).square().mean()
            (patch.grad,) = torch.autograd.grad(loss, patch)
            optimizer.step()
    return (images * (1 - region) + patch * region).detach()


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    def lessons(which: int) -> tuple[Tensor, Tensor]:
        drawn = draw(3000, np.random.default_rng([seed, 60]))
        return drawn[0], drawn[which]

    sees_objects, sees_scenes = (
        training(f"scenes-{name}-{seed}", small_cnn(4, seed), lambda w=which: lessons(w),  # type: ignore[misc]
                 steps=360, rate=8e-3)
        for name, which in (("objects", 3), ("scenes", 4))
    )  # fmt: skip
    x, empty, masks, objects, kinds = draw(8 * images, np.random.default_rng([seed, 61]))
    right = (
        (scores(sees_objects, x).argmax(1) == objects)
        & (scores(sees_scenes, x).argmax(1) == kinds)
        & (scores(sees_scenes, empty).argmax(1) == kinds)
    )
    about = {
        "accuracy, objects": float((scores(sees_objects, x).argmax(1) == objects).float().mean()),
        "accuracy, scenes": float((scores(sees_scenes, x).argmax(1) == kinds).float().mean()),
    }
    kept = right.nonzero()[:images, 0]
    if len(kept) < images:
        raise RuntimeError(f"both networks are right about {len(kept)} images: {about}")
    x, empty, masks, objects, kinds = (v[kept] for v in (x, empty, masks, objects, kinds))
    patched = unimportant(sees_scenes, empty, masks)

    def score(trial: Trial, explain: Explain) -> Scores:
        def share(maps: Tensor) -> Tensor:
            return metrics.relevance_mass_accuracy(maps, masks, x)

        told_objects = share(explain())
        there = share(explain(x, kinds, sees_scenes))
        gone = share(explain(empty, kinds, sees_scenes))
        other = share(explain(patched, kinds, sees_scenes))
        return {
            "model contrast": told_objects - there,
            "input dependence": (there <= gone).float(),
            "input independence": ((gone - other).abs() <= CLOSE * gone).float(),
        }

    def truth(
        inputs: Tensor | None = None, target: Tensor | None = None, model: nn.Module | None = None
    ) -> Tensor:
        return (masks if model is None else ~masks).float()

    return [Trial("scenes", sees_objects, x, objects, truth, score, about=about)]


TASK = Task(
    "scenes",
    "Does the map follow what the network was told to name, the object or the scene?",
    "how much more of the evidence lies on the object for the network of objects than for the "
    "network of scenes (BAM's model contrast, -1 to 1)",
    trials,
)
