"""What people have at hand besides tensors: PIL images and NumPy arrays under a map."""

import numpy as np
import pytest
import torch
from PIL import Image

from captum_cnn_ext.render import overlay, show_attributions

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
IMAGE = torch.from_numpy(PIXELS).permute(2, 0, 1).float() / 255
HEAT = torch.eye(3)


def drawn(image, heat=HEAT):
    _, axes = overlay(image, heat)
    return [np.asarray(part.get_array()) for part in axes.images]


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS.astype(np.float32) / 255,
        IMAGE.numpy(),
        IMAGE[None].numpy(),
        PIXELS[None],
    ],
    ids=["PIL", "bytes", "channels last", "channels first", "batch", "batch of bytes"],
)
def test_a_picture_is_the_tensors(image):
    for ours, expected in zip(drawn(image, HEAT.numpy()), drawn(IMAGE), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


@pytest.mark.parametrize("image", [Image.fromarray(PIXELS[..., 0]), PIXELS[..., 0]])
def test_a_grey_picture_has_one_channel(image):
    for ours, expected in zip(drawn(image), drawn(IMAGE[:1]), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_what_is_no_picture_is_named():
    with pytest.raises(TypeError, match="image: got str"):
        overlay("cat.jpg", HEAT)
    with pytest.raises(TypeError, match="attribution: got list"):
        overlay(IMAGE, [[1.0]])
    with pytest.raises(ValueError, match=r"image: got shape \(6, 8\)"):
        overlay(torch.zeros(6, 8), HEAT)


@pytest.mark.parametrize(
    "images",
    [
        [Image.fromarray(PIXELS), Image.fromarray(PIXELS[::-1].copy())],
        [PIXELS, PIXELS[::-1]],
        np.stack([PIXELS, PIXELS[::-1]]),
    ],
    ids=["PIL", "arrays", "one array"],
)
def test_rows_of_pictures_are_the_tensors(images):
    batch, maps = torch.stack([IMAGE, IMAGE.flip(1)]), torch.rand(2, 1, 3, 3)
    _, axes = show_attributions(images, {"heat": maps.numpy()})
    _, expected = show_attributions(batch, {"heat": maps})
    for ours, theirs in zip(axes.flat, expected.flat, strict=True):
        for one, other in zip(ours.images, theirs.images, strict=True):
            np.testing.assert_allclose(one.get_array(), other.get_array(), atol=1e-6)


def test_pictures_of_several_sizes_are_no_batch():
    with pytest.raises(TypeError, match="images: got list"):
        show_attributions([PIXELS, PIXELS[:3]], {"heat": torch.rand(2, 1, 3, 3)})
