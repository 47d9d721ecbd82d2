"""What if part of the photo were blank? Captum's Occlusion, window by window, and ours.

The values are the same, but ours recomputes in each layer only what the window can change. Writes
occlusion.png.
"""

import time

import captum.attr

from captum_cnn_ext import attr
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions

demo = load_model("demo")
x = demo.preprocess(demo_photos()["coffee"]).unsqueeze(0)
window = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 16, 16), "target": 967}

maps = {}
for where in (captum.attr, attr):
    start = time.perf_counter()
    found = where.Occlusion(demo.model).attribute(x, **window)
    name = where.__name__.split(".")[0]
    maps[name] = found.sum(1, keepdim=True)
    print(f"{name:15} {time.perf_counter() - start:.1f} s")
theirs, ours = maps.values()
print(f"largest difference: {(theirs - ours).abs().max() / (theirs.max() - theirs.min()):.0e}")

figure, _ = show_attributions(
    x, maps, sign="all", mean=demo.mean, std=demo.std, row_titles=["espresso"]
)
figure.savefig("occlusion.png", dpi=80)
