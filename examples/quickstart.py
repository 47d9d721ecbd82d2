"""Where is the evidence for a class? Captum's Grad-CAM, HiResCAM and LayerCAM at three layers.

Writes quickstart.png.
"""

import torch
from captum.attr import LayerGradCam

from captum_cnn_ext.attr import LayerHiResCam, LayerLayerCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions

demo = load_model("demo")  # EfficientNet-Lite0 with its ImageNet weights, from pip packages
x = demo.preprocess(demo_photos()["coffee"]).unsqueeze(0)
target = demo.model(x).argmax(1)  # espresso

layers = ["_blocks.4", "_blocks.10", "_conv_head"]
columns = {}
for method in (LayerGradCam, LayerHiResCam, LayerLayerCam):
    maps = [
        method(demo.model, demo.model.get_submodule(layer)).attribute(x, target) for layer in layers
    ]
    title = f"{'Captum' if method is LayerGradCam else 'captum_cnn_ext'} {method.__name__}"
    columns[title] = torch.cat([method.interpolate(m, (224, 224), "bilinear") for m in maps])

figure, _ = show_attributions(
    x.expand(3, -1, -1, -1), columns, mean=demo.mean, std=demo.std, row_titles=layers
)
figure.savefig("quickstart.png", dpi=80)
