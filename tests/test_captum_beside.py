"""The classes that stand for Captum's, beside Captum's, on whatever arguments Captum takes.

Arguments are drawn by hypothesis, the same ones every time, right and wrong ones. Where Captum's
class gives an answer ours gives the same; it may refuse only what Captum refuses.
"""

import warnings

import captum.attr
import captum.metrics
import pytest
import torch
from torch import nn

from captum_cnn_ext import attr

hypothesis = pytest.importorskip("hypothesis")  # of the extra test
settings, st = hypothesis.settings, hypothesis.strategies
# a few in the quick answer, all in the whole suite
COUNTS = pytest.mark.parametrize("count", [40, pytest.param(250, marks=pytest.mark.slow)])
FRACTIONS = st.sampled_from([-1.5, -0.25, 0.0, 0.5, 2.0])


def drawn_many(count):
    return settings(max_examples=count, deadline=None, derandomize=True, database=None)


def beside(ours, theirs, *args, **kwargs):
    """Whether Captum's method takes these arguments; if so ours must, with the same values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = theirs.attribute(*args, **kwargs)
        except Exception:
            return False
        if not any(tensor.numel() for tensor in flat(expected)):
            return False  # Captum's guided Grad-CAM warns and gives an empty tensor
        found = ours.attribute(*args, **kwargs)
    same(found, expected)
    return True


def flat(found):
    if isinstance(found, torch.Tensor):
        return [found]
    return [tensor for each in found for tensor in flat(each)]


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
        return drawn(draw, sizes[0], [0] * (count + 1), (*rows[0], 0))
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
            if isinstance(value, list):
                value = sum(value)
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
    row = by_example.reshape(-1, 1)
    return drawn(draw, None, None, by_example, row, 2, [0.5] * count, (by_example, 0.5))


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


@COUNTS
def test_occlusion(count):
    taken = []

    @drawn_many(count)
    @hypothesis.given(occlusions())
    def check(case):
        model, inputs, kwargs = case
        ours, theirs = attr.Occlusion(model), captum.attr.Occlusion(model)
        taken.append(beside(ours, theirs, inputs, **kwargs))

    check()
    assert sum(taken) >= 0.6 * count, "most of what is drawn is taken by Captum"


class Net(nn.Module):
    """A few pixels or points, every operation smooth or a ReLU module; a layer of two tensors."""

    def __init__(self, inputs, form):
        super().__init__()
        torch.manual_seed(3)
        convolution = {3: nn.Conv1d, 4: nn.Conv2d}
        self.first = nn.ModuleList(convolution[x.ndim](x.shape[1], 3, 2) for x in inputs)
        self.relu, self.form = nn.ModuleList(nn.ReLU() for _ in inputs), form
        self.pair, self.last = Pair(), nn.Linear(3, 4)
        self.double()

    def forward(self, *args):
        inputs, extra = args[: len(self.first)], args[len(self.first) :]
        found = sum(
            relu(layer(x) + 0.3).flatten(2).mean(2)
            for layer, relu, x in zip(self.first, self.relu, inputs, strict=True)
        )
        for value in extra:
            if isinstance(value, list):
                value = sum(value)
            found = found * (value.reshape(-1, 1) if isinstance(value, torch.Tensor) else value)
        left, right = self.pair(found)
        return FORMS[self.form](self.last(torch.sin(left) * right))


class Pair(nn.Module):
    def forward(self, x):
        return torch.tanh(x), x + 1


LAYERS = ["first.0", "first.0", "relu.0", "last", "pair"]


def network_inputs(draw):
    count = draw(st.integers(1, 3))
    xs = []
    for _ in range(drawn(draw, 1, 1, 2)):
        sizes = [draw(st.integers(2, 3)) for _ in range(drawn(draw, 1, 2))]
        xs.append(numbers(draw, (count, draw(st.integers(1, 2)), *sizes)))
    model = Net(xs, drawn(draw, "classes", "classes", "positions", "one each")).eval()
    extra = further(draw, count)
    args = extra if isinstance(extra, tuple) else () if extra is None else (extra,)
    with torch.no_grad():
        target = target_of(draw, model(*xs, *args))
    given = xs[0] if len(xs) == 1 and draw(st.booleans()) else tuple(xs)
    return model, xs, given, {"target": target, "additional_forward_args": extra}


def without_one_in_a_tuple(found):
    """Captum's form for a tuple of one input: ours is a tuple then, as its metrics need it."""
    if isinstance(found, list):
        return [without_one_in_a_tuple(each) for each in found]
    return found[0] if isinstance(found, tuple) and len(found) == 1 else found


@st.composite
def paths(draw):
    model, xs, given, kwargs = network_inputs(draw)
    kwargs |= {
        "baselines": None if seldom(draw) else for_each(draw, xs, path_baseline),
        "n_steps": draw(st.integers(2, 4)),
        "method": drawn(draw, *QUADRATURES * 4, "middle"),
        "internal_batch_size": drawn(draw, None, 1, 4, 7),
        "attribute_to_layer_input": draw(st.booleans()),
    }
    return model, drawn(draw, *LAYERS), given, kwargs, draw(st.booleans())


def path_baseline(draw, x):
    """Numbers, one example, every example; seldom what Captum does not take for every class."""
    kind = drawn(draw, "number", "tensor")
    if kind == "number":
        return drawn(draw, 0, 1, -0.25, 0.5)
    return numbers(draw, (drawn(draw, 1, len(x)), *x.shape[1:]))


QUADRATURES = [
    "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid", "gausslegendre",
]  # fmt: skip


@COUNTS
@pytest.mark.parametrize(
    "name", ["LayerConductance", "InternalInfluence", "LayerIntegratedGradients"]
)
def test_layer_path_methods(name, count):
    taken = []

    @drawn_many(count)
    @hypothesis.given(paths())
    def check(case):
        model, layer, inputs, kwargs, delta = case
        if name != "InternalInfluence":
            kwargs["return_convergence_delta"] = delta
        theirs = getattr(captum.attr, name)(model, model.get_submodule(layer))
        taken.append(beside(Unwrapped(getattr(attr, name)(model, layer)), theirs, inputs, **kwargs))

    check()
    assert sum(taken) >= 0.6 * count, "most of what is drawn is taken by Captum"


@st.composite
def grad_cams(draw):
    model, _, given, kwargs = network_inputs(draw)
    kwargs |= {
        "attribute_to_layer_input": draw(st.booleans()),
        "relu_attributions": draw(st.booleans()),
        "attr_dim_summation": draw(st.booleans()),
        "grad_kwargs": drawn(draw, None, None, {}, {"retain_graph": True}),
    }
    return model, drawn(draw, *LAYERS), given, kwargs


@COUNTS
def test_grad_cam(count):
    taken = []

    @drawn_many(count)
    @hypothesis.given(grad_cams())
    def check(case):
        model, layer, inputs, kwargs = case
        theirs = captum.attr.LayerGradCam(model, model.get_submodule(layer))
        ours = ChannelsSecond(attr.LayerGradCam(model, layer))
        taken.append(beside(ours, theirs, inputs, **kwargs))

    check()
    assert sum(taken) >= 0.6 * count, "most of what is drawn is taken by Captum"


class Unwrapped:
    def __init__(self, method):
        self.method = method

    def attribute(self, inputs, **kwargs):
        found = self.method.attribute(inputs, **kwargs)
        if kwargs.get("return_convergence_delta"):
            return without_one_in_a_tuple(found[0]), found[1]
        return without_one_in_a_tuple(found)


class ChannelsSecond(Unwrapped):
    """Captum takes whatever stands second for channels; ours asks where tokens may be meant."""

    def attribute(self, inputs, **kwargs):
        return super().attribute(inputs, **kwargs, reshape_transform=lambda tensor: tensor)


@st.composite
def ablations(draw):
    model, xs, given, kwargs = network_inputs(draw)
    layer, at_input = drawn(draw, *LAYERS), draw(st.booleans())
    tail = attr.TailForward(
        model, layer, tuple(xs), kwargs["additional_forward_args"],
        attribute_to_layer_input=at_input,
    )  # fmt: skip
    tensors = tail.activations

    def mask(draw, t):
        shape = part_of(draw, (1, *t.shape[1:]))
        return numbers(draw, shape).long().abs() + drawn(draw, 0, 0, 5)

    several = isinstance(kwargs["target"], (list, torch.Tensor))  # Captum repeats no targets
    kwargs |= {
        "layer_baselines": None if seldom(draw) else for_each(draw, tensors, baseline),
        "layer_mask": None if seldom(draw) else for_each(draw, tensors, mask),
        "attribute_to_layer_input": at_input,
        "perturbations_per_eval": 1 if several else draw(st.integers(1, 4)),
    }
    return model, layer, given, kwargs


@COUNTS
def test_layer_feature_ablation(count):
    taken = []

    @drawn_many(count)
    @hypothesis.given(ablations())
    def check(case):
        model, layer, inputs, kwargs = case
        ours = Unwrapped(attr.LayerFeatureAblation(model, layer))
        theirs = captum.attr.LayerFeatureAblation(model, model.get_submodule(layer))
        taken.append(beside(ours, theirs, inputs, **kwargs))

    check()
    assert sum(taken) >= 0.6 * count, "most of what is drawn is taken by Captum"


@st.composite
def activations(draw):
    model, _, given, kwargs = network_inputs(draw)
    layers = drawn(draw, *LAYERS, ["first.0", "pair"], ["last"])
    kwargs = {
        "additional_forward_args": kwargs["additional_forward_args"],
        "attribute_to_layer_input": draw(st.booleans()),
    }
    return model, layers, given, kwargs


@COUNTS
def test_layer_feature_maps(count):
    @drawn_many(count)
    @hypothesis.given(activations())
    def check(case):
        model, names, inputs, kwargs = case
        layers = (
            [model.get_submodule(name) for name in names]
            if isinstance(names, list)
            else model.get_submodule(names)
        )
        ours = Unwrapped(attr.LayerFeatureMaps(model, names))
        assert beside(ours, captum.attr.LayerActivation(model, layers), inputs, **kwargs)

    check()


@st.composite
def rectified(draw):
    """Whole models, and neurons in every form of selector."""
    model, _, given, kwargs = network_inputs(draw)
    name = drawn(draw, "GuidedBackprop", "Deconvolution", "NeuronGuidedBackprop",
                 "NeuronDeconvolution", "GuidedGradCam")  # fmt: skip
    if name.startswith("Neuron"):
        alone = isinstance(given, torch.Tensor) or len(given) == 1 or seldom(draw)
        layer = drawn(draw, "first.0", "relu.0", "last") if alone else "last"
        at_input = draw(st.booleans())
        shape = attr.TailForward(
            model, layer, given, kwargs["additional_forward_args"],
            attribute_to_layer_input=at_input,
        ).activations[0].shape[1:]  # fmt: skip
        index = [draw(st.integers(-size, size - 1 + seldom(draw))) for size in shape]
        parts = [drawn(draw, i, slice(None), slice(0, 1)) for i in index]
        last = len(shape) == 1 or seldom(draw)
        kwargs = {
            "neuron_selector": drawn(
                draw, tuple(index), tuple(parts), index if last else tuple(index),
                index[0] if last else tuple(parts), tuple(index[:-1]) if seldom(draw) else index,
                lambda t: t.flatten(1)[:, 0], lambda t: t.flatten(1).amax(1, keepdim=True),
                lambda t: t.flatten(1).sum(0), lambda t: t.sum().reshape(1),
            ),
            "additional_forward_args": kwargs["additional_forward_args"],
            "attribute_to_neuron_input": at_input,
        }  # fmt: skip
        return name, model, layer, given, kwargs
    layer = "pair" if seldom(draw) else drawn(draw, "first.0", "relu.0")
    if name == "GuidedGradCam":
        kwargs |= {
            "interpolate_mode": drawn(draw, "nearest", "nearest", "area"),
            "attribute_to_layer_input": draw(st.booleans()),
        }
    return name, model, layer, given, kwargs


@COUNTS
def test_guided_backpropagation_and_deconvolution(count):
    taken = []

    @drawn_many(count)
    @hypothesis.given(rectified())
    def check(case):
        name, model, layer, inputs, kwargs = case
        module = model.get_submodule(layer)
        if name == "GuidedGradCam":
            ours = attr.GuidedCam(captum.attr.LayerGradCam(model, module))
            theirs = captum.attr.GuidedGradCam(model, module)
        elif name.startswith("Neuron"):
            ours, theirs = (
                getattr(attr, name)(model, layer),
                getattr(captum.attr, name)(model, module),
            )
        else:
            ours, theirs = getattr(attr, name)(model), getattr(captum.attr, name)(model)
        taken.append(beside(ours, theirs, inputs, **kwargs))

    check()
    assert sum(taken) >= 0.6 * count, "most of what is drawn is taken by Captum"


def instances():
    model, layer = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU()), "0"
    for name in (
        "Occlusion Deconvolution GuidedBackprop NeuronDeconvolution NeuronGuidedBackprop "
        "LayerFeatureAblation LayerIntegratedGradients LayerConductance InternalInfluence"
    ).split():
        theirs, ours = getattr(captum.attr, name), getattr(attr, name)
        of_model = name in ("Occlusion", "Deconvolution", "GuidedBackprop")
        yield (ours(model), theirs(model)) if of_model else (
            ours(model, layer), theirs(model, model[0]),
        )  # fmt: skip
    yield attr.LayerFeatureMaps(model, layer), captum.attr.LayerActivation(model, model[0])
    cam = captum.attr.LayerGradCam(model, model[0])
    yield attr.GuidedCam(cam), captum.attr.GuidedGradCam(model, model[0])


def test_every_public_attribute_of_captums_is_there():
    values = (bool, int, float, str, list, type(None))
    for ours, theirs in instances():
        for name in [name for name in dir(theirs) if not name.startswith("_")]:
            expected, found = getattr(theirs, name), getattr(ours, name)
            assert callable(found) == callable(expected), (type(ours), name)
            if isinstance(expected, values):
                assert found == expected, (type(ours), name)
        assert ours.has_convergence_delta() == theirs.has_convergence_delta()
        if hasattr(theirs, "attribute_future"):
            with pytest.raises(NotImplementedError):
                ours.attribute_future()


def test_captums_sensitivity_takes_the_layer_drop_ins():
    x, model = torch.randn(2, 2, 3, 3).double(), Net([torch.ones(1, 2, 3, 3)], "classes")
    for cls in (attr.LayerFeatureAblation, attr.LayerConductance, attr.InternalInfluence,
                attr.LayerIntegratedGradients, attr.LayerFeatureMaps):  # fmt: skip
        method = cls(model, "first.0")
        kwargs = {"target": 1} if cls is not attr.LayerFeatureMaps else {}
        found = captum.metrics.sensitivity_max(method.attribute, x, n_perturb_samples=2, **kwargs)
        assert found.shape == (2,)
        assert (found > 0).all()
