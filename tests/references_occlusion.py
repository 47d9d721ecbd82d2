"""Occlusion written out: one window, one forward pass, one loop for each dimension."""

import itertools

import torch


def occlusion(score, inputs, place, window, strides, baseline):
    """The mean loss over the windows that hold each element of ``inputs[place]``.

    ``score`` takes the inputs and gives one number for each example.
    """
    x = inputs[place]
    clean = score(*inputs)
    total, counts = torch.zeros_like(x), torch.zeros_like(x)
    starts = []
    for size, length, stride in zip(x.shape[1:], window, strides, strict=True):
        first = [0]
        while first[-1] + length < size:
            first.append(first[-1] + stride)
        starts.append(first)
    for corner in itertools.product(*starts):
        index = (slice(None), *(slice(a, a + w) for a, w in zip(corner, window, strict=True)))
        changed = x.clone()
        changed[index] = baseline[index] if isinstance(baseline, torch.Tensor) else baseline
        lost = clean - score(*inputs[:place], changed, *inputs[place + 1 :])
        for n in range(len(x)):
            total[(n, *index[1:])] += lost[n]
        counts[index] += 1
    return total / counts
