"""Windows of an image blanked, by what they reach and by running the model: the same values."""

import pytest
import torch
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext._engine.incremental.blanked_windows import BlankedWindows, blanked


def network(*last):
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 6, 3, padding=1))
    return nn.Sequential(
        *layers, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    ).eval()


class Odd(nn.Module):
    """What cannot be followed: the scale is a number of Python's."""

    def forward(self, x):
        return x * float(x.mean())


@pytest.mark.parametrize(
    ("last", "side", "followed"), [((), 96, True), ((Odd(),), 96, False), ((), 24, False)]
)
def test_values_are_those_of_the_model_on_blanked_images(last, side, followed):
    model = network(*last)
    images = torch.rand(2, 3, side, side)
    blank = torch.rand(3)[None, :, None, None].expand(1, 3, side, side).contiguous()
    starts = torch.tensor([[0, 0], [side - 9, 3], [5, side - 14], [11, 7]])
    with nothing_left_behind(model, images, blank):
        windows = BlankedWindows(model, images[:1], blank)
        found = [windows.outputs(images[n : n + 1], starts, (9, 14)) for n in range(2)]
    assert (windows.tape is not None) == followed
    for image, outputs in zip(images, found, strict=True):
        assert outputs.shape == (4, 5)
        for (top, left), output in zip(starts.tolist(), outputs, strict=True):
            given = image.clone()
            given[:, top : top + 9, left : left + 14] = blank[0, :, :9, :14]
            with torch.no_grad():
                torch.testing.assert_close(output, model(given[None])[0], rtol=1e-4, atol=1e-5)


def test_blanked_by_hand():
    image, blank = torch.zeros(1, 1, 3, 3), torch.ones(1, 1, 3, 3)
    found = blanked(image, blank, torch.tensor([[0, 1], [2, 0]]), (1, 2))
    assert found[:, 0].tolist() == [
        [[0, 1, 1], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [1, 1, 0]]
    ]  # fmt: skip
