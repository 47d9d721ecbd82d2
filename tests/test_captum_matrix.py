"""Captum's own test configurations, run on our classes.

Captum ships the matrix in its wheel, undocumented: the import is guarded. Ours stand in for the
Captum class with the same contract: our gradient CAMs for LayerGradCam, our LayerFeatureMaps for
LayerActivation.
"""

import copy
import warnings

import captum.attr
import pytest
import torch
from captum.attr import LayerActivation, LayerGradCam
from snapshots import nothing_left_behind

from captum_cnn_ext import attr
from captum_cnn_ext.attr import (
    LayerFeatureMaps,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)

test_config = pytest.importorskip("captum.testing.attr.helpers.test_config")
utilities = pytest.importorskip("captum.testing.attr.helpers.gen_test_utils")

# input methods and neuron methods, to be equal to Captum's value for value
PIXELS = {getattr(captum.attr, n): getattr(attr, n) for n in (
    "Deconvolution", "GuidedBackprop", "NeuronDeconvolution", "NeuronGuidedBackprop"
)}  # fmt: skip
PIXEL_CASES = [
    pytest.param(ours, theirs, config, id=f"{config['name']}-{ours.__name__}")
    for config in test_config.config
    for theirs, ours in PIXELS.items()
    if theirs in config["algorithms"] and not config.get("noise_tunnel")
]
CAMS = [attr.LayerGradCam, LayerGradCamPlusPlus, LayerHiResCam, LayerLayerCam, LayerXGradCam]
STAND_INS = {LayerGradCam: CAMS, LayerActivation: [LayerFeatureMaps]}
CASES = [
    pytest.param(cls, captum, config, id=f"{config['name']}-{cls.__name__}")
    for config in test_config.config
    for captum, classes in STAND_INS.items()
    if captum in config["algorithms"]
    for cls in classes
]
pytestmark = pytest.mark.filterwarnings("ignore:LayerGradCamPlusPlus. the layer has channels")


def prepared(config):
    """A fresh model, its layer or layers, and the arguments."""
    model = copy.deepcopy(config["model"])
    names = config["layer"]
    layers = (
        [utilities.get_target_layer(model, name) for name in names]
        if isinstance(names, list)
        else utilities.get_target_layer(model, names)
    )
    return model, layers, copy.deepcopy(config["attribute_args"])


def tensors_of(value):
    if isinstance(value, torch.Tensor):
        return [value]
    return [tensor for item in value for tensor in tensors_of(item)]


def test_the_matrix_is_not_empty():
    assert len({case.id for case in CASES}) >= 25


@pytest.mark.parametrize(("cls", "captum", "config"), CASES)
def test_runs_like_captums(cls, captum, config):
    model, layers, kwargs = prepared(config)
    with nothing_left_behind(model, *tensors_of(kwargs["inputs"])):
        ours = cls(model, layers).attribute(**kwargs)
    theirs = captum(model, layers).attribute(**kwargs)
    assert [t.shape for t in tensors_of(ours)] == [t.shape for t in tensors_of(theirs)]
    if captum is LayerActivation:
        assert all(map(torch.equal, tensors_of(ours), tensors_of(theirs)))
    positions = any(t.ndim > 2 for t in tensors_of(ours))  # without any HiResCAM is Grad-CAM
    if cls is attr.LayerGradCam or (cls is LayerHiResCam and not positions):
        for a, b in zip(tensors_of(ours), tensors_of(theirs), strict=True):
            torch.testing.assert_close(a, b.detach())


@pytest.mark.parametrize(("cls", "captum", "config"), CASES)
def test_each_example_alone_equals_its_row(cls, captum, config):
    target = config["attribute_args"].get("target")
    if not isinstance(target, (list, torch.Tensor)):
        pytest.skip("one target for the whole batch")
    model, layers, kwargs = prepared(config)
    whole = tensors_of(cls(model, layers).attribute(**kwargs))
    inputs = kwargs["inputs"]
    for n in range(len(target)):
        row = slice(n, n + 1)
        alone = dict(kwargs, target=target[row])
        alone["inputs"] = (
            tuple(x[row] for x in inputs) if isinstance(inputs, tuple) else inputs[row]
        )
        if isinstance(kwargs.get("additional_forward_args"), torch.Tensor):
            alone["additional_forward_args"] = kwargs["additional_forward_args"][row]
        for a, b in zip(tensors_of(cls(model, layers).attribute(**alone)), whole, strict=True):
            torch.testing.assert_close(a, b[row])


@pytest.mark.parametrize(("cls", "captum", "config"), CASES)
@pytest.mark.parametrize("mode", ["bad target", "layer not in the model"])
def test_failures_are_assertion_errors_and_remove_hooks(cls, captum, config, mode):
    model, layers, kwargs = prepared(config)
    if mode == "bad target":
        if "target" not in kwargs:
            pytest.skip("takes no target")
        kwargs["target"] = (9999,) * 20
    else:
        layers = torch.nn.ReLU()
    with nothing_left_behind(model), warnings.catch_warnings():
        with pytest.raises(AssertionError):
            cls(model, layers).attribute(**kwargs)


@pytest.mark.parametrize(("ours", "theirs", "config"), PIXEL_CASES)
def test_pixels_are_captums(ours, theirs, config):
    model = copy.deepcopy(config["model"])
    kwargs = copy.deepcopy(config["attribute_args"])
    layer = config.get("layer")
    place = (model, utilities.get_target_layer(model, layer)) if layer else (model,)
    with nothing_left_behind(model, *tensors_of(kwargs["inputs"])):
        found = ours(*place).attribute(**kwargs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs(*place).attribute(**kwargs)
    assert type(found) is type(expected)
    assert all(map(torch.equal, tensors_of(found), tensors_of(expected)))
    for key in ("target", "neuron_selector"):
        if key in kwargs and not callable(kwargs[key]):
            with nothing_left_behind(model), pytest.raises(AssertionError):
                ours(*place).attribute(**{**kwargs, key: (9999,) * 20})


def test_the_matrix_of_pixels_is_not_empty():
    assert len(PIXEL_CASES) >= 20
