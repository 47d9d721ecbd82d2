"""DeepDream: a photo in which layers see more of what they already see.

Writes deep_dream.png.
"""

import numpy as np
import torch

from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_images
from captum_cnn_ext.synthesis import deep_dream

demo = load_model("demo")
cat = demo_photos()["chelsea"]
cat.thumbnail((256, 256))
photo = torch.from_numpy(np.array(cat)).permute(2, 0, 1)[None] / 255

dream = deep_dream(
    demo.model,
    photo,
    {"_blocks.5": 1.0, "_blocks.9": 2.0},
    steps=12,
    step_size=0.01,
    mean=demo.mean,
    std=demo.std,
)
figure, _ = show_images(torch.cat([photo, dream.images]), ["photo", "dream"])
figure.savefig("deep_dream.png", dpi=120)
