"""Metrics written out with loops, one pixel and one pass at a time, in NumPy."""

import itertools

import numpy as np
import torch


def order(map_):
    """Pixels from the strongest to the weakest; equal ones in reading order."""
    flat = [(-v, i) for i, v in enumerate(np.asarray(map_).reshape(-1).tolist())]
    return [i for _, i in sorted(flat)]


def curve(score, start, end, map_, steps):
    """The score after each step of putting ``end``'s pixels into ``start``."""
    pixels = map_.size
    found = []
    for k in range(steps + 1):
        image = start.copy()
        for place in order(map_)[: round(k * pixels / steps)]:
            y, x = divmod(place, map_.shape[1])
            image[:, y, x] = end[:, y, x]
        found.append(score(image))
    return found


def area(values):
    return sum((a + b) / 2 for a, b in itertools.pairwise(values)) / (len(values) - 1)


def imputed(image, removed):
    """ROAD's linear system, dense: each removed pixel is the weighted mean of its neighbours."""
    channels, height, width = image.shape
    matrix, right = np.eye(height * width), image.reshape(channels, -1).copy()
    for y in range(height):
        for x in range(width):
            if not removed[y, x]:
                continue
            near = [
                (y + dy, x + dx, 1 / 6 if 0 in (dy, dx) else 1 / 12)
                for dy in (-1, 0, 1)
                for dx in (-1, 0, 1)
                if (dy, dx) != (0, 0) and 0 <= y + dy < height and 0 <= x + dx < width
            ]
            total = sum(w for _, _, w in near)
            right[:, y * width + x] = 0
            for ny, nx, w in near:
                matrix[y * width + x, ny * width + nx] = -w / total
    return np.linalg.solve(matrix, right.T).T.reshape(image.shape)


def gini(values):
    """Mean absolute difference of every pair over twice the mean."""
    v = np.abs(np.asarray(values)).reshape(-1)
    return float(np.abs(v[:, None] - v).sum() / (2 * len(v) ** 2 * v.mean()))


def upsampled(map_, height, width):
    """Linear between pixel centres, beyond the outer centres the border's value."""
    out = torch.zeros(height, width, dtype=map_.dtype)
    for y in range(height):
        for x in range(width):
            sy = min(max((y + 0.5) * map_.shape[0] / height - 0.5, 0), map_.shape[0] - 1)
            sx = min(max((x + 0.5) * map_.shape[1] / width - 0.5, 0), map_.shape[1] - 1)
            y0, x0 = int(sy), int(sx)
            y1, x1 = min(y0 + 1, map_.shape[0] - 1), min(x0 + 1, map_.shape[1] - 1)
            fy, fx = sy - y0, sx - x0
            out[y, x] = (
                (1 - fy) * (1 - fx) * map_[y0, x0] + (1 - fy) * fx * map_[y0, x1]
                + fy * (1 - fx) * map_[y1, x0] + fy * fx * map_[y1, x1]
            )  # fmt: skip
    return out
