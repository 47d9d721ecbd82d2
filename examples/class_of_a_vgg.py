"""keras-vis, `visualize_activation`: class 385 (Indian elephant) of a VGG-shaped network.

With `weights="DEFAULT"` (which downloads) the picture shows an elephant; offline the weights are
random and the lines only show how it is done. Writes class_of_a_vgg.png.
"""

import torch
from torchvision.models import vgg11

from captum_cnn_ext.attr import ActivationMaximization
from captum_cnn_ext.render import show_images

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
torch.manual_seed(0)
model = vgg11().eval()

found = ActivationMaximization(model).synthesize(
    target=385, size=96, steps=24, mean=MEAN, std=STD, recipe="lucid"
)
title = f"class 385: {float(found.history[0]):.2f} → {float(found.values):.2f}"
show_images(found.images, [title])[0].savefig("class_of_a_vgg.png", dpi=100)
