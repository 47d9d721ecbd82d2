"""RISE and D-RISE again: mask by mask and pixel by pixel, no package."""

import math

import torch

SIZE = (5, 6)


def drawn(count, cells, probability, seed, size=SIZE):
    """The bits and shifts, in the documented order."""
    generator = torch.Generator().manual_seed(seed)
    bits = (torch.rand(count, *[cells] * len(size), generator=generator) < probability).double()
    shifts = [torch.randint(math.ceil(n / cells), (count,), generator=generator) for n in size]
    return bits, torch.stack(shifts, 1)


def between(values, length, place):
    """Linear interpolation of cells stretched to ``length``, between the centres of cells."""
    at = (place + 0.5) * len(values) / length - 0.5
    low = min(max(math.floor(at), 0), len(values) - 1)
    high = min(low + 1, len(values) - 1)
    share = min(max(at - low, 0), 1)
    return values[low] * (1 - share) + values[high] * share


def masks(count, cells, probability=0.5, seed=0):
    bits, shifts = drawn(count, cells, probability, seed)
    height, width = (math.ceil(n / cells) for n in SIZE)
    masks = torch.zeros(count, *SIZE, dtype=torch.float64)
    for mask, grid, (down, right) in zip(masks, bits, shifts.tolist(), strict=True):
        for y in range(SIZE[0]):
            row = between(grid, (cells + 1) * height, y + down)  # a mixture of two rows of cells
            for x in range(SIZE[1]):
                mask[y, x] = between(row, (cells + 1) * width, x + right)
    return masks


def rise(score, x, count, cells, probability=0.5, seed=0, blank=0.0):
    """(1 / p M) sum_i score(masked by M_i) M_i, of one example (1, C, H, W)."""
    total = torch.zeros(SIZE, dtype=torch.float64)
    for mask in masks(count, cells, probability, seed):
        total += score(x * mask + blank * (1 - mask)) * mask
    return total / (probability * count)


def iou(a, b):
    inside = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inside
    return inside / union


def similarity(box, label, found):
    best = 0.0
    for other, name, score in zip(found["boxes"], found["labels"], found["scores"], strict=True):
        same = 1.0 if int(name) == int(label) else 0.0
        best = max(best, float(iou(box.tolist(), other.tolist()) * same * score))
    return best
