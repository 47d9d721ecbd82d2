"""Audit your own network: one HTML file to share, with the numbers beside it.

Writes audit.html, audit.npz, audit.manifest.json and audit.tables.
"""

import torch
from torchvision.models import ResNet18_Weights, resnet18

from captum_cnn_ext.insights import audit
from captum_cnn_ext.photos import demo_photos

torch.manual_seed(0)
model = resnet18().eval()  # your trained network here
preprocess = ResNet18_Weights.DEFAULT.transforms()  # what it was trained with
photos = dict(list(demo_photos().items())[:2])

done = audit(model, photos, preprocess=preprocess, layers=["layer3", "layer4"])
print(done.save("audit.html"))
