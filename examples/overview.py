"""What is in the package, in one picture: maps, pixels that drive a channel, classes, a shortcut.

Takes about a minute. Writes overview.png.
"""

import numpy as np
from matplotlib.figure import Figure
from PIL import ImageDraw
from torch.nn.functional import avg_pool2d

from captum_cnn_ext import explain
from captum_cnn_ext.attr import DeconvNet, FullGrad, LayerHiResCam, Occlusion
from captum_cnn_ext.insights.dataset.demo import TAG
from captum_cnn_ext.insights.dataset.demo import demo as network_with_a_shortcut
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import overlay, to_rgb
from captum_cnn_ext.synthesis import Target, maximize

demo = load_model("demo")
look = {"mean": demo.mean, "std": demo.std}
cup, cat = (demo.preprocess(demo_photos()[name])[None] for name in ("coffee", "chelsea"))
espresso = int(demo.model(cup).argmax())

figure = Figure(figsize=(12, 5.3), layout="constrained")
axes = figure.subplots(2, 5)


def show(axis, title, picture):
    axis.imshow(np.asarray(picture))
    axis.set_title(title, fontsize=11)


# where is the evidence for "espresso"?
windows = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 16, 16)}
maps = {
    "HiResCAM": LayerHiResCam(demo.model, "_conv_head").attribute(cup, espresso),
    "Occlusion": Occlusion(demo.model).attribute(cup, target=espresso, **windows),
    "FullGrad": FullGrad(demo.model).attribute(cup, espresso),
}
show(axes[0, 0], "“espresso”, 95 %", to_rgb(cup[0], **look))
for axis, (name, heat) in zip(axes[0, 1:4], maps.items(), strict=True):
    overlay(cup[0], heat[0], plt_fig_axis=(figure, axis), **look)
    axis.set_title(name, fontsize=11)

# which pixels drive a channel? (guided: this network has no max-pooling for a deconvnet)
pixels = DeconvNet(demo.model, "_blocks.10").reconstruct(cat, top=1, rule="guided").attributions
energy = avg_pool2d(pixels[0].square().sum(1), 71, 1)  # of each square of 71 pixels
row, column = divmod(int(energy.argmax()), energy.shape[-1])
part = (slice(row, row + 71), slice(column, column + 71))
driving = pixels[0, 0].permute(1, 2, 0)[part]
show(axes[1, 0], "a part of a photo", to_rgb(cat[0], **look)[part])
strongest = driving.abs().quantile(0.99)
show(axes[1, 1], "… and what drives a channel", (0.5 + driving / strongest / 2).clamp(0, 1))

# what does the network look for in a class?
classes = maximize(demo.model, Target([340, 980]), 160, steps=96, **look)
show(axes[0, 4], "“zebra”, synthesised", to_rgb(classes.images[0]))
show(axes[1, 2], "“volcano”, synthesised", to_rgb(classes.images[1]))

# a network that learnt to look at the tag in the corner of its squares
model, photos = network_with_a_shortcut()
circle = photos.picture(photos.labels.index(photos.classes.index("circle")))
ImageDraw.Draw(circle).rectangle(TAG, fill=(250, 210, 40), outline=(20, 20, 20))
found = explain(model, circle, check=False)
show(axes[1, 3], f"a circle, called “{found.prediction}”", circle)
seen = found.comparison.inputs[0]
overlay(
    seen, found.attributions[0], plt_fig_axis=(figure, axes[1, 4]), mean=model.mean, std=model.std
)
axes[1, 4].set_title("… because of the tag", fontsize=11)

for axis in axes.flat:
    axis.set_axis_off()
figure.savefig("overview.png", dpi=100)
