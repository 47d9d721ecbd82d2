"""Sixteen kernels of resnet50.layer1 by two methods: what each wants, and what it saw in a photo.

Above, images optimised for the channel; below, the guided reconstruction of its strongest unit in
a photo, cropped to the pixels that it sees. The weights are random here; `weights="DEFAULT"`
(which downloads) gives trained ones. Writes first_kernels.png.
"""

import torch
from matplotlib.figure import Figure
from torchvision.models import ResNet50_Weights, resnet50

from captum_cnn_ext.attr import DeconvNet
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import to_rgb
from captum_cnn_ext.synthesis import Channel, maximize

torch.manual_seed(0)
model = resnet50().eval()
preprocess = ResNet50_Weights.DEFAULT.transforms()
x = preprocess(demo_photos()["chelsea"]).unsqueeze(0)
kernels = list(range(16))

wanted = maximize(
    model,
    Channel("layer1.0.conv2", kernels),
    image=48,
    recipe="lucid",
    steps=24,
    mean=preprocess.mean,
    std=preprocess.std,
)
seen = DeconvNet(model, "layer1.0.conv2").reconstruct(x, kernels, rule="guided")

figure = Figure(figsize=(12, 2), layout="constrained")
axes = figure.subplots(2, 16)
for k in kernels:
    (top, bottom), (left, right) = seen.boxes[0, k].tolist()
    crop = seen.attributions[0, k, :, top:bottom, left:right].permute(1, 2, 0)
    axes[0, k].imshow(to_rgb(wanted.images[k]))
    axes[0, k].set_title(f"{k}", fontsize=7)
    axes[1, k].imshow((0.5 + 0.5 * crop / crop.abs().max().clamp_min(1e-12)).numpy())
for axis in axes.flat:
    axis.set_axis_off()
figure.savefig("first_kernels.png", dpi=100)
