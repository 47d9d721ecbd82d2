"""Already using Captum? Its noise tunnels, metrics and upsampling take these classes as they are.

Writes drop_in.png: a map, and the same map averaged over noisy copies of the photo.
"""

import torch
from captum.attr import LayerAttribution, NoiseTunnel
from captum.metrics import infidelity, sensitivity_max

from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions

demo = load_model("demo")
x = demo.preprocess(demo_photos()["rocket"]).unsqueeze(0)
target = demo.model(x).argmax(1)

cam = LayerHiResCam(demo.model, "_conv_head")
plain = cam.attribute(x, target)
smooth = NoiseTunnel(cam).attribute(x, target=target, nt_samples=8, stdevs=0.2)

upsampled = LayerAttribution.interpolate(plain, x.shape[2:], "bilinear").expand_as(x)


def noisy(image):
    noise = 0.2 * torch.randn_like(image)
    return noise, image - noise


wrong = infidelity(
    demo.model, noisy, x, upsampled, target=target, n_perturb_samples=8, normalize=True
)
print("infidelity ", wrong)
print("sensitivity", sensitivity_max(cam.attribute, x, target=target, n_perturb_samples=2))

maps = {"LayerHiResCam": plain, "NoiseTunnel(LayerHiResCam)": smooth}
figure, _ = show_attributions(
    x, maps, mean=demo.mean, std=demo.std, row_titles=[demo.class_names[target]]
)
figure.savefig("drop_in.png", dpi=80)
