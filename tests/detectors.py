"""Small detectors and segmentation networks, and literal scores of what they give."""

import torch
from torch import nn


class Spots(nn.Module):
    """A detector of one stage: how many boxes it gives depends on the image.

    Every position has a box of its own size and two classes; what scores above a threshold is
    given, the strongest first, without suppression.
    """

    def __init__(self, channels=2, threshold=0.8, most=30):
        super().__init__()
        self.threshold, self.most = threshold, most
        self.stem = nn.Conv2d(channels, 4, 3, padding=1)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(4, 2 + 2, 1)

    def forward(self, x):
        maps = self.head(self.relu(self.block(torch.relu(self.stem(x)))))
        return [self.found(one) for one in maps]

    def found(self, maps):
        scores, labels = maps[:2].sigmoid().max(0)
        sizes = 1 + maps[2:].sigmoid()
        y, x = torch.meshgrid(*(torch.arange(n) for n in scores.shape), indexing="ij")
        middle = torch.stack([x, y]).to(maps)
        boxes = torch.cat([middle - sizes, middle + sizes]).flatten(1).T
        scores, labels = scores.flatten(), labels.flatten() + 1
        kept = (scores.detach() > self.threshold).nonzero().flatten()
        kept = kept[scores.detach()[kept].argsort(descending=True)][: self.most]
        return {"boxes": boxes[kept], "labels": labels[kept], "scores": scores[kept]}


class Areas(nn.Module):
    """A segmentation network of three classes, which gives a dictionary as torchvision's do."""

    def __init__(self, channels=2):
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3, padding=1)
        self.block = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Conv2d(4, 3, 1)

    def forward(self, x):
        maps = self.head(self.relu(self.block(torch.relu(self.stem(x)))))
        return {"out": maps, "aux": self.head(self.stem(x))}


class Literal(nn.Module):
    """A model that returns one score for each row, by a function of one row's output."""

    def __init__(self, model, score):
        super().__init__()
        self.model, self.score = model, score

    def forward(self, x):
        output = self.model(x)
        if isinstance(output, dict):
            rows = [{k: v[n : n + 1] for k, v in output.items()} for n in range(len(x))]
        else:
            rows = [[one] for one in output]
        return torch.stack([self.score(row) for row in rows])


def overlap(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def score_of_box(box, label):
    """The strongest detection of the class that overlaps the box by half, else 0."""

    def score(output):
        (found,) = output
        best = found["scores"].sum() * 0
        for n, own in enumerate(found["boxes"].tolist()):
            fits = found["labels"][n] == label and overlap(own, box) >= 0.5
            if fits and found["scores"][n] > best:
                best = found["scores"][n]
        return best

    return score


def score_of_area(label, pixels):
    """The mean of a class over a list of pixels (y, x)."""
    return lambda output: sum(output["out"][0, label, y, x] for y, x in pixels) / len(pixels)
