"""How much of the photo can a unit see, and how much of that counts?

Writes receptive_fields.png.
"""

import torch

from captum_cnn_ext.evidence import effective_receptive_field, receptive_field
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_receptive_fields

demo = load_model("demo")
x = torch.stack([demo.preprocess(photo) for photo in demo_photos().values()])

boxes, effective = {}, {}
for layer in ("_blocks.1", "_blocks.4", "_blocks.7", "_blocks.10"):
    field = receptive_field(demo.model, layer, x[:1])
    counts = effective_receptive_field(demo.model, layer, x)
    name = f"{layer}: {field.size[0]} pixels, {counts.size:.0f} count"
    boxes[name], effective[name] = field.box(*counts.position), counts.map
    print(field)

figure, _ = show_receptive_fields(x[3], boxes, effective, mean=demo.mean, std=demo.std)
figure.savefig("receptive_fields.png", dpi=100)
