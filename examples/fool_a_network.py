"""Fooling: change a photo of a cup until the network is over 99 % sure that it is a school bus.

It starts at the photo and changes bare pixels, so that the change can hardly be seen. Writes
fool_a_network.png.
"""

import functools

import torch

from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_images
from captum_cnn_ext.synthesis import Pixels, Target, maximize, regularizers

BUS = 779
demo = load_model("demo")
mean, std = (torch.tensor(v).reshape(3, 1, 1) for v in (demo.mean, demo.std))
photo = (demo.preprocess(demo_photos()["coffee"]) * std + mean).clamp(0, 1)[None]

found = maximize(
    demo.model,
    Target(BUS),
    photo,
    parameterization=Pixels,
    steps=20,
    optimizer=functools.partial(torch.optim.SGD, lr=1 / 255),
    transforms=[],
    regularizers=[regularizers.NormalizeGradient("rms")],
    mean=demo.mean,
    std=demo.std,
)
images = torch.cat([photo, found.images])
with torch.no_grad():
    shares = demo.model((images - mean) / std).softmax(1)
assert shares[1, BUS] > 0.99

change = (found.images - photo).abs().mean() * 255
titles = [f"{demo.class_names[s.argmax()]}: {s.max():.3f}" for s in shares]
figure, _ = show_images(images, titles, note=f"mean change of a pixel: {change:.1f} of 255")
figure.savefig("fool_a_network.png", dpi=100)
