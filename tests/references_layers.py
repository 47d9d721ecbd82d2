"""Questions about a layer's values again: whole forwards with hooks, one at a time, no package.

``call`` counts a layer's calls from 0, or from the end where it is negative, as a list does.
"""

import numpy as np
import torch
import torch.nn.functional as F


def values_at(model, layer, x, call=-1):
    """What the layer gives at that call."""
    seen = []
    handle = layer.register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    model(x.clone())
    handle.remove()
    return seen[call]


def score_with(model, layer, x, values, target, call=-1):
    """The target's score of one example when the layer's call gives ``values``."""
    calls = []
    count = layer.register_forward_hook(lambda *_: calls.append(1))
    model(x.clone())
    count.remove()
    wanted, seen = range(len(calls))[call], []

    def replace(_, __, out):
        seen.append(1)
        return values.clone() if len(seen) - 1 == wanted else out

    handle = layer.register_forward_hook(replace)
    output = model(x.clone())
    handle.remove()
    return output[0, target]


def gradient_with(model, layer, x, values, target, call=-1):
    values = values.clone().requires_grad_()
    return torch.autograd.grad(score_with(model, layer, x, values, target, call), values)[0]


def feature_ablation(model, layer, x, targets, call=-1):
    """How much the score falls when one value of the layer is 0, for every value."""
    maps = []
    for n, target in enumerate(targets):
        one = x[n : n + 1]
        a = values_at(model, layer, one, call)
        result = torch.zeros_like(a)
        with torch.no_grad():
            whole = score_with(model, layer, one, a, target, call)
            for index in np.ndindex(*a.shape):
                without = a.clone()
                without[index] = 0
                result[index] = whole - score_with(model, layer, one, without, target, call)
        maps.append(result)
    return torch.cat(maps)


def quadrature(steps):
    """Gauss and Legendre's positions and sizes on [0, 1]."""
    positions, sizes = np.polynomial.legendre.leggauss(steps)
    return [(p + 1) / 2 for p in positions.tolist()], [s / 2 for s in sizes.tolist()]


def integrated_gradients(model, layer, x, targets, call=-1, *, steps):
    """(A - A') times the integral of the gradient from A' (of an input of 0) to A."""
    maps = []
    for n, target in enumerate(targets):
        one = x[n : n + 1]
        start = values_at(model, layer, torch.zeros_like(one), call)
        end = values_at(model, layer, one, call)
        total = torch.zeros_like(end)
        for position, size in zip(*quadrature(steps), strict=True):
            between = start + position * (end - start)
            total += size * gradient_with(model, layer, one, between, target, call)
        maps.append((end - start) * total)
    return torch.cat(maps)


def internal_influence(model, layer, x, targets, call=-1, *, steps):
    """The integral of the gradient at the layer along inputs from 0 to x."""
    maps = []
    for n, target in enumerate(targets):
        total = 0
        for position, size in zip(*quadrature(steps), strict=True):
            one = position * x[n : n + 1]
            a = values_at(model, layer, one, call)
            total = total + size * gradient_with(model, layer, one, a, target, call)
        maps.append(total)
    return torch.cat(maps)


def conductance(model, layer, x, targets, call=-1, *, steps):
    """Along inputs from 0 to x: each gradient times the step that the layer's value makes next."""
    positions, _ = quadrature(steps + 1)
    maps = []
    for n, target in enumerate(targets):
        points = [position * x[n : n + 1] for position in positions]
        values = [values_at(model, layer, point, call) for point in points]
        total = 0
        for i in range(steps):
            g = gradient_with(model, layer, points[i], values[i], target, call)
            total = total + g * (values[i + 1] - values[i])
        maps.append(total)
    return torch.cat(maps)


def stretched(map_):
    """The positive part of one map, from its smallest to its largest value as 0 to 1."""
    positive = map_.clamp(min=0)
    low, high = positive.min(), positive.max()
    return (positive - low) / (high - low) if high > low else torch.zeros_like(map_)


def refine_cam(maps):
    """The product of the layers' maps, each stretched, then brought to the largest size."""
    size = max((map_.shape[2:] for map_ in maps), key=lambda s: s.numel())
    result = torch.ones(len(maps[0]), 1, *size, dtype=maps[0].dtype)
    for layer in maps:
        for n, map_ in enumerate(layer):
            up = F.interpolate(stretched(map_)[None], size, mode="bilinear", align_corners=False)
            result[n] *= up[0]
    return result


def guided_cam(map_, pixels):
    """Each pixel times the positive part of the cell of the map in which it lies."""
    result = torch.zeros_like(pixels)
    height, width = pixels.shape[2:]
    rows, columns = map_.shape[2:]
    for n, y, x in np.ndindex(len(pixels), height, width):
        cell = float(map_[n, :, y * rows // height, x * columns // width].sum())
        result[n, :, y, x] = max(cell, 0.0) * pixels[n, :, y, x]
    return result


def deep_feature_factorization(activation, components):
    """Scikit-learn's factorization of rows that are written one by one."""
    from sklearn.decomposition import NMF

    a = activation.clamp(min=0).numpy()
    places = list(np.ndindex(len(a), *a.shape[2:]))
    rows = np.stack([a[(n, slice(None), *place)] for n, *place in places])
    nmf = NMF(components, init="nndsvda", max_iter=5000, random_state=0)
    result = torch.zeros(len(a), components, *a.shape[2:], dtype=torch.float64)
    for (n, *place), row in zip(places, nmf.fit_transform(rows), strict=True):
        result[(n, slice(None), *place)] = torch.from_numpy(row)
    return result


def ascent(score, x, steps, rate):
    """So many steps along the gradient of ``score``, which gives one number."""
    for _ in range(steps):
        x = x.detach().requires_grad_()
        x = x.detach() + rate * torch.autograd.grad(score(x), x)[0]
    return x
