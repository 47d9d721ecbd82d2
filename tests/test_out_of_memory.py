"""An allocator that refuses large results: chunks halve until they fit."""

import every_class
import models
import pytest
import test_contract
import torch
from reports import small, small_images
from snapshots import nothing_left_behind
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext import attr, evidence, metrics

# as in Captum, the batch is the caller's to divide
WHOLE_BATCH = {
    "ActivationMaximization",
    "Deconvolution",
    "GuidedBackprop",
    "GuidedCam",
    "LayerFeatureAblation",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "Occlusion",
}


class LittleMemory(TorchDispatchMode):
    """A convolution fits where it gives at most ``rows`` of its batch."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.refused, self.largest = rows, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default and args[0].device.type == "cpu":
            if len(args[0]) > self.rows:
                self.refused += 1
                raise torch.OutOfMemoryError(f"{len(args[0])} rows")
            self.largest = max(self.largest, len(args[0]))
        return func(*args, **(kwargs or {}))


class TokensFirst(nn.Module):
    def forward(self, x):
        return x.flatten(2).permute(2, 0, 1)


def check_halves(call, model, *tensors, rows=3):
    """``call`` gives the same where only so many rows fit, and uses what fits."""
    expected = call()
    memory = LittleMemory(rows)
    with nothing_left_behind(model, *tensors), memory:
        found = call()
    assert memory.refused
    assert memory.largest > rows // 2
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*(is called 2 times|ill-posed)")
@pytest.mark.parametrize("name", sorted({*every_class.NAMES} - WHOLE_BATCH))
def test_a_class_halves_its_chunks(name):
    model, layer = test_contract.build(every_class.KIND)
    x = models.image_batch(4)
    check_halves(every_class.calls(model, layer, x)[name], model, x)


MODEL = {
    "Occlusion": lambda m, x: attr.Occlusion(m).attribute(
        x[:1], (3, 4, 4), (3, 4, 4), target=1, incremental=False, perturbations_per_eval=8
    ),
    "insertion": lambda m, x: metrics.insertion(m, x, x, 1, steps=4, blank=0.0).scores,
    "confidence": lambda m, x: metrics.confidence(m, x, x, 1).average_drop,
    "effective_receptive_field": lambda m, x: evidence.effective_receptive_field(m, "block", x).map,
}


@pytest.mark.parametrize("name", MODEL)
def test_what_divides_its_own_work_halves_it(name):
    model, x = small().double(), small_images(4).double()
    check_halves(lambda: MODEL[name](model, x), model, x, rows=1)


def test_what_fits_is_kept_for_the_rest():
    """Eight in a memory of two: refused at 8 and 4, and never again."""
    model, x = small().double(), small_images(8).double()
    with LittleMemory(2) as memory:
        attr.LayerHiResCam(model, "block").attribute(x, 1)
    assert memory.refused == 2


@pytest.mark.parametrize(
    "cls", [attr.LayerConductance, attr.InternalInfluence, attr.LayerIntegratedGradients]
)
@pytest.mark.parametrize(("count", "rows"), [(1, 5), (4, 2)])
def test_a_path_is_walked_in_parts(cls, count, rows):
    """Points of one example, and examples of one point, where the whole path does not fit."""
    model, x = small().double(), small_images(count).double()
    target = [2, 0, 1, 2][:count]
    options = {"n_steps": 10, "attribute_to_layer_input": True}
    call = lambda: cls(model, "block").attribute(x, x.flip(3), target, **options)  # noqa: E731
    check_halves(call, model, x, rows=rows)


def test_a_layer_whose_rows_are_no_examples_is_not_taken_in_parts():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), TokensFirst(), nn.Linear(2, 2)).double()
    ig = attr.LayerIntegratedGradients(lambda x: model(x).mean(0), model[1])
    x = torch.rand(4, 3, 6, 6).double()
    with LittleMemory(3), pytest.raises(ValueError, match=r"'1' is not the batch.*fewer examples"):
        ig.attribute(x, target=1, n_steps=3)


@pytest.mark.parametrize("chunk", [None, 1])
def test_one_example_that_does_not_fit_raises_the_devices_error(chunk):
    model, x = small().double(), small_images(4).double()
    cam = attr.LayerHiResCam(model, "block")
    with (
        nothing_left_behind(model, x),
        LittleMemory(0),
        pytest.raises(torch.OutOfMemoryError, match="1 rows"),
    ):
        cam.attribute(x, 1, internal_batch_size=chunk)
