"""Many targets: equal to single calls, from one forward pass and backward passes of the tail."""

import models
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext import attr
from captum_cnn_ext.attr.cams.gradient_base import GradientCam

CLASSES = [
    cls
    for name in attr.__all__
    if isinstance(cls := getattr(attr, name), type) and issubclass(cls, GradientCam)
]
EACH = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
pytestmark = pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")


def case(cls):
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    model = models._seeded(models.Net(head if cls is attr.LayerCam else None))
    return model, models.image_batch(), "relu" if cls is attr.LayerCam else "block"


def test_every_gradient_cam_is_here():
    assert len(CLASSES) == 11


@EACH
@pytest.mark.parametrize(
    "targets",
    [[1, 4], (0,), torch.tensor([2, 2, 0]), torch.tensor([[0, 1], [2, 3], [4, 4]]), range(3)],
    ids=["list", "one", "tensor", "each example's", "range"],
)
def test_equals_single_calls(cls, targets):
    model, x, layer = case(cls)
    cam = cls(model, layer)
    found = cam.attribute_targets(x, targets)
    rows = isinstance(targets, torch.Tensor) and targets.ndim == 2
    columns = list(targets.T) if rows else [int(t) for t in targets]
    assert found.shape[:3] == (3, len(columns), 1)
    assert not found.requires_grad
    for i, target in enumerate(columns):
        single = cam.attribute(x, target)
        torch.testing.assert_close(found[:, i], single, rtol=1e-12, atol=1e-14)


@EACH
def test_layers_tuples_chunks_and_options_as_in_attribute(cls):
    if cls in (attr.LayerCam, attr.LayerRefineCam):
        pytest.skip("one layer, one map")
    model, x, layer = case(cls)
    cam = cls(model, [layer, "stem"])
    found = cam.attribute_targets(
        (x,), [3, 1], relu_attributions=True, attr_dim_summation=False, internal_batch_size=2
    )
    assert isinstance(found, list)
    single = cam.attribute((x,), 1, relu_attributions=True, attr_dim_summation=False)
    for (many,), (one,) in zip(found, single, strict=True):
        torch.testing.assert_close(many[:, 1], one, rtol=1e-10, atol=1e-14)


def test_a_target_tuple_for_outputs_with_more_dimensions():
    model, x = models.build(models.Net), models.image_batch()

    def maps(x):
        return model(x)[:, :, None] * torch.tensor([1.0, -2.0], dtype=x.dtype)

    cam = attr.LayerHiResCam(maps, model.block)
    found = cam.attribute_targets(x, [(1, 0), (2, 1)])
    torch.testing.assert_close(found[:, 1], cam.attribute(x, (2, 1)))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([], "expected a list of classes"),
        (3, "targets=3: expected a list of classes"),
        (torch.zeros(2, 2, dtype=torch.long), r"or \(N, T\) for the 3 inputs, got \(2, 2\)"),
        ([1, 99], "target=99: the model's output"),
    ],
)
def test_wrong_targets_are_named(targets, message):
    model, x, layer = case(attr.LayerHiResCam)
    with pytest.raises(ValueError, match=message):
        attr.LayerHiResCam(model, layer).attribute_targets(x, targets)


class Convolutions(TorchDispatchMode):
    """Counts convolutions run forward and backward."""

    def __init__(self):
        super().__init__()
        self.forward = self.backward = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        self.forward += name.startswith(("aten.convolution.", "aten.mkldnn_convolution"))
        self.backward += "convolution_backward" in name
        return func(*args, **(kwargs or {}))


@EACH
def test_one_forward_pass_and_no_backward_before_the_layer(cls):
    """Of two convolutions the layer is the last: forward runs both, backward none."""
    model, x, layer = case(cls)
    clean_passes = {attr.LayerSmoothGradCamPlusPlus: 8 + 1}.get(cls, 1)
    with Convolutions() as count:
        cls(model, layer).attribute_targets(x, [0, 1, 2, 3, 4])
    assert (count.forward, count.backward) == (2 * clean_passes, 0)


def test_the_backward_pass_goes_down_to_the_layer_only():
    model, x = models.build(models.Net), models.image_batch()
    with Convolutions() as count:
        attr.LayerHiResCam(model, "stem").attribute_targets(x, [0, 1, 2])
    assert (count.forward, count.backward) == (2, 3)  # the second convolution, for each target
