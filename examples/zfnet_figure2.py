"""Which patches excite a unit, and what in them? Figure 2 of Zeiler and Fergus, for any network.

For six channels, the strongest patches among many tiles of the photos, and beside them their guided
reconstructions. Writes zfnet_figure2.png.
"""

import torch
import torch.nn.functional as F

from captum_cnn_ext.attr import DeconvNet
from captum_cnn_ext.evidence import top_patches
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_patches

FIELD = 100  # more pixels than a unit of this layer sees
demo, layer = load_model("demo"), "_blocks.4"
photos = [demo.preprocess(photo) for photo in demo_photos().values()]
tiles = [x[:, r : r + 112, c : c + 112] for x in photos for r in (0, 56, 112) for c in (0, 56, 112)]

top = top_patches(demo.model, layer, tiles, k=5)
print(top)
channels = top.values[:, 0].topk(6).indices.tolist()  # those with the strongest units

# this network has no max-pooling, so a deconvnet picture would not depend on the photo: guided
deconvnet, reconstructions = DeconvNet(demo.model, layer), []
for channel in channels:
    images = torch.stack(top.inputs(tiles, channel))
    pictures = deconvnet.attribute(images, channel, rule="guided")[:, 0]
    boxes = top.outer[top.row(channel)].tolist()
    framed = F.pad(pictures, [FIELD] * 4)  # units at a tile's border see beyond it
    reconstructions.append(
        [p[:, a + FIELD : b + FIELD, c + FIELD : d + FIELD]
         for p, ((a, b), (c, d)) in zip(framed, boxes, strict=True)]
    )  # fmt: skip

figure, _ = show_patches(
    top.patches(tiles, channels, pad=0),
    reconstructions,
    mean=demo.mean,
    std=demo.std,
    row_titles=[f"{channel}" for channel in channels],
    values=top.values[channels],
    title=f"{layer}: the strongest patches of {top.seen} tiles, and what drives the unit there",
)
figure.savefig("zfnet_figure2.png", dpi=100)
