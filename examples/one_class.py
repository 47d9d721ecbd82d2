"""keras-vis's `visualize_activation`: what does the network see as class 385, an Indian elephant?

keras-vis drew it for VGG16; the same lines do so with
`torchvision.models.vgg16(weights="DEFAULT")`, which is downloaded, and its ImageNet mean and
deviation. Writes one_class.png.
"""

from captum_cnn_ext.attr import ActivationMaximization
from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import show_images

demo = load_model("demo")  # EfficientNet-Lite0 with its ImageNet weights, offline

found = ActivationMaximization(demo.model).synthesize(
    target=385, size=160, steps=96, mean=demo.mean, std=demo.std
)
title = f"{demo.class_names[385]}: logit {float(found.history[0]):.1f} → {float(found.values):.1f}"
show_images(found.images, [title])[0].savefig("one_class.png", dpi=100)
