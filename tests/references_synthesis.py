"""Synthesis again, slow and literal: loops, 0 ... 255 pixels, no import of the package."""

import cmath
import itertools
import math

import torch


def chollet_ascent(channel_mean, start, steps):
    """The script of 2016 on its own scale: images after each step, from ``start`` in 0 ... 255."""
    x, images = start.clone(), []
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(channel_mean(x), x)
        rms = math.sqrt(float((gradient**2).sum()) / gradient.numel())
        x = x.detach() + gradient / (rms + 1e-5)
        images.append(x)
    return images


def deprocess(x, spread):
    """Mean 0, a given deviation, around the middle, cut."""
    x = x - x.mean()
    x = x / (math.sqrt(float((x**2).mean())) + 1e-5)
    return (x * spread + 0.5).clamp(0, 1)


def fourier_picture(spectrum, sizes, decay, lowest=1):
    """One channel (*sizes) from half a spectrum (..., L // 2 + 1, 2), every wave added up."""
    half = {}
    for place in itertools.product(*map(range, spectrum.shape[:-1])):
        signed = [
            (u if 2 * u <= size else u - size) / size for u, size in zip(place, sizes, strict=True)
        ]
        frequency = max(math.hypot(*signed), lowest / max(sizes))
        half[place] = complex(*spectrum[place].tolist()) / frequency**decay
    picture = torch.zeros(sizes, dtype=torch.float64)
    for place in itertools.product(*map(range, sizes)):
        total = 0.0
        for waves, value in half.items():
            turns = sum(u * x / size for u, x, size in zip(waves, place, sizes, strict=True))
            wave = (value * cmath.exp(2j * math.pi * turns)).real
            own = waves[-1] == 0 or 2 * waves[-1] == sizes[-1]
            total += wave if own else 2 * wave
        picture[place] = total / math.sqrt(math.prod(sizes))
    return picture


def channel(maps, k):
    return [sum(row[k].flatten().tolist()) / row[k].numel() for row in maps]


def layer(maps):
    return [sum(v * v for v in row.flatten().tolist()) / row.numel() for row in maps]


def _columns(row):
    return [row[:, y, x].tolist() for y in range(row.shape[1]) for x in range(row.shape[2])]


def _dot(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True))


def _cosine(a, b):
    return _dot(a, b) / math.sqrt(_dot(a, a) * _dot(b, b))


def direction(maps, vector, power=0.0):
    found = []
    for row in maps:
        values = [_dot(vector, c) * max(0.1, _cosine(vector, c)) ** power for c in _columns(row)]
        found.append(sum(values) / len(values))
    return found


def gram(row):
    columns = _columns(row)
    size = len(columns[0])
    return [
        [sum(c[i] * c[j] for c in columns) / len(columns) for j in range(size)] for i in range(size)
    ]


def diversity(maps):
    flat = [[v for line in gram(row) for v in line] for row in maps]
    n = len(flat)
    return [-sum(_cosine(flat[i], flat[j]) for j in range(n) if j != i) / (n - 1) for i in range(n)]


def alignment(maps, decay):
    n = len(maps)
    return [
        -sum(
            float(((maps[i] - maps[j]) ** 2).mean()) / decay ** abs(i - j)
            for j in range(n)
            if j != i
        )
        for i in range(n)
    ]


def difference(maps, photos, how):
    found = []
    for a, b in zip(maps, photos, strict=True):
        if how in ("l1", "l2"):
            gap = (a - b).flatten().tolist()
            found.append(-sum(abs(v) if how == "l1" else v * v for v in gap) / len(gap))
            continue
        pairs = list(zip(_columns(a), _columns(b), strict=True))
        power = 2 if how == "cosine" else 0
        values = [_dot(p, q) * max(0.1, _cosine(p, q)) ** power for p, q in pairs]
        found.append(sum(values) / len(values))
    return found


def style(layers, photos):
    """Over layers: the mean squared gap of Gram matrices, negative."""
    total = [0.0] * len(layers[0])
    for maps, theirs in zip(layers, photos, strict=True):
        for i, (a, b) in enumerate(zip(maps, theirs, strict=True)):
            gaps = [
                (p - q) ** 2
                for ga, gb in zip(gram(a), gram(b), strict=True)
                for p, q in zip(ga, gb, strict=True)
            ]
            total[i] -= sum(gaps) / len(gaps)
    return total


def total_variation(image, beta):
    """For each image (C, ...) the mean over all positions that have a next one on every axis."""
    found = []
    for row in image:
        sizes, values = row.shape[1:], []
        for plane in row:
            for place in itertools.product(*(range(size - 1) for size in sizes)):
                squares = 0.0
                for axis in range(len(sizes)):
                    after = tuple(p + (a == axis) for a, p in enumerate(place))
                    squares += float(plane[after] - plane[place]) ** 2
                values.append(squares ** (beta / 2))
        found.append(sum(values) / len(values))
    return found


def _distance(values, mean, variance):
    """values: for each channel the list of its numbers."""
    means = [sum(v) / len(v) for v in values]
    variances = [sum((x - m) ** 2 for x in v) / len(v) for v, m in zip(values, means, strict=True)]
    return math.dist(means, mean) + math.dist(variances, variance)


def batch_norm_statistics(maps, mean, variance, over):
    """Minus the distance of one layer's statistics, of each image or of all together."""
    each = [[channel.flatten().tolist() for channel in row] for row in maps]
    if over == "batch":
        each = [[[x for row in each for x in row[c]] for c in range(len(mean))]] * len(maps)
    return [-_distance(values, mean, variance) for values in each]
