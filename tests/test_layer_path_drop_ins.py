"""Conductance and internal influence: Captum's values, literal sums, passes, no graph before."""

import models
import pytest
import torch
from captum.attr import InternalInfluence as CaptumInternalInfluence
from captum.attr import LayerConductance as CaptumLayerConductance
from torch import nn

from captum_cnn_ext.attr import InternalInfluence, LayerConductance

PAIRS = [(LayerConductance, CaptumLayerConductance), (InternalInfluence, CaptumInternalInfluence)]
EACH = pytest.mark.parametrize(("ours", "captums"), PAIRS, ids=lambda c: c.__name__)


def close(found, expected):
    """To single precision: Captum's step sizes are."""
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7 * float(b.detach().abs().max()))


def network(kind):
    model = models.build(kind)
    for module in model.modules():  # Captum itself errs where its own tensors are written
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


@EACH
@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize("kind", [models.Net, models.ListInput, models.TupleOutput])
@pytest.mark.parametrize("layer", ["stem", "block"])
def test_equal_to_captums(ours, captums, kind, layer, at_input):
    model, x = network(kind), models.image_batch()
    if (kind, layer, at_input) == (models.ListInput, "block", True):
        pytest.skip("the block's input goes around it too: see the next test")
    for options in (
        {"target": 3, "n_steps": 7},
        {"target": [0, 4, 2], "n_steps": 5, "method": "riemann_trapezoid", "baselines": 0.2},
        {"target": torch.tensor([0, 4, 2]), "n_steps": 5, "internal_batch_size": 6},
        {"target": 1, "n_steps": 4, "baselines": x.flip(0)},
    ):
        options["attribute_to_layer_input"] = at_input
        found = ours(model, layer).attribute(x, **options)
        expected = captums(model, model.get_submodule(layer)).attribute(x.clone(), **options)
        close(found, expected)


def test_an_input_that_goes_around_the_layer_too_counts_through_the_layer_only():
    class Around(models.ListInput):
        def features(self, x):
            stem = self.stem(x)
            return self.relu(self.join([stem, self.block(self.own(stem))]))

        def own(self, x):
            return x * 1

    model, x = models._seeded(Around()), models.image_batch()
    shared = models.build(models.ListInput)
    shared.load_state_dict(model.state_dict())
    model.relu.inplace = shared.relu.inplace = False
    options = {"target": 3, "n_steps": 5, "attribute_to_layer_input": True}
    for ours, captums in PAIRS:
        expected = captums(model, model.block).attribute(x, **options)
        close(ours(model, "block").attribute(x, **options), expected)
        close(ours(shared, "block").attribute(x, **options), expected)
        with pytest.raises(AssertionError, match="Tensor-likes"):
            close(captums(shared, shared.block).attribute(x, **options), expected)


def test_additional_arguments_follow_their_examples():
    class Scaled(models.Net):
        def forward(self, x, factor, power=1):
            return super().forward(x * factor.reshape(-1, 1, 1, 1)) ** power

    model, x = models._seeded(Scaled()), models.image_batch()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    factor = torch.tensor([0.5, 1.0, 2.0]).double()
    for ours, captums in PAIRS:
        options = {"target": 1, "additional_forward_args": (factor, 2), "n_steps": 4}
        found = ours(model, "block").attribute(x, **options)
        expected = captums(model, model.block).attribute(x, **options)
        close(found, expected)


def test_conductance_is_complete_and_its_delta_is_captums():
    model, x = network(models.Net), models.image_batch()
    options = {"target": 1, "n_steps": 400, "return_convergence_delta": True}
    found, delta = LayerConductance(model, "block").attribute(x, **options)
    change = model(x)[:, 1] - model(torch.zeros_like(x))[:, 1]
    torch.testing.assert_close(found.sum((1, 2, 3)), change.detach(), rtol=0, atol=0.05)
    _, expected = CaptumLayerConductance(model, model.block).attribute(x, **options)
    torch.testing.assert_close(delta, expected.detach(), rtol=1e-6, atol=1e-10)


@EACH
def test_chunks_do_not_change_the_values_and_passes_are_counted(ours, captums):
    model, x = models.build(models.Net), models.image_batch()
    rows = []
    handle = model.stem.register_forward_hook(lambda m, i, o: rows.append(len(o)))
    whole = ours(model, "block").attribute(x, target=1, n_steps=6)
    assert rows == [3 * (6 + (ours is LayerConductance))]
    rows.clear()
    pieces = ours(model, "block").attribute(x, target=1, n_steps=6, internal_batch_size=7)
    handle.remove()
    assert max(rows) == 6
    torch.testing.assert_close(whole, pieces, rtol=1e-9, atol=1e-12)


@EACH
def test_no_graph_before_the_layer(ours, captums):
    model, x = models.build(models.Net), models.image_batch()
    tracked = []
    handle = model.stem.register_forward_hook(lambda m, i, o: tracked.append(o.requires_grad))
    ours(model, "block").attribute(x, target=1, n_steps=3)
    handle.remove()
    assert tracked == [False]


@EACH
def test_a_layer_whose_first_dimension_is_not_the_batch_is_refused(ours, captums):
    class Turned(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Identity()

        def forward(self, x):
            return self.layer(x.flatten(1).T).T[:, :5]

    with pytest.raises(ValueError, match="first dimension is not the batch"):
        ours(Turned(), "layer").attribute(models.image_batch(), target=1, n_steps=3)
