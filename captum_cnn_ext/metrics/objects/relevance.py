"""How much of a map lies on what is known to matter: rank and mass accuracy, overlap, distance."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from captum_cnn_ext._numbers import as_count, as_number
from captum_cnn_ext.errors import ArgumentError, choose, needing
from captum_cnn_ext.metrics.maps import as_image, as_maps, unit_range
from captum_cnn_ext.metrics.objects.localization import object_masks

SIGNS = ("signed", "absolute")


def _maps_and_masks(
    attributions: Any, masks: Tensor, inputs: Any, sign: str
) -> tuple[Tensor, Tensor]:
    choose("sign", sign, SIGNS)
    maps = as_maps(attributions, as_image(inputs))
    return maps.abs() if sign == "absolute" else maps, object_masks(masks, maps)


def relevance_rank_accuracy(
    attributions: Any, masks: Tensor, inputs: Any, *, sign: str = "signed"
) -> Tensor:
    r"""The share of the K strongest pixels that lie on the object of K pixels, (N,), 0 to 1.

    .. math:: |\{\text{K strongest}\} \cap \text{object}| \,/\, K, \quad K = |\text{object}|

    It is precision at K. Of equal pixels at the border of the K strongest, the mean over all ways
    to choose counts, so that a constant map gets the object's share of the picture. 0 where there
    is no object.

    Cost: no pass of the model.

    Reference: Arras, Osman, Samek, *CLEVR-XAI: A Benchmark Dataset for the Ground Truth Evaluation
    of Neural Network Explanations*, 2022, arXiv:2003.07258.

    Args:
        attributions: of any method, see :func:`as_maps`.
        masks: (N, H, W), True on the object.
        inputs: the images (N, C, H, W).
        sign: ``"signed"`` takes the largest values, ``"absolute"`` the largest magnitudes.

    Raises:
        ArgumentError: shapes that do not fit, or another sign.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import relevance_rank_accuracy
        >>> mask = torch.tensor([[[True, True, False, False]]])
        >>> relevance_rank_accuracy(torch.tensor([[[4.0, 1, 3, 0]]]), mask, torch.zeros(1, 3, 1, 4))
        tensor([0.5000])
    """
    maps, objects = _maps_and_masks(attributions, masks, inputs, sign)
    found = []
    for values, inside in zip(maps.flatten(1), objects.flatten(1), strict=True):
        k = int(inside.sum())
        if k == 0:
            found.append(values.new_zeros(()))
            continue
        least = values.topk(k).values[-1]
        above, equal = values > least, values == least
        share = (equal & inside).sum() / equal.sum()
        found.append(((above & inside).sum() + (k - above.sum()) * share) / k)
    return torch.stack(found).to(torch.float32)


def relevance_mass_accuracy(
    attributions: Any, masks: Tensor, inputs: Any, *, sign: str = "signed"
) -> Tensor:
    r"""The share of a map's mass that lies on the object, (N,), 0 to 1; 0 where there is no mass.

    .. math:: \sum_{p \in \text{object}} v_p \Big/ \sum_p v_p

    with v the positive part of the map, which makes it :func:`energy_in_box`, or its magnitude.

    Cost, reference, args and errors: as :func:`relevance_rank_accuracy`.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import relevance_mass_accuracy
        >>> mask = torch.tensor([[[True, True, False, False]]])
        >>> heat = torch.tensor([[[3.0, 0, 1, -4]]])
        >>> [float(relevance_mass_accuracy(heat, mask, torch.zeros(1, 3, 1, 4), sign=sign))
        ...  for sign in ("signed", "absolute")]
        [0.75, 0.375]
    """
    maps, objects = _maps_and_masks(attributions, masks, inputs, sign)
    maps = maps.relu()
    total = maps.sum((1, 2))
    return torch.where(total > 0, (maps * objects).sum((1, 2)) / total, 0)


def mask_iou(
    attributions: Any,
    masks: Tensor,
    inputs: Any,
    *,
    threshold: float = 0.5,
    sign: str = "signed",
) -> Tensor:
    r"""Intersection over union of the object and the map's strong pixels, (N,), 0 to 1.

    .. math:: |S \cap \text{object}| \,/\, |S \cup \text{object}|, \quad
        S = \{p : (m_p - \min m) / (\max m - \min m) \ge \text{threshold}\}

    A constant map has no strong pixels.

    Cost, args and errors: as :func:`relevance_rank_accuracy`; ``threshold`` lies between 0 and 1.

    Reference: Choe, Oh, Lee, Chun, Akata, Shim, *Evaluating Weakly Supervised Object Localization
    Methods Right*, 2020, arXiv:2001.07437 (maps from 0 to 1, a threshold on them).

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import mask_iou
        >>> mask = torch.tensor([[[True, True, False, False]]])
        >>> mask_iou(torch.tensor([[[4.0, 1, 3, 0]]]), mask, torch.zeros(1, 3, 1, 4))
        tensor([0.3333])
    """
    maps, objects = _maps_and_masks(attributions, masks, inputs, sign)
    threshold = as_number("threshold", threshold, above=0, below=1)
    strong = unit_range(maps) >= threshold
    union = (strong | objects).sum((1, 2))
    return torch.where(union > 0, (strong & objects).sum((1, 2)) / union.clamp(min=1), 0)


def earth_movers_distance(
    attributions: Any,
    masks: Tensor,
    inputs: Any,
    *,
    grid: int = 8,
    sign: str = "signed",
) -> Tensor:
    r"""How far a map's mass must be carried to become the object, (N,), 0 (there) to 1 (across).

    .. math:: \min_{T \ge 0} \sum_{p, q} T_{pq}\, \lVert p - q \rVert / D, \quad
        \sum_q T_{pq} = v_p, \; \sum_p T_{pq} = o_q

    v is the map's positive part, or its magnitude, and o the object, both with sum 1; D is the
    distance of the farthest two cells. Both are summed over ``grid`` x ``grid`` cells first; the
    linear program is then solved exactly. A map without mass counts as an even one.

    Cost: no pass of the model, and a linear program of grid^2 times the object's cells.

    Reference: Clark, Bunse, Haufe and others, *XAI-TRIS: Non-linear image benchmarks to quantify
    false positive post-hoc attribution of feature importance*, 2024, arXiv:2306.12816.

    Args: as :func:`relevance_rank_accuracy`, and ``grid``, the cells along each side.

    Raises:
        ArgumentError: shapes that do not fit, or an image without an object.
        ImportError: scipy is missing.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import earth_movers_distance
        >>> mask = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> mask[0, 0, 0] = True
        >>> heat = torch.zeros(1, 1, 4, 4)
        >>> heat[..., 3, 3] = 1
        >>> earth_movers_distance(heat, mask, torch.zeros(1, 3, 4, 4), grid=4)
        tensor([1.])
    """
    maps, objects = _maps_and_masks(attributions, masks, inputs, sign)
    grid = as_count("grid", grid, 2, min(maps.shape[1:]))
    sums = [
        F.adaptive_avg_pool2d(values.double().unsqueeze(1), grid).flatten(1).cpu()
        for values in (maps.relu(), objects)
    ]
    along = torch.arange(grid, dtype=torch.float64, device="cpu")
    places = torch.cartesian_prod(along, along)
    distances = torch.cdist(places, places) / (2**0.5 * (grid - 1))
    found = [_carried(v, o, distances) for v, o in zip(*sums, strict=True)]
    return torch.tensor(found, device=maps.device)


def _carried(values: Tensor, target: Tensor, distances: Tensor) -> float:
    """The cheapest transport of one distribution to another."""
    with needing("the earth mover's distance needs scipy", "families"):
        from scipy.optimize import linprog
        from scipy.sparse import eye, kron, vstack
    if float(target.sum()) == 0:
        raise ArgumentError("masks: expected an object in every image, got one without")
    values = values if float(values.sum()) > 0 else torch.ones_like(values)
    sources, sinks = values.nonzero()[:, 0], target.nonzero()[:, 0]
    give = (values[sources] / values[sources].sum()).numpy()
    take = (target[sinks] / target[sinks].sum()).numpy()
    cost = distances[sources][:, sinks].flatten().numpy()
    rows = kron(eye(len(give)), [[1.0] * len(take)], format="csr")
    columns = kron([[1.0] * len(give)], eye(len(take)), format="csr")[:-1]  # one follows from rest
    found = linprog(cost, A_eq=vstack([rows, columns]), b_eq=[*give, *take[:-1]], method="highs")
    return float(found.fun)
