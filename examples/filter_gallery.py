"""Chollet's gallery: what the channels of a layer look for, the most excited first.

An early layer of a trained network looks for stripes and colours, a middle one for textures. His
own recipe is `recipe="chollet"`, his network `torchvision.models.vgg16(weights="DEFAULT")`, which
is downloaded. Writes filter_gallery.png.
"""

from matplotlib.figure import Figure

from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import to_rgb
from captum_cnn_ext.synthesis import filter_atlas

demo = load_model("demo")
look = {"best": 16, "size": 64, "mean": demo.mean, "std": demo.std}
galleries = {
    "_blocks.1": filter_atlas(demo.model, "_blocks.1", range(16), steps=48, **look),
    "_blocks.5": filter_atlas(demo.model, "_blocks.5", range(16), steps=40, **look),
}

figure = Figure(figsize=(10, 5.2), layout="constrained")
for axis, (layer, atlas) in zip(figure.subplots(1, 2), galleries.items(), strict=True):
    axis.imshow(to_rgb(atlas.stitched()))
    axis.set_title(f"EfficientNet-Lite0, {layer}: 16 channels", fontsize=9)
    axis.set_axis_off()
figure.savefig("filter_gallery.png", dpi=100)
