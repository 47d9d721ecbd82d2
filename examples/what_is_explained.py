"""Explain a box, an area, a difference, several labels or a pair of images, not only a class.

A detector and a segmentation network made by hand find red and blue balls: each map keeps to its
own ball. Below them a cat: as a tabby rather than a lynx, as either of the two, and what makes it
resemble its own mirror image. Writes boxes_and_areas.png and classes_and_pairs.png.
"""

import torch
import torch.nn.functional as F
from torch import nn

from captum_cnn_ext import targets
from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions


class Balls(nn.Module):
    """Redness and blueness, blurred: as maps of classes, or the peaks of these as boxes."""

    def __init__(self, boxes):
        super().__init__()
        self.colors, self.blur, self.boxes = nn.Conv2d(3, 2, 1), nn.AvgPool2d(9, 1, 4), boxes
        with torch.no_grad():
            self.colors.weight.copy_(torch.tensor([[1.0, -1, -1], [-1, -1, 1]])[..., None, None])
            self.colors.bias.zero_()

    def forward(self, x):
        maps = self.blur(self.colors(x).relu())
        if not self.boxes:
            return torch.cat([0.2 + 0 * maps[:, :1], maps], 1)
        return [self.found(each) for each in maps]

    def found(self, maps):
        peaks = (maps == F.max_pool2d(maps[None], 31, 1, 15)[0]) & (maps > 0.3)
        label, y, x = peaks.nonzero().T
        boxes = torch.stack([x - 12, y - 12, x + 13, y + 13], 1).float()
        order = maps[label, y, x].argsort(descending=True)
        scores = maps[label, y, x][order]
        return {"boxes": boxes[order], "labels": label[order] + 1, "scores": scores}


y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
image = torch.full((1, 3, 96, 96), 0.6) + 0.05 * torch.rand(3, 96, 96)
for column, row, color in (
    (30, 40, (0.9, 0.2, 0.1)),
    (54, 44, (0.1, 0.2, 1.0)),
    (70, 76, (1, 0, 0)),
):
    ball = torch.exp(-((((x - column) ** 2 + (y - row) ** 2) / 144) ** 6))
    image = image * (1 - ball) + torch.tensor(color)[:, None, None] * ball

detector, segmenter = Balls(boxes=True).eval(), Balls(boxes=False).eval()
asked = [targets.Boxes(0), targets.Boxes(0, label=2), targets.Boxes(label=1), targets.Segment(2)]
maps, outlined = [], []
for target in asked:
    network = segmenter if isinstance(target, targets.Segment) else detector
    maps.append(LayerHiResCam(network, "colors").attribute(image, target))
    outlined.append(None if network is segmenter else target.boxes(detector(image))[0])
figure, _ = show_attributions(
    image.expand(4, -1, -1, -1),
    {"LayerHiResCam": torch.cat(maps)},
    row_titles=[str(target) for target in asked],
    boxes=outlined,
)
figure.savefig("boxes_and_areas.png", dpi=80)

demo = load_model("demo")
cat = demo.preprocess(demo_photos()["chelsea"]).unsqueeze(0)
mirrored = cat.flip(3)
tabby, lynx = demo.class_names.index("tabby"), demo.class_names.index("lynx")
of_cat, _ = targets.Similarity.pair(demo.model, cat, mirrored)
asked = [targets.Difference(tabby, lynx), targets.Several([tabby, lynx]), of_cat]
cam = LayerHiResCam(demo.model, "_conv_head")
named = ["tabby rather than lynx", "tabby or lynx", "like its mirror image"]
columns = {name: cam.attribute(cat, target) for name, target in zip(named, asked, strict=True)}
figure, _ = show_attributions(cat, columns, mean=demo.mean, std=demo.std)
figure.savefig("classes_and_pairs.png", dpi=80)
