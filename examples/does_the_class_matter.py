"""Does the picture depend on the class? That of guided backpropagation hardly does.

Above, the most likely class; below, the least likely one. The guided picture hardly changes, the
gradient and the guided CAM do. Writes does_the_class_matter.png.
"""

import torch
from captum.attr import Saliency

from captum_cnn_ext.attr import GuidedBackprop, GuidedCam, LayerHiResCam, class_blindness
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions

demo = load_model("demo")
x = demo.preprocess(demo_photos()["astronaut"]).unsqueeze(0)
scores = demo.model(x)[0].detach()
targets = [int(scores.argmax()), int(scores.argmin())]
for rule in ("guided", "gradient"):
    print(f"{rule:9} cosine of the two: {float(class_blindness(demo.model, x, rule)):.2f}")

methods = {
    "GuidedBackprop": GuidedBackprop(demo.model),
    "Captum Saliency": Saliency(demo.model),
    "GuidedCam of HiResCAM": GuidedCam(LayerHiResCam(demo.model, "_conv_head")),
}
columns = {}
for name, method in methods.items():
    found = [method.attribute(x.clone().requires_grad_(), target=t).detach() for t in targets]
    columns[name] = torch.cat(found).abs().sum(1, keepdim=True)

figure, _ = show_attributions(
    x.expand(2, -1, -1, -1),
    columns,
    method="heat_map",
    mean=demo.mean,
    std=demo.std,
    row_titles=[demo.class_names[t] for t in targets],
)
figure.savefig("does_the_class_matter.png", dpi=80)
