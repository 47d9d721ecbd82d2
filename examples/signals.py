"""Which part of a signal decides? A small network for recordings with three channels.

The two classes differ by a short burst in channel 1. HiResCAM has one map for all channels and
shows when; Occlusion, channel by channel, also shows where. Writes signals.png.
"""

import torch
from torch import nn

from captum_cnn_ext.attr import LayerHiResCam, Occlusion
from captum_cnn_ext.render import show_signals

torch.manual_seed(0)


def recordings(count):
    """(N, 3, 200) of slow waves with noise, and whether a burst was put in."""
    place = torch.arange(200.0)
    waves = torch.sin(place / 12 + 6 * torch.rand(count, 3, 1)) + 0.3 * torch.randn(count, 3, 200)
    labels = torch.arange(count) % 2
    middle = torch.randint(40, 160, (count, 1))
    burst = torch.exp(-(((place - middle) / 6) ** 2)) * torch.sin(place * 1.5)
    waves[:, 1] += 2 * burst * labels[:, None]
    return waves, labels


model = nn.Sequential(
    *(nn.Conv1d(3, 16, 9, padding=4), nn.ReLU(), nn.MaxPool1d(2)),
    *(nn.Conv1d(16, 16, 9, padding=4), nn.ReLU()),
    *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 2)),
)
optimizer = torch.optim.Adam(model.parameters(), 1e-2)
for _ in range(60):
    signals, labels = recordings(64)
    loss = nn.functional.cross_entropy(model(signals), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()

signals = recordings(4)[0][1::2]  # two with a burst
with torch.no_grad():
    shares = model(signals).softmax(1)[:, 1].tolist()
maps = {
    "HiResCAM": LayerHiResCam(model, "3").attribute(signals, target=1),
    "Occlusion": Occlusion(model).attribute(signals, (1, 9), strides=(1, 3), target=1),
}
figure, _ = show_signals(signals, maps, row_titles=[f"burst: {share:.2f}" for share in shares])
figure.savefig("signals.png", dpi=110)
