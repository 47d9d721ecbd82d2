"""Why this class and not that one? Many classes explained with one forward pass.

The second row subtracts what similar classes have in common. Where nothing is positive, nothing in
the photo speaks more for this class than for those like it. Writes two_classes.png.
"""

import torch

from captum_cnn_ext.attr import LayerFinerCam, LayerHiResCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions

demo = load_model("demo")
x = demo.preprocess(demo_photos()["chelsea"]).unsqueeze(0)
top = demo.model(x)[0].topk(3).indices

columns = {}
plain = LayerHiResCam(demo.model, "_conv_head").attribute_targets(x, top[None])[0]
finer = LayerFinerCam(demo.model, "_conv_head").attribute_targets(x, top[None])[0]
for i, target in enumerate(top.tolist()):
    columns[demo.class_names[target]] = torch.stack([plain[i], finer[i]])

figure, _ = show_attributions(
    x.expand(2, -1, -1, -1),
    columns,
    mean=demo.mean,
    std=demo.std,
    row_titles=["LayerHiResCam", "LayerFinerCam"],
)
figure.savefig("two_classes.png", dpi=80)
