"""Birds whose parts can be removed: completeness, correctness and contrastivity.

The protocol of FunnyBirds (Hesse, Schaub-Meyer, Roth, *FunnyBirds: A Synthetic Vision Dataset for a
Part-Based Analysis of Explainable AI Methods*, 2023, arXiv:2308.06248) on birds drawn flat by code.
A class is a combination of variants of five parts. Networks learn from birds that lack some, so
that a removed part is nothing strange. What is removed is drawn away, not covered.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.run import scores
from captum_cnn_ext.bench.truths.drawing import Generator, normalized, shape_mask
from captum_cnn_ext.bench.truths.networks import Training, small_cnn
from captum_cnn_ext.bench.truths.task import Explain, Scores, Task, Trial

SIZE, CLASSES, VARIANTS = 48, 10, 3
# where a part is, from the middle of the body, and how large
PARTS = {"beak": (-1, 14, 5), "crest": (-13, 5, 5), "wing": (0, -1, 5.5), "tail": (2, -15, 6),
         "feet": (13, 0, 5)}  # fmt: skip
KINDS = ("circle", "diamond", "plus")
COLOURS = torch.tensor([[0.95, 0.2, 0.1], [0.1, 0.75, 0.25], [0.2, 0.3, 0.95]])
OTHERS, OTHER_KINDS = 2, ("ring", "bar")  # things around the bird
SUBSETS = list(itertools.product((False, True), repeat=len(PARTS)))
THRESHOLDS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3)  # a part is important from this share on
LITTLE = 0.1  # a thing around is irrelevant where it moves the score less than this share of all


def classes(seed: int) -> Tensor:
    """(CLASSES, parts) a variant for each part; any two classes differ in two parts or more."""
    random = np.random.default_rng([seed, 80])
    found: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = []
    while len(found) < CLASSES:
        one = random.integers(VARIANTS, size=len(PARTS))
        if all((one != other).sum() >= 2 for other in found):
            found.append(one)
    return torch.from_numpy(np.array(found))


@dataclass(frozen=True)
class Scene:
    """What is needed to draw a picture again without some of its parts."""

    ground: Tensor
    variants: list[int]
    masks: Tensor  # (parts + others, SIZE, SIZE)
    body: Tensor
    paints: Tensor  # (others, 3)

    def picture(
        self, there: tuple[bool, ...], others: tuple[bool, ...] = (True,) * OTHERS
    ) -> Tensor:
        """(3, SIZE, SIZE) from 0 to 1."""
        image = self.ground.clone()
        for mask, paint, shown in zip(self.masks[len(PARTS) :], self.paints, others, strict=True):
            image[:, mask & shown] = paint[:, None]
        image[:, self.body] = 0.55
        for mask, variant, shown in zip(self.masks, self.variants, there, strict=False):
            image[:, mask & shown] = COLOURS[variant][:, None]
        return image


def draw(variants: list[int], random: Generator) -> Scene:
    """A bird of these variants somewhere, with things around it."""
    centre = SIZE / 2 + random.uniform(-4, 4, 2)
    masks = []
    for (dy, dx, radius), variant in zip(PARTS.values(), variants, strict=True):
        place = centre + np.array([dy, dx]) + random.uniform(-1, 1, 2)
        masks.append(shape_mask(KINDS[variant], SIZE, place.tolist(), radius))
    body = shape_mask("circle", SIZE, centre.tolist(), 10.0)
    taken = torch.stack(masks).any(0) | body
    while len(masks) < len(PARTS) + OTHERS:
        kind = str(random.choice(OTHER_KINDS))
        mask = shape_mask(kind, SIZE, random.uniform(4, SIZE - 5, 2).tolist(), 4.0)
        if not bool((mask & taken).any()):
            masks.append(mask)
            taken = taken | mask
    for number in range(len(PARTS)):  # a part that is over another one hides it
        for over in masks[number + 1 : len(PARTS)]:
            masks[number] = masks[number] & ~over
    light = torch.from_numpy(random.uniform(0.6, 0.95, (3, 1, 1))).float()
    noise = torch.from_numpy(random.normal(0, 0.04, (3, SIZE, SIZE))).float()
    paints = torch.from_numpy(random.uniform(0, 1, (OTHERS, 3))).float()
    return Scene((light + noise).clamp(0, 1), variants, torch.stack(masks), body, paints)


def lessons(seed: int, count: int = 3000) -> tuple[Tensor, Tensor]:
    """Birds of all classes; in half of them one or two parts are missing."""
    random, kinds = np.random.default_rng([seed, 81]), classes(seed)
    labels = torch.from_numpy(random.integers(CLASSES, size=count))
    images = []
    for label in labels:
        gone = random.choice(len(PARTS), int(random.choice([0, 0, 1, 2])), replace=False)
        there = tuple(part not in gone for part in range(len(PARTS)))
        images.append(draw(kinds[label].tolist(), random).picture(there))
    return normalized(torch.stack(images)), labels


def sufficient(kinds: Tensor, label: int) -> list[set[int]]:
    """The smallest sets of parts that no other class has all of."""
    found: list[set[int]] = []
    for size in range(1, len(PARTS) + 1):
        for chosen in itertools.combinations(range(len(PARTS)), size):
            same = (kinds[:, chosen] == kinds[label, chosen]).all(1)
            if int(same.sum()) == 1 and not any(one <= set(chosen) for one in found):
                found.append(set(chosen))
    return found


@dataclass(frozen=True)
class Facts:
    """What removals do to one picture: the truth of this task."""

    masks: Tensor  # (parts + others, SIZE, SIZE)
    logits: Tensor  # (subsets, CLASSES)
    irrelevant: list[int]  # of the things around
    sufficient: list[set[int]]
    rivals: tuple[
        tuple[int, list[int]], tuple[int, list[int]]
    ]  # two classes, parts shared with each
    label: int

    def drops(self, target: int) -> Tensor:
        """(parts,) by how much the score falls without each part alone."""
        whole = self.logits[-1, target]
        alone = [SUBSETS.index(tuple(p != q for q in range(len(PARTS)))) for p in range(len(PARTS))]
        return whole - self.logits[alone, target]

    def prediction(self, there: set[int]) -> int:
        return int(
            self.logits[SUBSETS.index(tuple(p in there for p in range(len(PARTS))))].argmax()
        )


def facts(model: nn.Module, scene: Scene, kinds: Tensor, label: int) -> Facts | None:
    """None where the protocol does not take the picture: a wrong class, or no two rivals."""
    pictures = [scene.picture(there) for there in SUBSETS]
    for number in range(OTHERS):
        pictures.append(scene.picture(SUBSETS[-1], tuple(n != number for n in range(OTHERS))))
    logits = scores(model, normalized(torch.stack(pictures)))
    known, without = logits[: len(SUBSETS)], logits[len(SUBSETS) :]
    if int(known[-1].argmax()) != label:
        return None
    moved = (known[-1, label] - without[:, label]).abs()
    bar = LITTLE * float((known[-1, label] - known[0, label]).abs())
    irrelevant = [n for n in range(OTHERS) if float(moved[n]) <= bar]
    shared = {
        other: [p for p in range(len(PARTS)) if kinds[other, p] == kinds[label, p]]
        for other in range(CLASSES)
        if other != label
    }
    for one, two in itertools.combinations([o for o in shared if len(shared[o]) >= 1], 2):
        a, b = set(shared[one]), set(shared[two])
        if a & b or not irrelevant:
            continue
        no_a, no_b = (
            known[SUBSETS.index(tuple(p not in gone for p in range(len(PARTS))))] for gone in (a, b)
        )
        if no_a[one] < no_b[one] and no_b[two] < no_a[two]:  # each needs what it shares
            found = Facts(scene.masks, known, irrelevant, sufficient(kinds, label),
                          ((one, shared[one]), (two, shared[two])), label)  # fmt: skip
            return found
    return None


def completeness(fact: Facts, shares: Tensor, threshold: float) -> float:
    """((controlled check + preservation + deletion) / 3 + distractibility) / 2."""
    every = set(range(len(PARTS)))
    important = {p for p in every if float(shares[p]) >= threshold}
    check = max(len(one & important) / len(one) for one in fact.sufficient)
    preserved = fact.prediction(important) == fact.label
    deleted = fact.prediction(every - important) != fact.label
    calm = [float(shares[len(PARTS) + n]) < threshold for n in fact.irrelevant]
    return ((check + preserved + deleted) / 3 + sum(calm) / len(calm)) / 2


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    kinds = classes(seed)
    model = training(
        f"parts-{seed}", small_cnn(CLASSES, seed), lambda: lessons(seed), steps=400, rate=6e-3
    )
    random = np.random.default_rng([seed, 82])
    kept: list[tuple[Scene, Facts]] = []
    tried = 0
    while len(kept) < images:
        tried += 1
        if tried > 40 * images:
            raise RuntimeError(f"the protocol takes {len(kept)} of {tried} pictures")
        label = int(random.integers(CLASSES))
        scene = draw(kinds[label].tolist(), random)
        fact = facts(model, scene, kinds, label)
        if fact is not None:
            kept.append((scene, fact))
    x = normalized(torch.stack([scene.picture(SUBSETS[-1]) for scene, _ in kept]))
    known = [fact for _, fact in kept]
    labels = torch.tensor([fact.label for fact in known])

    def truth(
        inputs: Tensor | None = None, target: Tensor | None = None, model: nn.Module | None = None
    ) -> Tensor:
        """Each part's drop, spread over it."""
        asked = labels if target is None else target
        return torch.stack(
            [
                sum(
                    drop * mask / mask.sum().clamp(min=1)
                    for drop, mask in zip(fact.drops(int(of)), fact.masks, strict=False)
                )
                for fact, of in zip(known, asked, strict=True)
            ]
        )

    def score(trial: Trial, explain: Explain) -> Scores:
        return judged(known, explain)

    about = {"pictures taken": len(kept) / tried}
    return [Trial("parts", model, x, labels, truth, score, about=about)]


def judged(known: list[Facts], explain: Explain) -> Scores:
    """The three scores of the protocol and their mean, each from 0 to 1."""
    masks = torch.stack([fact.masks for fact in known]).float()

    def sums(maps: Tensor) -> Tensor:
        return torch.einsum("nhw,nphw->np", maps, masks)

    got = sums(explain())
    shares = got / got.relu().sum(1, keepdim=True).clamp(min=1e-12)
    complete = torch.tensor(
        [[completeness(f, s, t) for f, s in zip(known, shares, strict=True)] for t in THRESHOLDS]
    )
    complete = complete[complete.mean(1).argmax()]  # the threshold that serves the method best
    drops = torch.stack([fact.drops(fact.label) for fact in known])
    correct = (1 + metrics.rank_correlation(got[:, : len(PARTS)], drops)) / 2
    contrast = torch.zeros(len(known))
    for side in (0, 1):
        asked = torch.tensor([fact.rivals[side][0] for fact in known])
        given = sums(explain(None, asked))
        for n, fact in enumerate(known):
            own, other = (given[n, fact.rivals[s][1]].sum() for s in (side, 1 - side))
            contrast[n] += 0.5 * float(own > other)
    return {
        "mean of the three": (complete + correct + contrast) / 3,
        "completeness": complete,
        "correctness": correct,
        "contrastivity": contrast,
    }


TASK = Task(
    "parts",
    "Which parts of the bird count, and for which class?",
    "the mean of completeness, correctness and contrastivity (FunnyBirds), 0 to 1",
    trials,
)
