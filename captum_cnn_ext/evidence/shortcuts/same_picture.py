"""Is what donors give the same picture in all of them, beyond what objects of a class are?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fft import irfft2, rfft2
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d

from captum_cnn_ext._engine.wide_numbers import widest
from captum_cnn_ext.evidence.shortcuts.places import Box
from captum_cnn_ext.evidence.shortcuts.properties import excess, usual_power

AT_ONCE = 8  # images whose Fourier transforms are held
MATCHED_AT = 48  # pixels of a side, at most, where a picture is searched for
QUANTILE = 0.25
TIGHT = 0.25  # pixels that are less alike than this are none of a patch's own
PLAIN = 0.1  # of the difference at its place: a part that is found as close elsewhere is plain
NEARLY_ALL = 0.8  # of the pixels that are alike, from where these are one place
PART = 0.15  # of the image's side: the searched part of a picture


def sameness_at(donors: Tensor, others: Tensor, mask: Tensor) -> tuple[float, Tensor]:
    """How different donors' pixels in ``mask`` (H, W) are, over how different they are from others.

    Squared differences, averaged over 3 x 3 pixels, of pairs of donors and of a donor and another
    image; medians over pairs. The value is the quotient of the two below which a quarter of the
    pixels lie, because a small tag fills only a part of a window. 0 is the same picture, 1 no more
    alike than any two images. Also the quotients (H, W), 1 outside the mask.
    """
    first, second = torch.triu_indices(len(donors), len(donors), 1).to(donors.device)
    within = _distances(donors[first], donors[second]).median(0).values
    between = torch.stack([_distances(others, donor).median(0).values for donor in donors])
    between = between.median(0).values
    floor = 0.05 * between.mean()
    quotient = (within + floor) / (between + floor)
    quotient = torch.where(mask, quotient, 1.0)
    return float(quotient[mask].quantile(QUANTILE)), quotient


def compact(same: Tensor) -> Box | None:
    """The one compact place of what is ``same`` (H, W); None where it is spread, or nothing.

    A window of a quarter of each side holds nearly all of it, and it fills half of its rows and
    columns there.
    """
    size = [max(1, side // 4) for side in same.shape]
    counts = avg_pool2d(same[None].float(), size, 1)[0] * size[0] * size[1]
    down, across = divmod(int(counts.argmax()), counts.shape[1])
    at = same[down : down + size[0], across : across + size[1]].nonzero()
    if len(at) < max(1, NEARLY_ALL * float(same.sum())):
        return None
    low, high = at.amin(0).tolist(), (at.amax(0) + 1).tolist()
    full = len(at) >= (high[0] - low[0]) * (high[1] - low[1]) / 2
    return (down + low[0], across + low[1], down + high[0], across + high[1]) if full else None


def is_everywhere(donors: Tensor, others: Tensor, same: Tensor) -> bool:
    """Whether what is the same in the donors, at the pixels ``same`` (H, W), tells nothing.

    It is in most other images too, somewhere: an empty part of the background, such as the open top
    of a handwritten 4, and no thing that was put there. The closest place of an image is a tenth as
    different, or less, as what it has at this place.
    """
    at = same.nonzero()
    if not len(at):
        return False
    (top, left), (bottom, right) = at.amin(0).tolist(), at.amax(0).tolist()
    rows, columns = slice(top, bottom + 1), slice(left, right + 1)
    part, counted = widest(donors.median(0).values[:, rows, columns]), same[rows, columns]
    here = ((others[:, :, rows, columns] - part).square() * counted).sum((1, 2, 3))
    few_each = torch.split(others, AT_ONCE)
    closest = torch.cat([differences(few, part, counted).flatten(1).amin(1) for few in few_each])
    closest = torch.minimum(closest.clamp_min(0), here)  # which is one of the places
    return bool(closest.median() <= PLAIN * here.median())


def differences(images: Tensor, part: Tensor, counted: Tensor) -> Tensor:
    r"""Squared differences of a part (C, h, w) from every place of images (n, C, H, W).

    Only pixels that are ``counted`` (h, w) are summed; the result is (n, H - h + 1, W - w + 1).

    .. math:: \sum_p w_p (x_{q+p} - a_p)^2
        = \sum_p w_p x_{q+p}^2 - 2 \sum_p w_p a_p x_{q+p} + \sum_p w_p a_p^2

    for every place q at once: the two sums of x are correlations, products of Fourier transforms.
    These wrap around at the far edges, where the part does not lie in the image. What is left where
    images are alike is small beside the sums, hence the widest numbers.
    """
    images, part = widest(images), widest(part)
    size, weights = images.shape[2:], counted.to(part)
    pixels, values = (rfft2(kernel, s=size).conj() for kernel in (weights, weights * part))
    waves = rfft2(images.square().sum(1)) * pixels - 2 * (rfft2(images) * values).sum(1)
    height, width = size[0] - len(counted) + 1, size[1] - counted.shape[1] + 1
    found: Tensor = irfft2(waves, s=size)[:, :height, :width] + (weights * part.square()).sum()
    return found


def sameness_anywhere(donors: Tensor, others: Tensor, masks: Tensor) -> tuple[float, Tensor]:
    """The same for pictures that may be anywhere: is a part of one found again in the other donors?

    Each part of a donor's picture (a square of 15 % of the image's side) is searched for in the
    other donors and in other images; the quotient of the median distances of the best matches,
    the smallest of a donor's parts, the median of donors. Also the middles (D, 2) of these parts,
    in shares of the image.
    """
    height, width = donors.shape[2:]
    sides = (min(MATCHED_AT, height), min(MATCHED_AT, width))
    donors, others = adaptive_avg_pool2d(donors, sides), adaptive_avg_pool2d(others, sides)
    masks = adaptive_avg_pool2d(masks.float(), sides)
    side = max(3, round(PART * min(sides)))
    found, middles = [], []
    for n, donor in enumerate(donors):
        parts = donor.unfold(1, side, 1).unfold(2, side, 1)  # (C, h, w, side, side)
        full = masks[n, 0].unfold(0, side, 1).unfold(1, side, 1).mean((2, 3)) > 0.99
        at = full.nonzero()
        wanted = parts[:, at[:, 0], at[:, 1]].transpose(0, 1)
        rest = torch.cat([donors[:n], donors[n + 1 :]])
        own, other = _closest(rest, wanted).median(0).values, _closest(others, wanted).median(0)
        floor = 0.1 * other.values.amax()  # a plain part is found everywhere
        quotient = (own + floor) / (other.values + floor)
        quotient = torch.where(other.values > floor, quotient, 1.0)
        found.append(quotient.min())
        middles.append((at[quotient.argmin()] + side / 2) / torch.tensor(sides).to(at))
    return float(torch.stack(found).median()), torch.stack(middles)


def sameness_of_texture(donors: Tensor, others: Tensor) -> float:
    """How different the donors' textures are: 1 less the median cosine of pairs of power spectra.

    Of what their spectra have and those of others have not. 0 is one pattern, wherever its waves
    begin; grey noise gives 0.5, because its spectrum is another one in every image.
    """
    power = excess(donors, usual_power(others)).abs().square().sum(1).flatten(1)
    power = power / power.norm(dim=1, keepdim=True).clamp_min(1e-12)
    first, second = torch.triu_indices(len(donors), len(donors), 1).to(donors.device)
    return 1 - float((power[first] * power[second]).sum(1).median())


def _distances(images: Tensor, others: Tensor) -> Tensor:
    """Squared differences (n, H, W) of the pixels of pairs."""
    squared = (images - others).square().sum(1, keepdim=True)
    return avg_pool2d(squared, 3, 1, 1, count_include_pad=False)[:, 0]


def _closest(images: Tensor, parts: Tensor) -> Tensor:
    """The smallest squared distance (n, P) of each part (P, C, s, s) to any place of an image."""
    ones = torch.ones_like(parts[:1])
    squared = conv2d(images.square(), ones) - 2 * conv2d(images, parts)
    distance = squared + parts.square().sum((1, 2, 3))[:, None, None]
    return distance.flatten(2).amin(2).clamp_min(0)
