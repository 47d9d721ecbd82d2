"""The suggested layers: what users of each architecture choose, found from one forward pass."""

import models
import pytest
import torch
from snapshots import nothing_left_behind
from torch import nn
from torchvision.models import VisionTransformer

from captum_cnn_ext import explain
from captum_cnn_ext.attr import LayerHiResCam, suggest_layers

EXPECTED = {
    "resnet18": ["layer4", "layer3", "layer2", "layer1", "relu"],
    "resnet50": ["layer4", "layer3", "layer2", "layer1", "relu"],
    "vgg16": ["features.29", "features.22", "features.15", "features.8", "features.3"],
    "densenet121": ["features.norm5", *(f"features.denseblock{n}" for n in (3, 2, 1))],
    "mobilenet_v2": ["features.18", "features.13", "features.6", "features.3", "features.1"],
    "efficientnet_b0": ["features.8", "features.5", "features.3", "features.2", "features.1"],
    "googlenet": ["inception5b", "inception4e", "inception3b"],
    "inception_v3": ["Mixed_7c", "Mixed_6e", "Mixed_5d"],
    "convnext_tiny": ["features.7", "features.5", "features.3", "features.1"],
    "squeezenet1_1": ["features.12", "features.7", "features.4", "features.1"],
    "regnet_y_400mf": [f"trunk_output.block{n}" for n in (4, 3, 2, 1)],
    "alexnet": ["features.11", "features.4", "features.1"],
}


def network(name):
    zoo = pytest.importorskip("torchvision.models")
    slow_start = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    return getattr(zoo, name)(**slow_start).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_what_users_choose(name):
    found = suggest_layers(network(name), 299 if name == "inception_v3" else 224)
    names = [layer.name for layer in found]
    assert names[: len(EXPECTED[name])] == EXPECTED[name]
    sizes = [layer.shape[2] * layer.shape[3] for layer in found]
    assert sizes == sorted(sizes)
    assert f"{found[0].shape[1]} channels on {found[0].shape[2]} x" in found[0].reason
    assert "last convolution stage" in found[0].reason
    assert all("earlier stage" in layer.reason for layer in found[1:])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_b_16", [("encoder.layers.encoder_layer_11.ln_1", (1, 768, 14, 14))]),
        (
            "swin_t",
            [
                ("features.7.1.norm1", (1, 768, 7, 7)),
                ("features.5.5.norm1", (1, 384, 14, 14)),
                ("features.3.1.norm1", (1, 192, 28, 28)),
                ("features.1.1.norm1", (1, 96, 56, 56)),
            ],
        ),
    ],
)
def test_of_transformers_the_last_block_s_first_normalisation(name, expected):
    found = suggest_layers(network(name), 224)
    assert [(layer.name, layer.shape) for layer in found] == expected
    assert "first normalisation of the last block" in found[0].reason


def small_transformer(**options):
    torch.manual_seed(0)
    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=32,
        num_classes=5, **options,
    ).eval()  # fmt: skip


def test_a_transformer_is_explained_without_naming_a_layer():
    net, x = small_transformer(), torch.rand(1, 3, 32, 32)
    found = explain(net, x, target=2)
    assert found.layer == "encoder.layers.encoder_layer_1.ln_1"
    kept = []  # literal HiResCAM of the tokens that are patches
    hook = net.get_submodule(found.layer).register_forward_hook(lambda *a: kept.append(a[2]))
    score = net(x)[0, 2]
    hook.remove()
    (slope,) = torch.autograd.grad(score, kept)
    expected = (kept[0] * slope)[:, 1:].sum(2).reshape(1, 1, 4, 4)
    torch.testing.assert_close(found.attributions, expected.detach(), rtol=1e-4, atol=1e-6)


def test_tokens_that_may_be_channels_are_asked_about():
    net = small_transformer()
    # a second token that is no patch, as one of distillation
    net.class_token = nn.Parameter(torch.zeros(1, 2, 24))
    net.encoder.pos_embedding = nn.Parameter(torch.zeros(1, 18, 24))
    with pytest.raises(ValueError, match=r"encoder_layer_1\.ln_1.*tokens_to_map\(height"):
        suggest_layers(net, 32)


def test_attention_without_blocks_is_told_what_to_name():
    class Attends(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = nn.Conv2d(3, 8, 8, stride=8)
            self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(6))
            self.head = nn.Linear(8, 2)

        def forward(self, x):
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            for layer in self.layers:
                tokens = layer(tokens)
            return self.head(tokens.mean(1))

    with pytest.raises(ValueError, match=r"before most of the network.*tokens_to_map"):
        suggest_layers(Attends().eval(), 32)


def test_small_networks():
    model = models.build(models.Net)
    with nothing_left_behind(model):
        found = suggest_layers(model, (2, 5, 6))
    assert [layer.name for layer in found] == ["relu"]
    assert found[0].shape == (1, 4, 5, 6)
    x = models.image_batch()
    assert LayerHiResCam(model, found[0].name).attribute(x, 1).shape == (3, 1, 5, 6)
    assert suggest_layers(model, (5, 6)) == found
    assert suggest_layers(model, x)[0].name == "relu"
    two = models.build(models.TwoInputs)
    assert suggest_layers(two, (x, x))[0].name == "relu"
    assert suggest_layers(models.one_dimensional(), (2, 9))[0].shape == (1, 4, 9)
    assert suggest_layers(models.three_dimensional(), (3, 3, 4))[0].name == "1"


def test_blocks_that_end_in_a_pooling():
    def block(a, b):
        return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))

    model = nn.Sequential(block(3, 4), block(4, 6), block(6, 8), nn.Flatten(), nn.Linear(32, 5))
    names = [layer.name for layer in suggest_layers(model, 16)]
    assert names == ["2.1", "1.1", "0.1"]


def test_a_convolution_along_channels_is_no_stage():
    """As in efficient channel attention: (N, 1, C) from a Conv1d."""

    class ChannelAttention(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, x):
            gate = self.conv(x.mean((2, 3))[:, None]).sigmoid()
            return x * gate.movedim(2, 1)[..., None]

    stages = [nn.Conv2d(3, 8, 3), ChannelAttention(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3)]
    model = nn.Sequential(*stages, ChannelAttention(), nn.Flatten(), nn.LazyLinear(5)).eval()
    model(torch.zeros(1, 3, 16, 16))
    assert [layer.shape for layer in suggest_layers(model, 16)] == [(1, 8, 5, 5), (1, 8, 14, 14)]


def test_a_layer_of_several_calls_counts_with_its_last():
    """As heads that a detection network runs on every level: methods look at the last call."""

    class Levels(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
            self.head, self.pool = nn.Conv2d(4, 5, 3, padding=1), nn.AdaptiveAvgPool2d(1)

        def forward(self, x):
            stem = self.stem(x)
            return sum(self.head(level).mean((2, 3)) for level in (stem, self.pool(stem)))

    first, *_ = suggest_layers(Levels().eval(), 9)
    assert (first.name, first.shape) == ("stem.3", (1, 4, 5, 5))


def test_wrong_arguments_are_named():
    model = models.build(models.Net)
    with pytest.raises(TypeError, match=r"model: expected a torch\.nn\.Module, got function"):
        suggest_layers(lambda x: x, 224)
    with pytest.raises(ValueError, match="inputs='224': expected a size of positive"):
        suggest_layers(model, "224")
    with pytest.raises(ValueError, match="expected an integer or 2 of them, with or without"):
        suggest_layers(model, (1, 1, 2, 5, 6))
    with pytest.raises(ValueError, match="Linear has no convolution"):
        suggest_layers(nn.Linear(3, 4), 3)
    with pytest.raises(ValueError, match="runs no convolution"):
        suggest_layers(nn.Linear(3, 4), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="runs no convolution among its layers"):
        suggest_layers(nn.Conv2d(3, 4, 1), 8)  # a layer is part of a model


def test_a_failing_model_is_left_as_it_was():
    model = models.build(models.Breaks)
    with nothing_left_behind(model), pytest.raises(ValueError, match="own error") as caught:
        suggest_layers(model, (2, 5, 6))
    assert isinstance(caught.value.__cause__, ArithmeticError)
