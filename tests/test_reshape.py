"""Tokens, channels-last maps, sequences and volumes: read as they are, or refused."""

import models
import pytest
import references
import torch

from captum_cnn_ext.attr import (
    LayerEigenCam,
    LayerGradCamPlusPlus,
    LayerHiResCam,
    channels_last_to_map,
    tokens_to_map,
)
from captum_cnn_ext.attr.layers.reshape_transform import channel_maps

SQUARE = (torch.zeros(2, 3, 224, 224),)


def network(name, **options):
    zoo = pytest.importorskip("torchvision.models")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = getattr(zoo, name)(num_classes=5, **options).eval()
        for parameter in model.parameters():  # zeroed heads would give empty maps
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
        return model.double()


def assert_equals_reference(model, name, x, to_map, **kwargs):
    a, g = references.activation_and_gradient(model, model.get_submodule(name), x, 3)
    expected = (a.double() * g.double()).sum(-1)[:, None]
    expected = to_map(expected)
    found = LayerHiResCam(model, name).attribute(x, 3, **kwargs)
    assert expected.abs().max() > 0
    torch.testing.assert_close(
        found.double(), expected, rtol=0, atol=1e-9 * float(expected.abs().max())
    )
    return found


def test_a_vision_transformers_block_is_recognised():
    model, x = network("vit_b_16", image_size=64), torch.randn(1, 3, 64, 64).double()
    name = "encoder.layers.encoder_layer_10.ln_1"
    found = assert_equals_reference(model, name, x, lambda t: t[:, :, 1:].unflatten(2, (4, 4)))
    assert found.shape == (1, 1, 4, 4)
    named = LayerHiResCam(model, name).attribute(x, 3, reshape_transform=tokens_to_map(4, 4))
    assert torch.equal(named, found)
    assert LayerEigenCam(model, name).attribute(x).shape == (1, 1, 4, 4)
    several = LayerHiResCam(model, name).attribute_targets(x, [3, 1])
    torch.testing.assert_close(several[:, 0], found)


@pytest.mark.parametrize("name", ["features.7", "features.5.1.norm1"])
def test_a_swin_block_is_recognised(name):
    model, x = network("swin_t"), torch.randn(1, 3, 64, 64).double()
    assert_equals_reference(model, name, x, lambda t: t)


def test_convnext_gives_maps_and_inside_its_blocks_channels_last():
    model, x = network("convnext_tiny"), torch.randn(1, 3, 64, 96).double()
    assert LayerHiResCam(model, "features.7").attribute(x, 3).shape == (1, 1, 2, 3)
    found = assert_equals_reference(model, "features.5.0.block.2", x, lambda t: t)
    assert found.shape == (1, 1, 4, 6)
    a, g = references.activation_and_gradient(model, model.features[7], x, 3)
    torch.testing.assert_close(
        LayerHiResCam(model, "features.7").attribute(x, 3).double(),
        references.hires_cam(a, g),
        rtol=1e-9,
        atol=1e-12,
    )


@pytest.mark.parametrize("cls", [LayerGradCamPlusPlus, LayerEigenCam])
@pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")
def test_sequences_and_volumes(cls):
    x = torch.randn(2, 2, 9, dtype=torch.float64)
    assert cls(models.one_dimensional(), "1").attribute(x, 1).shape == (2, 1, 9)
    x = torch.randn(2, 2, 3, 3, 4, dtype=torch.float64)
    assert cls(models.three_dimensional(), "1").attribute(x, 1).shape == (2, 1, 3, 3, 4)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((2, 197, 768), (2, 768, 14, 14)),  # ViT-B/16, with a class token
        ((2, 50, 768), (2, 768, 7, 7)),  # ViT-B/32
        ((2, 7, 7, 768), (2, 768, 7, 7)),  # Swin, ConvNeXt inside
        ((2, 56, 56, 96), (2, 96, 56, 56)),
        ((2, 768, 7, 7), (2, 768, 7, 7)),
        ((2, 64, 56, 56), (2, 64, 56, 56)),
        ((2, 512, 1, 1), (2, 512, 1, 1)),
        ((2, 10), (2, 10)),
    ],
)
def test_what_is_certain_is_recognised(shape, expected):
    tensor = torch.randn(shape)
    found = channel_maps(tensor, SQUARE, "layer", None)
    assert found.shape == expected
    if expected[1] == shape[-1] and len(shape) > 2:
        assert torch.equal(found[1, :, 0, 0], tensor[1, 1] if len(shape) == 3 else tensor[1, 0, 0])


def test_more_channels_than_the_image_is_wide_are_no_positions():
    tensor = torch.randn(2, 2, 3, 768)  # Swin's last stage for 64 x 71 pixels, by no whole step
    found = channel_maps(tensor, (torch.zeros(2, 3, 64, 71),), "layer", None)
    assert torch.equal(found, tensor.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("shape", "image"),
    [
        ((2, 196, 768), (224, 224)),  # no class token: it could be a sequence
        ((2, 197, 1024), (224, 224)),  # 1024 channels could be 32 x 32 positions
        ((2, 198, 768), (224, 224)),  # two tokens more than patches
        ((2, 197, 768), (224, 448)),  # no square image
        ((2, 17, 30), (226, 226)),  # 4 patches do not divide it
        ((2, 768, 49), (224, 224)),
        ((2, 5, 7, 64), (224, 317)),  # channels last, but by no whole step
    ],
)
def test_what_is_not_certain_is_refused_and_the_helper_named(shape, image):
    with pytest.raises(ValueError, match=r"reshape_transform=(tokens|channels_last)_to_map"):
        channel_maps(torch.zeros(shape), (torch.zeros(2, 3, *image),), "layer", None)


def test_tokens_to_map():
    tokens = torch.arange(2 * 7 * 3).reshape(2, 7, 3)
    found = tokens_to_map(2, 3)(tokens)
    for y in range(2):
        for x in range(3):
            assert torch.equal(found[:, :, y, x], tokens[:, 1 + 3 * y + x])
    assert torch.equal(tokens_to_map(height=2)(tokens), found)
    assert torch.equal(tokens_to_map(width=3)(tokens), found)
    assert torch.equal(tokens_to_map(2, 3, class_token=False)(tokens[:, 1:]), found)
    registers = torch.cat([tokens[:, :1]] * 4 + [tokens], 1)
    assert torch.equal(tokens_to_map(2, 3, class_token=5)(registers), found)
    assert tokens_to_map()(torch.zeros(1, 10, 4)).shape == (1, 4, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "shape", "message"),
    [
        ((), (1, 9, 4), "leave 8, which is no square; pass the height and width"),
        ((3, 3), (1, 9, 4), "leave 8, which does not fit"),
        ((3,), (1, 9, 4), "leave 8, which does not fit"),
        ((), (1, 3, 3, 4), r"expected tokens \(N, L, C\).*use channels_last_to_map"),
        ((), (1, 0, 4), "leave -1, which is no square"),
    ],
)
def test_tokens_that_do_not_fit(arguments, shape, message):
    with pytest.raises(ValueError, match=message):
        tokens_to_map(*arguments)(torch.zeros(shape))


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="height=0: expected an integer of at least 1, or None"):
        tokens_to_map(0, 3)
    with pytest.raises(ValueError, match="class_token=-1: expected an integer of at least 0"):
        tokens_to_map(class_token=-1)
    with pytest.raises(ValueError, match=r"expected \(N, \*positions, C\), got shape \(2, 3\)"):
        channels_last_to_map(torch.zeros(2, 3))
