"""What do these photos share? The activations of a layer, split into a few common parts.

Here part 1 marks eyes and badges, part 2 rims and edges. Writes shared_concepts.png, with a column
for each part; needs the extra `decomposition`.
"""

import torch

from captum_cnn_ext.attr import LayerDeepFeatureFactorization
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions

demo = load_model("demo")
photos = demo_photos()
x = torch.stack([demo.preprocess(photos[name]) for name in ("astronaut", "chelsea", "coffee")])

parts = LayerDeepFeatureFactorization(demo.model, "_blocks.10", components=4).attribute(x)
maps = {f"part {i}": parts[:, i : i + 1] for i in range(4)}
figure, _ = show_attributions(
    x, maps, mean=demo.mean, std=demo.std, row_titles=["astronaut", "chelsea", "coffee"]
)
figure.savefig("shared_concepts.png", dpi=80)
