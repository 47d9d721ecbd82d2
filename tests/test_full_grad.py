"""FullGrad: its parts add up to the logit, its picture is the authors'."""

import models
import networks
import pytest
import references_cam_variants as cam_variants
import torch
import torch.nn.functional as F
from oracles import oracle_of
from torch import nn

from captum_cnn_ext.attr import FullGrad
from captum_cnn_ext.attr.pixels import full_grad


class Scaled(nn.Conv2d):
    """A subclass of a convolution."""

    def forward(self, x):
        return F.conv2d(x, 0.5 * self.weight, self.bias, padding=1)


class Rectified(nn.Module):
    """Every kind of layer that FullGrad knows, one twice, with ReLU between."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.plain = nn.BatchNorm2d(4, affine=False)
        self.scaled = Scaled(4, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(120, 7)
        self.last = nn.Linear(7, 5, bias=False)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu_(self.scaled(self.scaled(x) + x))
        x = self.pool(torch.relu(self.plain(self.up(x))))
        return self.last(F.relu(self.fc(x.flatten(1))))


def total(terms):
    at_inputs, at_layers = terms
    every = [*at_inputs, *(term for calls in at_layers.values() for term in calls)]
    return sum(term.detach().flatten(1).sum(1) for term in every)


def assert_complete(model, x, target, rtol=1e-10):
    scores = torch.stack(cam_variants.scores_of(model(x).detach(), target))
    torch.testing.assert_close(
        total(FullGrad(model).decompose(x, target)), scores, rtol=rtol, atol=rtol
    )


@pytest.mark.parametrize("target", [3, [0, 4, 2]], ids=["int", "list"])
def test_the_parts_add_up_to_the_logit(target):
    assert_complete(models.build(Rectified), models.image_batch(), target)


def test_the_parts_add_up_on_resnet18():
    model = networks.calibrated_resnet18()
    assert_complete(model, networks.pictures(), [3, 11], rtol=1e-4)


def test_layers_and_calls_are_named():
    _, at_layers = FullGrad(models.build(Rectified)).decompose(models.image_batch(), 1)
    assert list(at_layers) == ["stem", "norm", "plain", "scaled", "up", "fc"]
    assert [len(calls) for calls in at_layers.values()] == [1, 1, 1, 2, 1, 1]


def test_equals_reference_on_resnet18_in_float32():
    model, x = networks.calibrated_resnet18(), networks.pictures()
    oracle_of(FullGrad).compare(model, "layer4", x, [3, 11], tolerance=1e-5)


def test_several_targets_equal_single_calls():
    model, x = models.build(Rectified), models.image_batch()
    each = FullGrad(model).attribute_targets(x, [4, 0])
    for i, target in enumerate([4, 0]):
        torch.testing.assert_close(each[:, i], FullGrad(model).attribute(x, target))


def test_volumes_sequences_and_tuples():
    volume = torch.randn(2, 2, 3, 3, 4, dtype=torch.float64)
    model = models.three_dimensional()
    assert FullGrad(model).attribute(volume, 1).shape == (2, 1, 3, 3, 4)
    assert_complete(model, volume, 1)
    sequence = torch.randn(2, 2, 9, dtype=torch.float64)
    assert FullGrad(models.one_dimensional()).attribute(sequence, 1).shape == (2, 1, 9)
    model, x = models.build(models.TwoInputs), models.image_batch()
    maps = FullGrad(model).attribute((x, 2 * x), 1, additional_forward_args=0.5)
    assert [m.shape for m in maps] == [(3, 1, 5, 6)] * 2


def test_frozen_parameters_chunks_and_bfloat16():
    model, x = models.build(models.Net), models.image_batch()
    whole = FullGrad(model).attribute(x, [0, 4, 2])
    model.requires_grad_(False)
    parts = FullGrad(model).attribute(x, [0, 4, 2], internal_batch_size=2)
    torch.testing.assert_close(parts, whole)
    assert FullGrad(model.bfloat16()).attribute(x.bfloat16(), 1).isfinite().all()


def test_what_it_cannot_do_is_said():
    model, x = models.build(models.Net), models.image_batch()
    with pytest.raises(ValueError, match=r"needs the torch\.nn\.Module itself; got function"):
        FullGrad(lambda x: model(x))
    with pytest.raises(ValueError, match=r"'norm'.*call model\.eval"):
        FullGrad(model.train()).attribute(x, 1)
    flat = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(ValueError, match=r"draws over inputs \(N, C, L\)"):
        FullGrad(flat).attribute(torch.randn(2, 4), 1)


def test_a_missing_bias_is_seen(monkeypatch):
    right = full_grad._bias
    monkeypatch.setattr(full_grad, "_bias", lambda m, n: None if n == "up" else right(m, n))
    with pytest.raises(AssertionError, match="not close"):
        assert_complete(models.build(Rectified), models.image_batch(), 3)
