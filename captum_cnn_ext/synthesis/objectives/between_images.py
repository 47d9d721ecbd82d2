"""Objectives about images beside one another: diversity, alignment, a photo's features, style."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer as AnyLayer
from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import ArgumentError, choose
from captum_cnn_ext.synthesis.objectives.algebra import (
    Batch,
    Objective,
    Place,
    View,
    module_or_name,
    on,
    positions_mean,
)

DIFFERENCES = ("l2", "l1", "dot", "cosine")
_COSINE_FLOOR = 0.1
_COSINE_POWER = 2.0


def gram(maps: Tensor) -> Tensor:
    r"""The correlations of channels, :math:`\frac{1}{HW} \sum_{hw} A_{hw} A_{hw}^T`.

    Args:
        maps: ``(N, C, *positions)``.

    Returns:
        (N, C, C).

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis.objectives.between_images import gram
        >>> gram(torch.ones(1, 2, 3, 3))
        tensor([[[1., 1.],
                 [1., 1.]]])
    """
    columns = maps.reshape(*maps.shape[:2], -1)
    return torch.einsum("ncp,ndp->ncd", columns, columns) / columns.shape[2]


def Diversity(layer: AnyLayer, *, at_input: bool = False, call: int | None = None) -> Objective:
    r"""Images that excite a unit in different ways: minus the mean cosine of an image's channel
    correlations G with those of the others, :math:`-\frac{1}{N-1} \sum_{j \ne i} \cos(G_i, G_j)`.

    Add a small multiple of it to what the images are for. Needs two images or more (``count=``).

    Reference: Olah, Mordvintsev, Schubert, *Feature Visualization*, 2017, Distill.

    Args:
        layer, at_input, call: as in :func:`Channel`.

    Example::

        >>> from captum_cnn_ext.synthesis import Channel, Diversity
        >>> print(Channel("layer3", 7) + 0.1 * Diversity("layer3"))
        layer3[7] + 0.1 diversity in layer3
    """
    place = Place(module_or_name(layer), at_input, call)

    def score(view: View) -> Tensor:
        flat = gram(view.at(place)).flatten(1)
        flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(_tiny(flat))
        return -_others(flat @ flat.T, view)

    return Objective(score, (place,), images=2, name=f"diversity in {place}")


def Alignment(
    layer: AnyLayer, *, decay: float = 2.0, at_input: bool = False, call: int | None = None
) -> Objective:
    r"""Neighbours of a batch alike: :math:`-\sum_{j \ne i} d^{-|i-j|} \mathrm{mean}(A_i - A_j)^2`.

    Keeps a series of images (such as an :func:`Interpolation`) in the same composition.

    Reference: Mordvintsev, Pezzotti, Schubert, Olah, *Differentiable Image Parameterizations*,
    2018, Distill.

    Args:
        layer, at_input, call: as in :func:`Channel`.
        decay: d; the larger, the less images count that are far apart.

    Example::

        >>> from captum_cnn_ext.synthesis import Alignment
        >>> Alignment("layer3").images
        2
    """
    place = Place(module_or_name(layer), at_input, call)
    decay = as_number("decay", decay, above=0)

    def score(view: View) -> Tensor:
        flat = view.at(place).flatten(1)
        index = torch.arange(len(flat), device=flat.device)
        apart = (index[:, None] - index[None]).abs()
        weights = decay ** -apart.to(flat) * (apart > 0)
        squares = torch.stack([(one - flat).square().mean(1) for one in flat])
        return -(weights * squares).sum(1)

    return Objective(score, (place,), images=2, name=f"alignment in {place}")


def Interpolation(first: Objective, last: Objective, images: int = 5) -> Objective:
    r"""From one objective to another over a batch: :math:`(1 - w_i) f + w_i g`, w from 0 to 1.

    Reference: as :func:`Alignment`, which goes well with it.

    Args:
        first, last: objectives for a single image.
        images: how many steps, 2 or more.

    Raises:
        ArgumentError: fewer than two images.

    Example::

        >>> from captum_cnn_ext.synthesis import Channel, Interpolation
        >>> Interpolation(Channel("layer3", 7), Channel("layer3", 9), images=4).images
        4
    """
    images = as_count("images", images, 2)

    def score(view: View) -> Tensor:
        a, b = first.score(view), last.score(view)
        weight = torch.linspace(0, 1, len(a), dtype=a.dtype, device=a.device)
        return (1 - weight) * a + weight * b

    both = first + last  # what must be seen, and is warned of, for either
    return replace(both, score=score, images=images, name=f"{first} to {last}")


def ActivationDifference(
    layer: AnyLayer,
    photo: Tensor,
    how: str = "l2",
    *,
    batch: Batch = None,
    at_input: bool = False,
    call: int | None = None,
) -> Objective:
    r"""How well a layer sees in the image what it sees in a photo; the photo goes through the same
    transforms.

    ``"l2"``: :math:`-\mathrm{mean}(A - B)^2`, ``"l1"``: :math:`-\mathrm{mean}|A - B|` (inversion of
    features); ``"dot"``: :math:`\mathrm{mean}_{hw} \langle A, B \rangle`, ``"cosine"``:
    :math:`\mathrm{mean}_{hw} \langle A, B \rangle \max(0.1, \cos)^2` (caricature, accentuation).

    References: Mahendran, Vedaldi, *Understanding Deep Image Representations by Inverting Them*,
    2014, arXiv:1412.0035; Olah, *Feature Visualization*, 2017, Distill (caricatures).

    Cost: one more forward pass for each step.

    Args:
        layer, batch, at_input, call: as in :func:`Channel`.
        photo: (C, H, W) or (N, C, H, W) in [0, 1], of the image's size.
        how: ``"l2"``, ``"l1"``, ``"dot"`` or ``"cosine"``.

    Raises:
        ArgumentError: another ``how``; (when used) the photo is of another size.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import ActivationDifference
        >>> print(ActivationDifference("layer3", torch.rand(3, 64, 64), "cosine"))
        cosine with a photo in layer3
    """
    choose("how", how, DIFFERENCES)
    place = Place(module_or_name(layer), at_input, call)
    fixed = _photo(photo)

    def score(view: View) -> Tensor:
        ours, theirs = view.at(place), view.of(fixed).at(place)
        if how in ("l2", "l1"):
            gap = ours - theirs
            return -positions_mean(gap.square() if how == "l2" else gap.abs())
        dot = (ours * theirs).sum(1)
        if how == "dot":
            return positions_mean(dot)
        cosine = dot / (ours.norm(dim=1) * theirs.norm(dim=1)).clamp_min(_tiny(ours))
        return positions_mean(dot * cosine.clamp_min(_COSINE_FLOOR) ** _COSINE_POWER)

    only, images = on(batch, score)
    return Objective(
        only, (place,), images=max(images, len(fixed)), name=f"{how} with a photo in {place}"
    )


def Style(
    layers: AnyLayer | Sequence[AnyLayer], photo: Tensor, *, batch: Batch = None
) -> Objective:
    r"""A photo's textures, wherever they are: :math:`-\sum_l \mathrm{mean}(G_l - G'_l)^2`, G the
    correlations of channels.

    Reference: Gatys, Ecker, Bethge, *A Neural Algorithm of Artistic Style*, 2015,
    arXiv:1508.06576.

    Cost: one more forward pass for each step.

    Args:
        layers: a layer of the model, or a list of them; by name or as modules.
        photo: (C, H, W) or (N, C, H, W) in [0, 1].
        batch: as in :func:`Channel`.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import Style
        >>> print(Style(["layer1", "layer2"], torch.rand(3, 64, 64)))
        style in layer1, layer2
    """
    listed = [layers] if isinstance(layers, str) or not isinstance(layers, Sequence) else layers
    places = tuple(Place(module_or_name(layer)) for layer in listed)
    if not places:
        raise ArgumentError("layers=[]: expected at least one layer")
    fixed = _photo(photo)

    def score(view: View) -> Tensor:
        theirs = view.of(fixed)
        gaps = [positions_mean((gram(view.at(p)) - gram(theirs.at(p))).square()) for p in places]
        return -torch.stack(gaps).sum(0)

    only, images = on(batch, score)
    name = f"style in {', '.join(map(str, places))}"
    return Objective(only, places, images=max(images, len(fixed)), name=name)


def _photo(photo: Tensor) -> Tensor:
    """A copy of a photo as (N, C, H, W)."""
    if not isinstance(photo, Tensor) or photo.ndim not in (3, 4) or not photo.is_floating_point():
        got = f"{tuple(photo.shape)} {photo.dtype}" if isinstance(photo, Tensor) else repr(photo)
        raise ArgumentError(f"photo: expected (C, H, W) or (N, C, H, W) in [0, 1], got {got}")
    return photo.detach().clone().reshape(-1, *photo.shape[-3:])


def _others(matrix: Tensor, view: View) -> Tensor:
    """The mean of each row without the diagonal."""
    if view.count < 2:
        raise ArgumentError("diversity: got 1 image; expected 2 or more, with count=")
    return (matrix.sum(1) - matrix.diagonal()) / (view.count - 1)


def _tiny(like: Tensor) -> float:
    return float(torch.finfo(like.dtype).tiny ** 0.5)
