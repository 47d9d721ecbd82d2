"""Chollet's gallery: what the channels of a VGG-shaped network look for, the best of 64 first.

The network is small and its weights are random but for the first layer; with `vgg16` and its
ImageNet weights the same lines draw the pictures of his blog. Beside it a layer of a trained
network. Writes filter_gallery.png.
"""

import torch
from matplotlib.figure import Figure
from torchvision.models import vgg11

from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import to_rgb
from captum_cnn_ext.synthesis import filter_atlas

torch.manual_seed(0)
vgg = vgg11().eval()
demo = load_model("demo")
galleries = {
    "vgg11 (random weights), features.3": filter_atlas(
        vgg, "features.3", range(36), best=25, size=64, recipe="chollet", steps=20
    ),
    "EfficientNet-Lite0, _blocks.2": filter_atlas(
        demo.model, "_blocks.2", best=25, size=64, steps=48, mean=demo.mean, std=demo.std
    ),
}

figure = Figure(figsize=(10, 5.2), layout="constrained")
for axis, (name, atlas) in zip(figure.subplots(1, 2), galleries.items(), strict=True):
    axis.imshow(to_rgb(atlas.stitched()))
    axis.set_title(f"{name}: best {len(atlas.images)}", fontsize=9)
    axis.set_axis_off()
figure.savefig("filter_gallery.png", dpi=100)
