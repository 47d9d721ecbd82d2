"""Shared fixtures: the seed, the real network, its photos."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def demo():
    """EfficientNet-Lite0 with its ImageNet weights, its preprocessing and its class names."""
    from captum_cnn_ext.models import load_model

    return load_model("demo")


@pytest.fixture(scope="session")
def lite0(demo):
    return demo.model


@pytest.fixture(scope="session")
def photos(demo):
    """An astronaut with her helmet and a cup of coffee, preprocessed: (2, 3, 224, 224)."""
    from captum_cnn_ext.photos import demo_photos

    pictures = demo_photos()
    return torch.stack([demo.preprocess(pictures[name]) for name in ("astronaut", "coffee")])
