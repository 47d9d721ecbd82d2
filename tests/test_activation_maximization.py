"""The Captum face: shapes, spaces and selectors; the ascent itself is tested with synthesis."""

import inspect

import captum.attr
import models
import pytest
import torch

from captum_cnn_ext.attr import ActivationMaximization
from captum_cnn_ext.synthesis import Channel, Target, maximize


@pytest.fixture
def net():
    return models.build(models.Net)


OPTIONS = {"recipe": "lucid", "transforms": [], "steps": 6}


def test_is_called_as_captums_neuron_attributions():
    theirs = list(inspect.signature(captum.attr.NeuronGradient.attribute).parameters)
    ours = inspect.signature(ActivationMaximization.attribute).parameters
    assert list(ours)[: len(theirs)] == theirs
    assert all(
        p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in list(ours.values())[len(theirs) :]
    )
    assert isinstance(ActivationMaximization(lambda x: x), captum.attr.NeuronAttribution)


def test_the_result_is_what_the_network_takes(net):
    """Run through the model, it shows the value reached; it begins at the inputs."""
    mean, std = [0.4, 0.5], [0.2, 0.3]
    start = (torch.rand(2, 2, 5, 6).double() - 0.45) / 0.25
    method = ActivationMaximization(net)
    found = method.attribute(start, target=[1, 3], mean=mean, std=std, **OPTIONS)
    assert found.shape == start.shape
    scores = net(found)[[0, 1], [1, 3]]
    inside = method.synthesize(start, target=[1, 3], mean=mean, std=std, **OPTIONS)
    torch.testing.assert_close(scores.detach(), inside.values, rtol=1e-6, atol=1e-6)
    direct = maximize(
        net,
        Target([1, 3]),
        start * torch.tensor(std).reshape(1, 2, 1, 1) + torch.tensor(mean).reshape(1, 2, 1, 1),
        mean=mean,
        std=std,
        **OPTIONS,
    )
    torch.testing.assert_close(inside.images, direct.images, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("selector", "same"),
    [
        ((1, 2, 3), lambda a: a[:, 1, 2, 3]),
        ((1, slice(0, 2), 0), lambda a: a[:, 1, 0:2, 0].sum(1)),
        (lambda a: a[:, 1].mean((1, 2)), lambda a: a[:, 1].mean((1, 2))),
    ],
    ids=["index", "slice", "function"],
)
@pytest.mark.parametrize("at_input", [False, True])
def test_selectors_are_captums(net, selector, same, at_input):
    found = ActivationMaximization(net, "block").synthesize(
        None, selector, attribute_to_neuron_input=at_input, size=(2, 5, 6), **OPTIONS
    )
    seen = []
    hook = net.block.register_forward_hook(lambda m, args, out: seen.append((args[0], out.clone())))
    net(found.images)
    hook.remove()
    expected = same(seen[0][0 if at_input else 1]).detach()
    torch.testing.assert_close(found.values, expected, rtol=1e-6, atol=1e-6)
    assert found.values > found.history[0]


def test_without_a_layer_a_neuron_is_one_of_the_output(net):
    method = ActivationMaximization(net)
    neuron = method.attribute(None, 3, size=(2, 5, 6), **OPTIONS)
    assert torch.equal(neuron, method.attribute(target=3, size=(2, 5, 6), **OPTIONS))
    with_layer = ActivationMaximization(net, net.head[3])
    assert torch.equal(neuron, with_layer.attribute(target=3, size=(2, 5, 6), **OPTIONS))
    channel = maximize(net, Channel("head.3", 3), (2, 5, 6), **OPTIONS)
    torch.testing.assert_close(neuron, channel.images)


def test_forms_of_inputs(net):
    start = torch.rand(3, 2, 5, 6)
    method = ActivationMaximization(net)
    one = method.attribute(start, target=1, **OPTIONS)
    (packed,) = method.attribute((start,), target=1, **OPTIONS)
    assert torch.equal(one, packed)
    assert one.dtype == start.dtype
    two = models.build(models.TwoInputs)
    other = torch.rand(3, 2, 5, 6).double()
    found = ActivationMaximization(two).attribute(start, None, (other, 2.0), target=1, **OPTIONS)
    assert two(found.double(), other, 2.0)[:, 1].sum() > two(start.double(), other, 2.0)[:, 1].sum()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.attribute(target=1, neuron_selector=2), "expected one of them"),
        (lambda m: m.attribute((torch.ones(1, 2, 5, 6),) * 2, 1), "expected one floating point"),
        (lambda m: m.attribute(torch.ones(2, 5), 1), "expected one floating point"),
        (lambda m: m.attribute(size=(2, 5, 6), steps=1), "target=None: selects shape"),
        (lambda m: m.attribute(size=(2, 5, 6), target=7, steps=1), "target=7"),
        (lambda m: m.attribute(None, (7,), size=(2, 5, 6), steps=1), "no such neuron"),
    ],
)
def test_wrong_arguments_are_named(net, call, message):
    with pytest.raises(ValueError, match=message):
        call(ActivationMaximization(net))
    with pytest.raises(ValueError, match="layer='blokc'"):
        ActivationMaximization(net, "blokc")
