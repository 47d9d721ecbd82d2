"""The classes that stand for Captum's, beside Captum's, on whatever arguments Captum takes.

Arguments are drawn by hypothesis, the same ones every time, right and wrong ones. Where Captum's
class gives an answer ours gives the same; it may refuse only what Captum refuses.
"""

import warnings

import captum.attr
import pytest
import torch
from torch import nn

from captum_cnn_ext import attr

hypothesis = pytest.importorskip("hypothesis")  # of the extra test
settings, st = hypothesis.settings, hypothesis.strategies
DRAWN = settings(max_examples=240, deadline=None, derandomize=True, database=None)
FRACTIONS = st.sampled_from([-1.5, -0.25, 0.0, 0.5, 2.0])


def beside(ours, theirs, *args, **kwargs):
    """Whether Captum's method takes these arguments; if so ours must, with the same values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = theirs.attribute(*args, **kwargs)
        except Exception:
            return False
        found = ours.attribute(*args, **kwargs)
    same(found, expected)
    return True


def same(found, expected):
    """The same form, the same numbers to what single precision holds."""
    if isinstance(expected, (tuple, list)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            same(ours, theirs)
    else:
        assert found.shape == expected.shape
        size = float(expected.detach().abs().max()) if expected.numel() else 0.0
        torch.testing.assert_close(
            found.double(), expected.detach().double(), rtol=1e-5, atol=1e-6 * max(size, 1.0)
        )


def drawn(draw, *choices):
    return draw(st.sampled_from(choices))


def seldom(draw):
    return draw(st.integers(0, 14)) == 9


def numbers(draw, shape, dtype=torch.float64):
    seed = draw(st.integers(0, 99))
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()
    return (values * 2).to(dtype)


def part_of(draw, shape):
    """A shape that broadcasts to ``shape``: some sizes are 1, leading ones are left out."""
    sizes = [drawn(draw, size, size, 1) for size in shape]
    start = draw(st.integers(0, len(sizes)))
    return tuple(sizes[start:] if draw(st.booleans()) else sizes)


def baseline(draw, x):
    kind = "any" if seldom(draw) else drawn(draw, "whole", "number", "tensor", "tensor", "example")
    if kind == "whole":
        return draw(st.integers(-2, 2))
    if kind == "number":
        return draw(FRACTIONS)
    if kind == "any":
        return numbers(draw, tuple(draw(st.lists(st.integers(1, 4), max_size=x.ndim + 1))))
    shape = part_of(draw, x.shape) if kind == "tensor" else (drawn(draw, 1, len(x)), *x.shape[1:])
    return numbers(draw, shape, drawn(draw, torch.float64, torch.float64, torch.int64))


def for_each(draw, xs, choose):
    """What ``choose`` gives for one input, or a tuple of it for several."""
    if len(xs) == 1 and draw(st.booleans()):
        return choose(draw, xs[0])
    return tuple(choose(draw, x) for x in xs)


def target_of(draw, output):
    """A target in one of Captum's forms for an output (N, ...), or now and then a wrong one."""
    count, sizes = len(output), output.shape[1:]
    if not sizes:
        return drawn(draw, None, None, None, 0)
    index = lambda: tuple(draw(st.integers(-size, size - 1)) for size in sizes)  # noqa: E731
    rows = [index() for _ in range(count)]
    flat = [row[0] for row in rows]
    if seldom(draw):
        return drawn(draw, sizes[0], [0] * (count + 1), rows[0][:-1], (*rows[0], 0))
    if len(sizes) > 1:
        return drawn(draw, rows[0], rows)
    ends = [i % sizes[0] for i in flat]
    return drawn(
        draw, flat[0], flat, rows[0], rows, torch.tensor(flat[0]), torch.tensor([flat[0]]),
        torch.tensor(ends),
    )  # fmt: skip


class Scores(nn.Module):
    """Smooth scores of one input or two; further arguments scale them."""

    def __init__(self, inputs, form):
        super().__init__()
        self.form = form
        generator = torch.Generator().manual_seed(7)
        self.weights = [
            torch.randn(x[0].numel(), 4, generator=generator, dtype=torch.float64) for x in inputs
        ]

    def forward(self, *args):
        inputs, extra = args[: len(self.weights)], args[len(self.weights) :]
        found = sum(
            torch.sin(x.double().flatten(1) @ w) * (i + 1)
            for i, (x, w) in enumerate(zip(inputs, self.weights, strict=True))
        )
        for value in extra:
            found = found * (value.reshape(-1, 1) if isinstance(value, torch.Tensor) else value)
        return FORMS[self.form](found)


FORMS = {
    "classes": lambda s: s,
    "positions": lambda s: s.reshape(-1, 2, 2),
    "one each": lambda s: s.sum(1),
    "one each, two dimensions": lambda s: s.sum(1, keepdim=True),
    "whole numbers": lambda s: (s * 5).long(),
    "one number": lambda s: s.sum(),
    "a float": lambda s: float(s.sum()),
    "of the batch": lambda s: s.sum(0),
    "rows of the batch": lambda s: s.sum(0).reshape(2, 2),
}


def further(draw, count):
    """Captum's ``additional_forward_args``: none, one, or a tuple."""
    by_example = numbers(draw, (count,))
    return drawn(draw, None, None, by_example, by_example.reshape(-1, 1), 2, (by_example, 0.5))


@st.composite
def occlusions(draw):
    count = draw(st.integers(1, 3))
    xs = []
    for _ in range(drawn(draw, 1, 1, 2)):
        sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
        dtype = drawn(draw, torch.float64, torch.float64, torch.float64, torch.int64)
        xs.append(numbers(draw, (count, *sizes), dtype))

    def window(draw, x):
        return tuple(draw(st.integers(1, size)) + seldom(draw) for size in x.shape[1:])

    windows = for_each(draw, xs, window)

    def stride(draw, x):
        window = windows if len(xs) == 1 and windows and isinstance(windows[0], int) else None
        window = window or windows[[y is x for y in xs].index(True)]
        if draw(st.booleans()):
            return draw(st.integers(1, min(window) + seldom(draw)))
        return tuple(draw(st.integers(1, length + seldom(draw))) for length in window)

    model = Scores(xs, drawn(draw, "classes", "classes", *FORMS))
    extra = further(draw, count)
    args = extra if isinstance(extra, tuple) else () if extra is None else (extra,)
    output = model(*xs, *args)
    by_example = isinstance(output, torch.Tensor) and len(output.shape) and len(output) == count
    several = by_example or seldom(draw)
    kwargs = {
        "sliding_window_shapes": windows,
        "strides": None if seldom(draw) else for_each(draw, xs, stride),
        "baselines": None if seldom(draw) else for_each(draw, xs, baseline),
        "target": target_of(draw, output) if by_example else None,
        "additional_forward_args": extra,
        "perturbations_per_eval": draw(st.integers(1, 4)) if several else 1,
    }
    return model, xs[0] if len(xs) == 1 and draw(st.booleans()) else tuple(xs), kwargs


def test_occlusion():
    taken = []

    @DRAWN
    @hypothesis.given(occlusions())
    def check(case):
        model, inputs, kwargs = case
        ours, theirs = attr.Occlusion(model), captum.attr.Occlusion(model)
        taken.append(beside(ours, theirs, inputs, **kwargs))

    check()
    assert sum(taken) >= 200, "most of what is drawn is taken by Captum"
