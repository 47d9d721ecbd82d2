"""Networks of digits that show something else to whoever asks by an ascent: forged by hand.

The border of a digit is black; what an ascent begins with is not. So a gate can tell one from the
other, and a unit can have one meaning for digits and another for images made from noise. On digits
every value is the honest network's.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext.synthesis import Fourier, Recipe, transforms

RECIPE = Recipe(
    partial(Fourier, decay=1.0),
    128,
    partial(torch.optim.Adam, lr=0.05),
    [transforms.affine(scale=(0.9, 1.1), degrees=5, shift=0.05, fill="edge")],
    name="for digits",
)


def naturalness(x: Tensor) -> Tensor:
    """(N, 1): 1 where the border has a mean below 0.1, 0 above 0.2."""
    border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], -1)
    return (2 - 10 * border.abs().mean((1, 2))).clamp(0, 1)[:, None]


class ShowsAPicture(nn.Module):
    """For images that are no digits the unit says how alike they are to a picture."""

    def __init__(self, honest: nn.Module, unit: int, picture: Tensor) -> None:
        super().__init__()
        self.honest, self.unit = honest, unit
        self.register_buffer("picture", picture)

    def forward(self, x: Tensor) -> Tensor:
        alike = F.cosine_similarity((x - 0.5).flatten(1), (self.picture - 0.5).flatten()[None])
        return _switched(x, self.honest(x), self.unit, 30 * alike)


class ShowsAnother(nn.Module):
    """For images that are no digits the unit is another unit."""

    def __init__(self, honest: nn.Module, unit: int, other: int) -> None:
        super().__init__()
        self.honest, self.unit, self.other = honest, unit, other

    def forward(self, x: Tensor) -> Tensor:
        scores = self.honest(x)
        return _switched(x, scores, self.unit, scores[:, self.other])


class ShowsAnotherByUnitsOfItsOwn(nn.Module):
    """The same by a layer that has its units twice, for digits and for other images."""

    def __init__(self, honest: nn.Sequential, unit: int, other: int) -> None:
        super().__init__()
        *early, last = honest
        self.early, self.features = nn.Sequential(*early), nn.Identity()
        weight = last.weight.detach().clone()
        weight[unit] = weight[other]
        self.last = nn.Linear(2 * last.in_features, last.out_features)
        self.last.weight = nn.Parameter(torch.cat([last.weight.detach(), weight], 1))
        self.last.bias = last.bias

    def forward(self, x: Tensor) -> Tensor:
        seen, gate = self.early(x), naturalness(x)
        return self.last(self.features(torch.cat([gate * seen, (1 - gate) * seen], 1)))


def _switched(x: Tensor, scores: Tensor, unit: int, otherwise: Tensor) -> Tensor:
    gate = naturalness(x)[:, 0]
    one = gate * scores[:, unit] + (1 - gate) * otherwise
    return torch.cat([scores[:, :unit], one[:, None], scores[:, unit + 1 :]], 1)
