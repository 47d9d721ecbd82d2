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


class TwoLevels(nn.Module):
    """Two boxes: a small one that is read off a fine map, a large one off a coarse map.

    As in SSD the small one knows nothing of the coarse map; with ``pyramid`` it gets that map
    enlarged as well, as in feature pyramids. A level's mean is the box's score.
    """

    def __init__(self, pyramid=False):
        super().__init__()
        self.body = nn.ModuleDict({
            "fine": nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()),
            "coarse": nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU()),
        })  # fmt: skip
        self.levels = nn.ModuleList([nn.Conv2d(4, 5, 1), nn.Conv2d(6, 5, 1)])
        self.head, self.pyramid = nn.Conv2d(5, 1, 3, padding=1), pyramid

    def forward(self, x):
        fine = self.body["fine"](x)
        coarse = self.body["coarse"](fine)
        if self.pyramid:
            fine = fine + nn.functional.interpolate(coarse[:, :4], scale_factor=2)
        large, small = self.levels[1](coarse), self.levels[0](fine)
        scores = torch.stack([self.head(one).mean((1, 2, 3)) for one in (small, large)], 1)
        boxes = x.new_tensor([[0, 0, 4, 4], [0, 0, 8, 8]])
        labels = torch.tensor([1, 2], device=x.device)
        return [{"boxes": boxes, "labels": labels, "scores": own} for own in scores]


class Ultralytics(nn.Module):
    """The layout of a YOLOv8: backbone, path aggregation, a head of three levels.

    In evaluation it gives a tensor (N, 4 + classes, anchors) and what training needs: boxes as
    (x, y, width, height) in pixels, scores of 0 to 1.
    """

    def __init__(self, classes=3, width=4):
        super().__init__()
        w = width

        def conv(inputs, outputs, stride=1):
            return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.SiLU())

        self.model = nn.Sequential(
            conv(3, w, 2), conv(w, w, 2), conv(w, w), conv(w, w, 2), conv(w, w), conv(w, w, 2),
            nn.Upsample(scale_factor=2), conv(2 * w, w), nn.Upsample(scale_factor=2),
            conv(2 * w, w), conv(w, w, 2), conv(2 * w, w), conv(w, w, 2), conv(2 * w, w),
            UltralyticsHead(classes, w),
        )  # fmt: skip

    def forward(self, x):
        m, both = self.model, lambda *maps: torch.cat(maps, 1)
        p3 = m[2](m[1](m[0](x)))
        p4 = m[4](m[3](p3))
        p5 = m[5](p4)
        n4 = m[7](both(m[6](p5), p4))
        n3 = m[9](both(m[8](n4), p3))
        n4 = m[11](both(m[10](n3), n4))
        n5 = m[13](both(m[12](n4), p5))
        return m[14]([n3, n4, n5])


class UltralyticsHead(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.cv2 = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in range(3))
        self.cv3 = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in range(3))
        self.dfl = nn.Conv1d(4, 4, 1)  # its real one is a convolution too, over distances

    def forward(self, maps):
        rows = []
        for level, one in enumerate(maps):
            stride = 4 * 2**level
            sizes = [
                torch.arange(n, device=one.device) * stride + stride / 2 for n in one.shape[2:]
            ]
            y, x = torch.meshgrid(*sizes, indexing="ij")
            sides = (1 + self.cv2[level](one).sigmoid()) * 2 * stride
            middle = torch.stack([x, y]).expand(len(one), -1, -1, -1)
            scores = self.cv3[level](one).sigmoid()
            rows.append(torch.cat([middle, sides[:, 2:], scores], 1).flatten(2))
        rows = torch.cat(rows, 2)
        return torch.cat([rows[:, :4] + 0 * self.dfl(rows[:, :4]), rows[:, 4:]], 1), maps


class Detr(nn.Module):
    """The layout of a DETR of transformers: convolutions, attention of queries, two linear heads.

    It gives an object like their ModelOutput: a mapping whose parts are attributes too.
    """

    def __init__(self, classes=3, queries=5, width=8):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(),
                                      nn.Conv2d(width, width, 3, 2, 1), nn.ReLU())  # fmt: skip
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.labels, self.boxes = nn.Linear(width, classes + 1), nn.Linear(width, 4)

    def forward(self, pixel_values):
        tokens = self.backbone(pixel_values).flatten(2).transpose(1, 2)
        queries = self.queries.expand(len(tokens), -1, -1)
        found, _ = self.attention(queries, tokens, tokens)
        return ModelOutput(
            logits=self.labels(found),
            pred_boxes=self.boxes(found).sigmoid(),
            last_hidden_state=found,
        )


class ModelOutput(dict):
    __getattr__ = dict.get


class Results:
    """What ultralytics' own prediction gives for an image: boxes with xyxy, cls and conf."""

    def __init__(self, found):
        self.boxes = self
        self.xyxy, self.cls, self.conf = found["boxes"], found["labels"].float(), found["scores"]
