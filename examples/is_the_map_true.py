"""Is the map faithful? The score as the places that it ranks highest are added or taken away.

A blob in the centre does not use the network, and a map has to beat it: here on 16 crops of photos,
in which the object is not always in the centre. Writes is_the_map_true.png.
"""

import torch
from matplotlib.figure import Figure

from captum_cnn_ext import metrics
from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos

demo = load_model("demo")
parts = []
for photo in demo_photos().values():
    width, height = photo.size
    w, h = width * 3 // 4, height * 3 // 4
    for left, top in [(0, 0), (width - w, 0), (0, height - h), (width - w, height - h)]:
        parts.append(photo.crop((left, top, left + w, top + h)))
x = torch.stack([demo.preprocess(part) for part in parts])
target = demo.model(x).argmax(1)

maps = {
    "HiResCAM": LayerHiResCam(demo.model, "_conv_head").attribute(x, target),
    "blob in the centre": metrics.gaussian_map(x),
}
figure = Figure(figsize=(10, 3.8), layout="constrained")
left, right = figure.subplots(1, 2)
quality = {}
for name, heat in maps.items():
    up, down = metrics.insertion_and_deletion(demo.model, x, heat, target=target, steps=8)
    quality[name] = up.area - down.area
    left.plot(up.fractions, up.scores.mean(0), label=name)
left.set_xlabel("share of the photo shown, strongest places first")
left.set_ylabel("probability of the class")
left.set_title(f"Insertion, mean of {len(x)} images")
left.legend(frameon=False)

difference = (quality["HiResCAM"] - quality["blob in the centre"]).sort().values
better = int((difference > 0).sum())
colors = ["tab:blue" if value > 0 else "tab:orange" for value in difference]
right.bar(range(len(x)), difference.tolist(), color=colors)
right.axhline(0, color="0.3", linewidth=0.8)
right.set_xlabel("images, sorted")
right.set_ylabel("insertion - deletion, map minus blob")
right.set_title(f"Mean {float(difference.mean()):+.2f}; HiResCAM is better on {better} of {len(x)}")
figure.savefig("is_the_map_true.png", dpi=85)
