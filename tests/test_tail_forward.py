"""Captum's methods on the tail, and the drop-ins on it: the values of the full network."""

import models
import numpy as np
import pytest
import torch
from captum.attr import FeatureAblation, GradientShap, IntegratedGradients, Occlusion
from captum.attr import LayerFeatureAblation as CaptumLayerFeatureAblation
from captum.attr import LayerIntegratedGradients as CaptumLayerIntegratedGradients
from replay_models import Branches
from torch import nn
from zoo import with_replaced_layer

from captum_cnn_ext.attr import LayerFeatureAblation, LayerIntegratedGradients, TailForward


@pytest.mark.parametrize("kind", [models.Net, models.Residual, models.ListInput, Branches])
def test_captums_input_methods_on_the_tail(kind):
    model, x = models.build(kind), models.image_batch()
    tail = TailForward(model, "block", x)
    a = tail.activation
    kwargs = {"target": [0, 4, 2], "additional_forward_args": (tail.rows,)}

    def full(new, rows):
        return with_replaced_layer(model, model.block, (x[rows],), [new])

    for method, options in (
        (IntegratedGradients, {"n_steps": 7, "baselines": 0.5}),
        (IntegratedGradients, {"n_steps": 7, "internal_batch_size": 4}),
        (GradientShap, {"baselines": torch.zeros_like(a), "n_samples": 3}),
        (FeatureAblation, {"perturbations_per_eval": 5}),
        (Occlusion, {"sliding_window_shapes": (4, 2, 2), "perturbations_per_eval": 3}),
    ):
        found = method(tail)
        expected = method(full)
        both = []
        for each in (found, expected):
            torch.manual_seed(1)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(np.random, "choice", lambda _, size: np.zeros(size, int))
                patch.setattr(np.random, "uniform", lambda low, high, size: np.full(size, 0.25))
                both.append(each.attribute(a, **kwargs, **options))
        torch.testing.assert_close(*both)


@pytest.mark.parametrize("at_input", [False, True])
@pytest.mark.parametrize("kind", [models.Net, models.ListInput, models.TupleOutput, Branches])
@pytest.mark.parametrize("layer", ["stem", "block"])
def test_the_drop_ins_give_captums_values(kind, layer, at_input):
    model, x = models.build(kind), models.image_batch()
    for module in model.modules():  # Captum itself fails or errs where its own tensors are written
        if isinstance(module, nn.ReLU):
            module.inplace = False
    module = model.get_submodule(layer)
    options = {"target": 3, "attribute_to_layer_input": at_input}
    for ours, captums, more in (
        (LayerFeatureAblation, CaptumLayerFeatureAblation, {"perturbations_per_eval": 4}),
        (LayerFeatureAblation, CaptumLayerFeatureAblation, {"layer_baselines": 0.3}),
        (
            LayerIntegratedGradients,
            CaptumLayerIntegratedGradients,
            {"n_steps": 6, "baselines": 0.2, "method": "riemann_trapezoid"},
        ),
        (
            LayerIntegratedGradients,
            CaptumLayerIntegratedGradients,
            {"n_steps": 6, "internal_batch_size": 5, "return_convergence_delta": True},
        ),
    ):
        found = ours(model, layer).attribute(x, **options, **more)
        expected = captums(model, module).attribute(x.clone(), **options, **more)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_integrated_gradients_of_several_layers_are_captums():
    model, x = models.build(Branches), models.image_batch()
    layers = [model.block, model.other]
    model.relu.inplace = model.other[1].inplace = False
    with pytest.warns(UserWarning, match="Multiple layers"):
        ours = LayerIntegratedGradients(model, ["block", "other"])
    with pytest.warns(UserWarning, match="Multiple layers"):
        captums = CaptumLayerIntegratedGradients(model, layers)
    found, expected = ours.attribute(x, target=1), captums.attribute(x, target=1)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b.detach())


def test_where_captum_crashes_we_do_not():
    model, x = models.build(models.ListInput), models.image_batch()
    targets = torch.tensor([0, 4, 2])
    with pytest.raises((AssertionError, AttributeError)):
        CaptumLayerFeatureAblation(model, model.join).attribute(
            x, target=targets, attribute_to_layer_input=True
        )
    first, second = LayerFeatureAblation(model, "join").attribute(
        x, target=targets, attribute_to_layer_input=True, perturbations_per_eval=7
    )
    assert first.shape == second.shape == (3, 4, 5, 6)
    for n in range(3):
        alone = LayerFeatureAblation(model, "join").attribute(
            x[n : n + 1], target=int(targets[n]), attribute_to_layer_input=True
        )
        torch.testing.assert_close(alone[0], first[n : n + 1])
        torch.testing.assert_close(alone[1], second[n : n + 1])


@pytest.mark.filterwarnings("ignore:Multiple layers")
def test_a_call_is_chosen_for_each_of_several_layers():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.side = nn.ReLU(), nn.Conv2d(2, 3, 1)
            self.first, self.last = nn.Conv2d(2, 3, 2), nn.Conv2d(3, 3, 2)

        def forward(self, x):
            found = self.relu(self.last(self.relu(self.first(x))))
            return found.mean((2, 3)) * self.side(x).sigmoid().mean((2, 3))

    model, x = models._seeded(Twice()), torch.randn(3, 2, 4, 4).double()
    method = LayerIntegratedGradients(model, ["relu", "side"])
    options = {"target": [0, 2, 1], "n_steps": 4, "baselines": torch.tensor([[[0.5]], [[-1.0]]])}
    found = method.attribute(x, call=0, **options)
    baseline = torch.tensor([0.5, -1.0]).double().reshape(1, 2, 1, 1).expand_as(x)
    options["baselines"] = baseline

    class Same(nn.Module):  # the first call is another module: Captum replaces every call
        def __init__(self):
            super().__init__()
            self.model, self.own = model, nn.ReLU()

        def forward(self, x):
            found = model.last(self.own(model.first(x))).relu()
            return found.mean((2, 3)) * model.side(x).sigmoid().mean((2, 3))

    same = Same()
    right = CaptumLayerIntegratedGradients(same, [same.own, model.side]).attribute(x, **options)
    for ours, theirs in zip(found, right, strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="call=1: layer 'side' was called 1 time"):
        method.attribute(x, call=1, **options)
    with pytest.raises(ValueError, match=r"baselines: .* got \(1, 2, 3, 3\)"):
        method.attribute(x, baselines=torch.zeros(1, 2, 3, 3), target=1)
