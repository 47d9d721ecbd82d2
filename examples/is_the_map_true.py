"""Is the map true? The score while the pixels that a map ranks highest are put in or taken out.

A centred Gaussian and random numbers are what a map must beat. Writes is_the_map_true.png.
"""

import torch

from captum_cnn_ext import metrics
from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_curves

demo = load_model("demo")
x = torch.stack([demo.preprocess(photo) for photo in demo_photos().values()])
target = demo.model(x).argmax(1)

maps = {
    "HiResCAM": LayerHiResCam(demo.model, "_conv_head").attribute(x, target),
    "centred Gaussian": metrics.gaussian_map(x),
    "random": metrics.random_map(x, 0),
}
curves = {}
for name, heat in maps.items():
    curves[name] = metrics.insertion(demo.model, x, heat, target=target, steps=12)

figure, _ = show_curves(
    curves, label="probability of the class", xlabel="share of the photo shown", title="Insertion"
)
figure.savefig("is_the_map_true.png", dpi=100)
