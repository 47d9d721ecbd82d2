"""Score-based maps again: full forwards with hooks, one pass at a time, loops, no package.

``call`` counts from the end when negative, as a list does.
"""

import numpy as np
import torch
import torch.nn.functional as F


def activation(model, layer, x):
    seen = []
    handle = layer.register_forward_hook(lambda _, __, out: seen.append(out.detach().clone()))
    with torch.no_grad():
        model(x.clone())
    handle.remove()
    return seen[-1]


def score_with(model, layer, x, new, target):
    """The target's logit when the layer's last call gives ``new``, for one example."""
    calls = []
    count = layer.register_forward_hook(lambda *_: calls.append(1))
    model(x.clone())
    count.remove()
    seen = []

    def replace(_, __, out):
        seen.append(1)
        return new.clone() if len(seen) == len(calls) else out

    handle = layer.register_forward_hook(replace)
    with torch.no_grad():
        logits = model(x.clone())
    handle.remove()
    return float(logits[0, target])


def ablation_cam(model, layer, x, targets, signed=False):
    maps = []
    for n, target in enumerate(targets):
        one = x[n : n + 1]
        a = activation(model, layer, one)
        y = score_with(model, layer, one, a, target)
        total = torch.zeros_like(a[:, :1])
        for k in range(a.shape[1]):
            without = a.clone()
            without[0, k] = 0
            fall = y - score_with(model, layer, one, without, target)
            total += fall / (y if signed else abs(y)) * a[:, k : k + 1]
        maps.append(total)
    return torch.cat(maps)


def recipro_cam(model, layer, x, targets, gaussian=False):
    maps = []
    for n, target in enumerate(targets):
        one = x[n : n + 1]
        a = activation(model, layer, one)
        height, width = a.shape[2:]
        result = torch.zeros(1, 1, height, width, dtype=a.dtype)
        for i, j in np.ndindex(height, width):
            kept = torch.zeros_like(a)
            for di, dj in np.ndindex(3, 3):
                r, c = i + di - 1, j + dj - 1
                if not (0 <= r < height and 0 <= c < width):
                    continue
                kernel = [[1, 2, 1], [2, 4, 2], [1, 2, 1]][di][dj] / 16
                weight = kernel if gaussian else float((di, dj) == (1, 1))
                kept[0, :, r, c] = weight * a[0, :, r, c]
            result[0, 0, i, j] = score_with(model, layer, one, kept, target)
        maps.append(result)
    return torch.cat(maps)


def masks_of(a, size):
    """(k, mask in [0, 1]) of each channel that is not constant."""
    for k in range(a.shape[1]):
        if a[0, k].max() == a[0, k].min():
            continue
        up = F.interpolate(a[:, k : k + 1], size=size, mode="bilinear", align_corners=False)
        yield k, (up - up.min()) / (up.max() - up.min())


def score_cam(model, layer, x, targets, score="probability", variants=None):
    """The authors' loop; ``variants(mask, k)`` gives the masks whose scores are averaged."""
    maps = []
    for n, target in enumerate(targets):
        one = x[n : n + 1]
        a = activation(model, layer, one)
        total = torch.zeros_like(a[:, :1])
        for k, mask in masks_of(a, one.shape[2:]):
            scores = []
            for each in variants(mask, k) if variants else [mask]:
                with torch.no_grad():
                    logits = model(one * each)[0]
                chosen = logits.exp() / logits.exp().sum() if score == "probability" else logits
                scores.append(float(chosen[target]))
            total += sum(scores) / len(scores) * a[:, k : k + 1]
        maps.append(total)
    return torch.cat(maps)


def poly_cam(model, layers, x, targets, variant="+-"):
    """``layers`` from the finest to the coarsest; the authors' recursion, the last layer first."""
    maps = []
    for n, target in enumerate(targets):
        one = x[n : n + 1]

        def score(masked, target=target):
            with torch.no_grad():
                logits = model(masked)[0]
            return float((logits.exp() / logits.exp().sum())[target])

        previous = None
        for layer in reversed(layers):
            a = activation(model, layer, one)
            total = torch.zeros_like(a[:, :1])
            for k, mask in masks_of(a, one.shape[2:]):
                gain, loss = score(one * mask), score(one) - score(one * (1 - mask))
                weight = {"+": gain, "-": max(loss, 0), "+-": max(gain + loss, 0)}[variant]
                total += weight * a[:, k : k + 1]
            total = total.clamp(min=0)
            if previous is not None:
                size, own = previous.shape[2:], total.shape[2:]
                norm = F.interpolate(total, size=size, mode="bilinear", align_corners=False)
                norm = F.interpolate(norm, size=own, mode="bilinear", align_corners=False)
                up = F.interpolate(previous, size=own, mode="bilinear", align_corners=False)
                total = total / norm.clamp(min=1e-12) * up
            previous = total
        maps.append(previous)
    return torch.cat(maps)


def is_cam(model, layer, x, targets, samples=10):
    def strengths(mask, _):
        return [mask * i / samples for i in range(1, samples + 1)]

    return score_cam(model, layer, x, targets, variants=strengths)


def ss_cam(model, layer, x, targets, noise):
    """``noise(k)``: the noise of each variant of channel k."""
    return score_cam(
        model, layer, x, targets, variants=lambda mask, k: [mask + e for e in noise(k)]
    )


def opti_cam(model, layer, x, targets, steps, lr=0.1):
    """Adam written out."""
    maps = []
    for n, target in enumerate(targets):
        one = x[n : n + 1]
        a = activation(model, layer, one)
        u = torch.zeros(a.shape[1], dtype=a.dtype)
        first, second = torch.zeros_like(u), torch.zeros_like(u)
        for t in range(1, steps + 1):
            u.requires_grad_()
            w = u.exp() / u.exp().sum()
            s = sum(w[k] * a[:, k : k + 1] for k in range(a.shape[1]))
            s = F.interpolate(s, size=one.shape[2:], mode="bilinear", align_corners=False)
            loss = -model(one * (s - s.min()) / (s.max() - s.min()))[0, target]
            (g,) = torch.autograd.grad(loss, u)
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            step = (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
            u = u.detach() - lr * step
        w = u.exp() / u.exp().sum()
        maps.append(sum(w[k] * a[:, k : k + 1] for k in range(a.shape[1])).detach())
    return torch.cat(maps)
