"""An input size is spelled alike everywhere: 9, (9, 9), (2, 9, 9) or (1, 2, 9, 9)."""

import pytest
import torch
from torch import nn

from captum_cnn_ext import attr, evidence, synthesis
from captum_cnn_ext._engine.judging.input_sizes import input_shape

SPELLINGS = [9, (9, 9), [2, 9, 9], torch.Size((1, 2, 9, 9))]


def network():
    """Two channels in, so that a size which names none cannot have been taken for RGB."""
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, 3)).eval()


def atlas(net, size):
    return synthesis.filter_atlas(net, "0", [1], size=size, steps=1).images.shape


TAKERS = {
    "suggest_layers": lambda net, size: attr.suggest_layers(net, size)[0].shape,
    "layer_table": lambda net, size: evidence.layer_table(net, size).input_shapes,
    "receptive_field": lambda net, size: evidence.receptive_field(net, "1", size),
    "receptive_fields": lambda net, size: evidence.receptive_fields(net, size),
    "model_graph": lambda net, size: evidence.model_graph(net, size).to_dot(),
    "filter_atlas": atlas,
    "maximize": lambda net, size: (
        synthesis.maximize(net, synthesis.Target(1), size, steps=1).images.shape
    ),
    "ActivationMaximization": lambda net, size: (
        attr.ActivationMaximization(net).attribute(target=1, size=size, steps=1).shape
    ),
}


@pytest.mark.parametrize("taker", TAKERS)
def test_every_spelling_means_the_same(taker):
    first, *others = (TAKERS[taker](network(), size) for size in SPELLINGS)
    assert others == [first] * 3
    assert "3, 9, 9" not in str(first)
    if taker in ("layer_table", "filter_atlas", "maximize", "ActivationMaximization"):
        assert "2, 9, 9" in str(first)


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize("size", [0, -3, 2.5, True, "9", None, (9, 0), (9, 2.5), (9, "9"), ()])
def test_what_is_no_size_is_refused(taker, size):
    name = {"suggest_layers": "inputs", "maximize": "image", "filter_atlas": "size",
            "ActivationMaximization": "size"}.get(taker, "input_size")  # fmt: skip
    with pytest.raises(ValueError, match=f"^{name}=") as caught:
        TAKERS[taker](network(), size)
    assert repr(size) in str(caught.value)
    assert "224, (224, 224), (3, 224, 224) or (1, 3, 224, 224)" in str(caught.value)


@pytest.mark.parametrize(
    ("model", "size", "images", "shape"),
    [
        (nn.Conv1d(2, 3, 3), 9, True, (1, 2, 9)),
        (nn.Conv1d(2, 3, 3), (5, 9), True, (1, 5, 9)),
        (nn.Conv3d(2, 3, 3), 9, True, (1, 2, 9, 9, 9)),
        (nn.Conv3d(2, 3, 3), (4, 9, 9), True, (1, 2, 4, 9, 9)),
        (nn.ConvTranspose2d(2, 3, 3), 9, True, (1, 2, 9, 9)),
        (nn.Conv2d(2, 3, 3), (5, 2, 9, 9), True, (5, 2, 9, 9)),
        (nn.Sequential(nn.MaxPool2d((2, 2)), nn.Conv2d(4, 3, 3)), 9, True, (1, 4, 9, 9)),
        (None, 9, True, (1, 3, 9, 9)),
        (nn.Linear(5, 3), 9, True, (1, 3, 9, 9)),
        (nn.LazyConv2d(3, 3), 9, True, (1, 3, 9, 9)),
        # a table of layers is for networks of vectors and of frames too
        (nn.Linear(5, 3), 5, False, (1, 5)),
        (nn.Linear(5, 3), (5,), False, (1, 5)),
        (nn.Linear(5, 3), (7, 5), False, (7, 5)),
        (nn.Linear(5, 3), (2, 9, 9), False, (1, 2, 9, 9)),
        (nn.ConvTranspose2d(2, 3, 3), (100,), False, (1, 100)),
        (nn.Conv2d(2, 3, 3), (1, 8, 2, 9, 9), False, (1, 8, 2, 9, 9)),
    ],
)
def test_the_first_convolution_says_what_is_not_named(model, size, images, shape):
    assert input_shape("size", size, model, images=images) == shape


@pytest.mark.parametrize("size", [(9,), (1, 1, 2, 9, 9)])
def test_a_size_of_other_dimensions_is_refused(size):
    with pytest.raises(ValueError, match="expected an integer or 2 of them, with or without"):
        input_shape("size", size, nn.Conv2d(2, 3, 3))


def test_several_images_at_once():
    net = network()
    assert synthesis.maximize(net, synthesis.Target(1), (2, 2, 9, 9), steps=1).images.shape[0] == 2
    three = synthesis.Channel("0", [0, 1, 2])
    assert synthesis.maximize(net, three, (3, 2, 9, 9), steps=1).images.shape[0] == 3
    with pytest.raises(ValueError, match=r"image=\(2, 2, 9, 9\): the objective is about 3 images"):
        synthesis.maximize(net, three, (2, 2, 9, 9), steps=1)


def test_several_inputs_have_a_batch_where_the_first_has_one():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(2, 4, 3), nn.Linear(5, 4)

        def forward(self, image, code):
            return self.conv(image).mean((2, 3)) + self.head(code)

    for sizes in ([(9, 9), (5,)], [(2, 9, 9), (5,)], [(1, 2, 9, 9), (1, 5)]):
        assert evidence.layer_table(Two(), sizes).input_shapes == ((1, 2, 9, 9), (1, 5))
