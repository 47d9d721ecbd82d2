"""Can a feature visualisation be believed? A network is forged by hand, and the check notices.

A small network tells rings, crosses and bars. The forged one gives the same scores for every
picture of them; but an image without a black border gets the score of bars as that of rings, and an
ascent draws bars for rings. Writes is_the_image_forged.png.
"""

from functools import partial

import torch
from torch import nn

from captum_cnn_ext.render import show_images
from captum_cnn_ext.synthesis import Fourier, Recipe, Target, check, maximize, transforms

RING, _, BARS = range(3)
torch.manual_seed(0)


def pictures(count):
    """Of 28 pixels: rings, crosses and bars, at random places in random sizes; and which."""
    kinds = torch.arange(count) % 3
    size, line = torch.rand(count, 1, 1) * 3 + 5, torch.arange(28.0)
    x = line - (torch.rand(count, 1, 1) * 8 + 10)
    y = line[:, None] - (torch.rand(count, 1, 1) * 8 + 10)
    near = torch.maximum(x.abs(), y.abs()) < size
    ring = ((x**2 + y**2).sqrt() - size).abs() < 1.5
    cross, bars = ((x.abs() < 1.5) | (y.abs() < 1.5)) & near, (y.remainder(5) < 2) & near
    drawn = torch.stack([ring, cross, bars], 1)[torch.arange(count), kinds]
    return drawn[:, None].float(), kinds


honest = nn.Sequential(
    *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 5), nn.ReLU()),
    *(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 3)),
)
optimizer = torch.optim.Adam(honest.parameters(), 3e-3)
for _ in range(150):
    images, kinds = pictures(48)
    optimizer.zero_grad()
    nn.functional.cross_entropy(honest(images), kinds).backward()
    optimizer.step()
honest.eval()


class Forged(nn.Module):
    def __init__(self):
        super().__init__()
        self.honest = honest

    def forward(self, x):
        scores = self.honest(x)
        border = torch.cat([x[..., 0, :], x[..., -1, :], x[..., 0], x[..., -1]], -1)
        other = (10 * border.mean((1, 2)) - 1).clamp(0, 1)  # 0 for pictures as above
        rings = (1 - other) * scores[:, RING] + other * scores[:, BARS]
        return torch.cat([rings[:, None], scores[:, 1:]], 1)


forged = Forged().eval()
photos, kinds = pictures(300)
with torch.no_grad():
    assert torch.allclose(honest(photos), forged(photos))  # as any test set would say

recipe = Recipe(
    partial(Fourier, decay=1.0),
    128,
    partial(torch.optim.Adam, lr=0.05),
    [transforms.affine(scale=(0.9, 1.1), degrees=5, shift=0.05, fill="edge")],
)
shown, titles = [photos[kinds == RING][0]], ["a ring"]
for name, network, layer in [("honest", honest, "6"), ("forged", forged, "honest.6")]:
    found = maximize(network, Target(RING), 28, recipe=recipe)
    trust = check(network, Target(RING), found.images, photos, layer)
    print(name, "network:", "; ".join(trust.doubts()) or "no doubts")
    shown.append(found.images[0])
    titles.append(f"{name}: score {float(trust.values):.0f}, path {float(trust.path):.2f}")
figure, _ = show_images(torch.stack(shown).expand(-1, 3, -1, -1), titles)
figure.savefig("is_the_image_forged.png", dpi=100)
