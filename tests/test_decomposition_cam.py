"""Eigen-CAM, KPCA-CAM, FEM, deep feature factorization: references and what they promise."""

import importlib

import models
import networks
import numpy as np
import pytest
import torch
from oracles import oracle_of
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext.attr import (
    LayerDeepFeatureFactorization,
    LayerEigenCam,
    LayerFeatureMaps,
    LayerFem,
    LayerKPCACam,
)
from captum_cnn_ext.attr.cams import principal_components as components

CLASSES = [LayerEigenCam, LayerFem, LayerKPCACam]
EACH = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)


@EACH
@pytest.mark.parametrize("layer", ["layer3", "layer4"])
def test_equals_reference_on_resnet18_in_float32(cls, layer):
    model, x = networks.calibrated_resnet18(), networks.pictures()
    oracle_of(cls).compare(model, layer, x, 0, tolerance=1e-5)


@pytest.mark.parametrize("kernel", ["sigmoid", "rbf", "linear"])
def test_kernel_pca_is_scikit_learns_up_to_the_sign(kernel):
    decomposition = pytest.importorskip("sklearn.decomposition")
    activation = torch.randn(2, 6, 25, dtype=torch.float64)
    found = components.kernel_projection(activation, kernel, None)[:, 0]
    for row, image in zip(found, activation, strict=True):
        centred = (image - image.mean(1, keepdim=True)).T.numpy()
        pca = decomposition.KernelPCA(1, kernel=kernel, eigen_solver="dense", gamma=1 / 6)
        theirs = torch.from_numpy(pca.fit_transform(centred))[:, 0]
        torch.testing.assert_close(row.abs(), theirs.abs(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("shape", [(2, 40, 9), (2, 9, 40), (2, 5, 1), (2, 1, 5)])
def test_both_gram_matrices_give_the_first_direction(shape):
    matrix = torch.randn(shape, dtype=torch.float64)
    direction = components.first_direction(matrix)
    torch.testing.assert_close(direction.norm(dim=1), torch.ones(2, 1, dtype=torch.float64))
    strength = (direction * matrix).sum(1).norm(dim=1)
    torch.testing.assert_close(strength, torch.linalg.matrix_norm(matrix, 2))


def test_the_map_correlates_with_the_energy():
    for seed in range(20):
        torch.manual_seed(seed)
        matrix = torch.randn(1, 6, 30, dtype=torch.float64) - 0.5
        projection = (components.first_direction(matrix) * matrix).sum(1)[0]
        energy = matrix.square().sum(1)[0]
        assert torch.corrcoef(torch.stack([projection, energy]))[0, 1] >= 0


def test_rounding_does_not_choose_the_sign():
    """After a layer norm all positions have the same energy."""
    tokens = torch.nn.functional.layer_norm(torch.randn(8, 16, 48), (48,), eps=0.0).mT
    other = tokens * (1 + 1e-7 * torch.randn(tokens.shape))
    for direction in (
        lambda m: (components.first_direction(m) * m).sum(1),
        lambda m: components.kernel_projection(m, "linear", None)[:, 0],
    ):
        torch.testing.assert_close(direction(tokens), direction(other), rtol=0, atol=1e-4)


def test_a_threshold_that_no_position_can_pass_is_refused():
    model, x = models.build(models.Net), models.image_batch()
    with pytest.raises(ValueError, match=r"of 30 positions none can be 5.5 .*\(the most is 5.4\)"):
        LayerFem(model, "block", deviations=5.5).attribute(x)
    cam = LayerFem(model, "block")
    for positions, passes in ((5, False), (6, True)):
        spike = torch.zeros(1, 1, positions)
        spike[0, 0, 2] = 1
        if passes:
            assert cam._parts(spike).any()
        else:
            with pytest.raises(ValueError, match="none can be 2 standard"):
                cam._parts(spike)


def test_dead_layers_give_empty_maps():
    for direction in (
        components.first_direction,
        lambda m: components.kernel_projection(m, "rbf", 1),
    ):
        assert (direction(torch.zeros(2, 3, 4)) * torch.zeros(2, 3, 4)).abs().max() == 0


@EACH
def test_bfloat16_and_channels(cls):
    model, x = models.build(models.CalledTwice), models.image_batch()
    wide = cls(model, "relu").attribute(x, call=1)
    narrow = cls(model.bfloat16(), "relu").attribute(x.bfloat16(), call=1)
    assert narrow.dtype == torch.bfloat16
    if cls is not LayerFem:  # a threshold
        pair = torch.stack([wide.flatten().float(), narrow.flatten().float()])
        assert torch.corrcoef(pair)[0, 1] > 0.98
    model = models.build(models.Net)
    if cls is LayerKPCACam:
        with pytest.raises(ValueError, match="principal component has no channels"):
            cls(model, "block").attribute(x, attr_dim_summation=False)
        return
    parts = cls(model, "block").attribute(x, attr_dim_summation=False)
    assert parts.shape == (3, 4, 5, 6)
    torch.testing.assert_close(parts.sum(1, keepdim=True), cls(model, "block").attribute(x))


class Operations(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("cls", [*CLASSES, LayerDeepFeatureFactorization])
def test_the_forward_pass_stops_at_the_layer(cls):
    model, x = models.build(models.Net), models.image_batch()
    with Operations() as operations:
        cls(model, "stem").attribute(x)
    assert sum("aten.convolution." in name for name in operations.seen) == 1
    assert not any("backward" in name or "addmm" in name for name in operations.seen)


# --- deep feature factorization ---------------------------------------------------------------


def test_factors_rebuild_the_activation():
    model, x = models.build(models.Net), models.image_batch()
    activation = LayerFeatureMaps(model, "block").attribute(x).relu()
    dff = LayerDeepFeatureFactorization(model, "block")
    maps, concepts = dff.factorize(x)
    assert maps.shape == (3, 4, 5, 6)
    assert concepts.shape == (4, 4)
    assert (maps >= 0).all()
    assert (concepts >= 0).all()
    rebuilt = torch.einsum("ncyx,ck->nkyx", maps, concepts)
    assert (rebuilt - activation).norm() < 0.05 * activation.norm()
    assert torch.equal(dff.attribute(x), maps)
    assert torch.equal(dff.attribute(x, internal_batch_size=1), maps)


def test_factors_are_scikit_learns():
    decomposition = pytest.importorskip("sklearn.decomposition")
    model, x = models.build(models.Net), models.image_batch()
    a = LayerFeatureMaps(model, "block").attribute(x).relu().numpy()
    rows = np.stack([a[n, :, h, w] for n in range(3) for h in range(5) for w in range(6)])
    nmf = decomposition.NMF(2, init="nndsvda", max_iter=5000, random_state=0)
    theirs = nmf.fit_transform(rows)
    maps, concepts = LayerDeepFeatureFactorization(model, "block", components=2).factorize(x)
    for index, row in enumerate(theirs):
        n, h, w = index // 30, index % 30 // 6, index % 6
        torch.testing.assert_close(maps[n, :, h, w], torch.from_numpy(row), rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(concepts, torch.from_numpy(nmf.components_), rtol=1e-8, atol=1e-10)


def test_planted_parts_are_found():
    concepts = torch.tensor([[3.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0]], dtype=torch.float64)
    masks = torch.zeros(2, 2, 4, 4, dtype=torch.float64)
    masks[0, 0, :2], masks[1, 0, :, :1] = 1, 1  # the first part, in both images
    masks[0, 1, 3:], masks[1, 1, :, 2:] = 1, 1
    x = torch.einsum("ncyx,ck->nkyx", masks, concepts)
    dff = LayerDeepFeatureFactorization(torch.nn.Sequential(torch.nn.Identity()), "0", components=2)
    found, directions = dff.factorize(x)
    order = [int(directions[:, 0].argmax()), int(directions[:, 1].argmax())]
    found = found[:, order] / found[:, order].amax((0, 2, 3), keepdim=True)
    torch.testing.assert_close(found, masks, rtol=0, atol=1e-3)


def test_nesting_follows_the_layers():
    model, x = models.build(models.TupleOutput), models.image_batch()
    maps, concepts = LayerDeepFeatureFactorization(model, "split", components=2).factorize(x)
    assert [m.shape for m in maps] == [(3, 2, 5, 6)] * 2
    assert [c.shape for c in concepts] == [(2, 4), (2, 3)]


def test_what_is_wrong_is_said(monkeypatch):
    model, x = models.build(models.Net), models.image_batch()
    with pytest.raises(ValueError, match="components=9: expected at most 4, the smaller of 4 chan"):
        LayerDeepFeatureFactorization(model, "block", components=9).attribute(x)
    with pytest.raises(ValueError, match="components=0: expected an integer of at least 1"):
        LayerDeepFeatureFactorization(model, "block", components=0)
    with pytest.raises(ValueError, match=r"kernel='rbff': expected one of .*; nearest: 'rbf'"):
        LayerKPCACam(model, "block", kernel="rbff")
    with pytest.raises(ValueError, match=r"gamma=0\.0: expected a finite number above 0"):
        LayerKPCACam(model, "block", gamma=0.0)

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ImportError, match=r"pip install -e '.\[decomposition\]' in the repository"):
        LayerDeepFeatureFactorization(model, "block").attribute(x)
