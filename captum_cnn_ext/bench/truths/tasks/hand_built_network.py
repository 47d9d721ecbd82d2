"""A network built by hand, whose contribution of each position is known by construction.

A picture is a board of cells in four colours or none. Every class adds one colour, subtracts the
next, adds the third only where its right neighbour has it too (the smaller of the two counts), and
adds the fourth once for a cell and its right neighbour (the larger counts). Sums, and the smaller
and larger of two numbers, have Shapley values in closed form: that is the truth. Designed networks
as a test of attributions: Zhou, Booth, Ribeiro, Shah, *Do Feature Attribution Methods Correctly
Attribute Features?*, 2021, arXiv:2104.14403, and Khakzar, Khorsandi, Nobahari, Navab, *Do
Explanations Explain? Model Knows Best*, 2022, arXiv:2203.02269.
"""

from collections import OrderedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext.bench.run import scores
from captum_cnn_ext.bench.truths.networks import LAST, MIDDLE, Training
from captum_cnn_ext.bench.truths.task import Explain, Scores, Task, Trial

CELLS, CELL = 8, 4
# red, green, blue and white against black: what each adds is seen in no other
COLOURS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
ROLES = 4


def network(weights: Tensor) -> nn.Module:
    """Cells to colours, to pairs of neighbours, to four classes; ``weights`` (roles,) above 0."""
    look = nn.Conv2d(3, ROLES, CELL, CELL)  # one step a cell: how much of each colour
    pair = nn.Conv2d(ROLES, 3 * ROLES, (1, 3), padding=(0, 1))
    add = nn.Linear(3 * ROLES, ROLES)
    with torch.no_grad():
        # white is the least of three; a colour is what it has more than the two others
        red, green, blue = torch.eye(3)
        units = torch.stack([2 * c - 1 for c in (red, green, blue)] + [torch.ones(3)])
        for parameter in (*look.parameters(), *pair.parameters(), *add.parameters()):
            parameter.zero_()
        look.weight += units[:, :, None, None] / CELL**2
        dict(look.named_parameters())["bias"][3] = -2
        for c in range(ROLES):
            pair.weight[c, c, 0, 1] = 1  # a
            pair.weight[ROLES + c, c, 0, 1:] = torch.tensor([1.0, -1])  # relu(a - right)
            pair.weight[2 * ROLES + c, c, 0, 2] = 1  # right
        for label in range(ROLES):
            plus, minus, both, either = ((label + role) % ROLES for role in range(ROLES))
            w = weights * CELLS**2  # the mean becomes a sum
            add.weight[label, plus] += w[0]
            add.weight[label, minus] -= w[1]
            add.weight[label, both] += w[2]  # a - relu(a - right) = min(a, right)
            add.weight[label, ROLES + both] -= w[2]
            add.weight[label, 2 * ROLES + either] += w[3]  # right + relu(a - right) = max
            add.weight[label, ROLES + either] += w[3]
    layers = [("look", look), (MIDDLE, nn.ReLU()), ("pair", pair), (LAST, nn.ReLU())]
    layers += [("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten()), ("add", add)]
    return nn.Sequential(OrderedDict(layers)).eval()


def contributions(amounts: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Shapley values (N, CELLS, CELLS) of cells with these amounts (N, roles, CELLS, CELLS).

    A cell that is not there has none of any colour.
    """
    right = F.pad(amounts, (0, 1))[..., 1:]
    smaller, larger = torch.minimum(amounts, right), torch.maximum(amounts, right)
    both = smaller / 2  # neither has anything without the other
    first = (amounts + larger - right) / 2  # the mean of coming first and of coming second
    second = (right + larger - amounts) / 2

    def of(values: Tensor, role: int) -> Tensor:
        return weights[role] * values[torch.arange(len(target)), (target + role) % ROLES]

    def with_left(own: Tensor, lefts: Tensor) -> Tensor:
        return own + F.pad(lefts, (1, 0))[..., :-1]

    pairs = with_left(of(both, 2), of(both, 2)) + with_left(of(first, 3), of(second, 3))
    return of(amounts, 0) - of(amounts, 1) + pairs


def draw(count: int, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Images from 0 to 1, and how much of each colour every cell has."""
    kinds = torch.from_numpy(random.choice(ROLES + 1, (count, CELLS, CELLS)))
    strength = torch.from_numpy(random.uniform(0.3, 1, (count, CELLS, CELLS))).float()
    amounts = F.one_hot(kinds, ROLES + 1)[..., :ROLES].permute(0, 3, 1, 2) * strength[:, None]
    # white is seen above two thirds of full light only: 3 s - 2 has to be what is meant
    amounts[:, 3] = torch.where(amounts[:, 3] > 0, 3 * (0.7 + 0.3 * amounts[:, 3]) - 2, 0)
    light = amounts.clone()
    light[:, 3] = torch.where(amounts[:, 3] > 0, (amounts[:, 3] + 2) / 3, 0)
    cells = torch.einsum("nkhw,kc->nchw", light, COLOURS)
    return cells.repeat_interleave(CELL, 2).repeat_interleave(CELL, 3), amounts


def score(trial: Trial, explain: Explain) -> Scores:
    """Spearman's correlation of what cells get with what they contribute."""
    assert isinstance(trial.truth, Tensor)
    got, true = (F.avg_pool2d(m.unsqueeze(1), CELL).flatten(1) for m in (explain(), trial.truth))
    return {"rank correlation": metrics.rank_correlation(got, true)}


def trials(seed: int, images: int, training: Training) -> list[Trial]:
    random = np.random.default_rng([seed, 2])
    weights = torch.from_numpy(random.uniform(0.5, 1.5, ROLES)).float()
    model = network(weights)
    x, amounts = draw(images, random)
    target = scores(model, x).argmax(1)
    truth = contributions(amounts, target, weights)
    truth = truth.repeat_interleave(CELL, 1).repeat_interleave(CELL, 2)
    return [Trial("built", model, x, target, truth, score)]


TASK = Task(
    "built",
    "What does each cell contribute, where cells add, cancel, need or replace each other?",
    "Spearman's correlation with the Shapley values that the network was built for, -1 to 1",
    trials,
)
