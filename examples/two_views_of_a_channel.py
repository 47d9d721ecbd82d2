"""What does a channel look for, and what did it find in a photo? Eight channels, two answers.

Above, an image made from noise to activate the channel; below, the pixels of a photo that did
(guided backpropagation), and the same part of the photo. Writes two_views_of_a_channel.png.
"""

from matplotlib.figure import Figure
from torch.nn.functional import avg_pool2d

from captum_cnn_ext.attr import DeconvNet
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import to_rgb
from captum_cnn_ext.synthesis import Channel, maximize

LAYER, SIDE, PART = "_blocks.5", 61, 45
demo = load_model("demo")
x = demo.preprocess(demo_photos()["chelsea"]).unsqueeze(0)
look = {"mean": demo.mean, "std": demo.std}

found = DeconvNet(demo.model, LAYER).reconstruct(x, top=8, rule="guided")
channels = found.channels[0].tolist()
wanted = maximize(demo.model, Channel(LAYER, channels), SIDE, recipe="lucid", steps=64, **look)

figure = Figure(figsize=(12, 4.9), layout="constrained")
axes = figure.subplots(3, 8)
photo = to_rgb(x[0], **look)
for k, channel in enumerate(channels):
    pixels = found.attributions[0, k]
    energy = avg_pool2d(pixels.square().sum(0, keepdim=True), PART, 1)
    row, column = divmod(int(energy.argmax()), energy.shape[-1])
    part = (slice(row, row + PART), slice(column, column + PART))
    driving = pixels.permute(1, 2, 0)[part]
    axes[0, k].set_title(f"channel {channel}", fontsize=10)
    axes[0, k].imshow(to_rgb(wanted.images[k]))
    strongest = driving.abs().quantile(0.99).clamp_min(1e-12)
    axes[1, k].imshow((0.5 + driving / strongest / 2).clamp(0, 1).numpy())
    axes[2, k].imshow(photo[part])
for axis in axes.flat:
    axis.set_axis_off()
figure.savefig("two_views_of_a_channel.png", dpi=75)
