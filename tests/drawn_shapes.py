"""A square and a disc that touch, drawn by code, and two networks that learn them in seconds."""

import torch
import torch.nn.functional as F
from torch import nn

SIZE, SQUARE, DISC = 32, 1, 2


def scenes(count, seed):
    """Images (N, 3, 32, 32), their label maps, and the boxes of square and disc (N, 2, 4)."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    images, maps, boxes = [], [], []

    def drawn(low, high):
        return int(torch.randint(low, high, (1,), generator=generator))

    for _ in range(count):
        radius = drawn(4, 6)
        top, left = drawn(1, SIZE - 2 * radius - 1), drawn(1, SIZE - 4 * radius - 1)
        sides = [left, left + 2 * radius]
        square, disc = sides[:: 1 if drawn(0, 2) else -1]
        middle = disc + radius - 0.5, top + radius - 0.5
        labels = torch.zeros(SIZE, SIZE, dtype=torch.long)
        rows = (y >= top) & (y < top + 2 * radius)
        labels[(x >= square) & (x < square + 2 * radius) & rows] = SQUARE
        labels[(x - middle[0]) ** 2 + (y - middle[1]) ** 2 < radius**2] = DISC
        colors = torch.tensor([[0.0, 0, 0], [0.9, 0.5, 0.2], [0.4, 0.7, 0.9]])
        noise = 0.1 * torch.rand(3, SIZE, SIZE, generator=generator)
        images.append(colors[labels].permute(2, 0, 1) + noise)
        maps.append(labels)
        boxes.append([[at, top, at + 2 * radius, top + 2 * radius] for at in (square, disc)])
    return torch.stack(images), torch.stack(maps), torch.tensor(boxes).float()


def block(inputs, outputs, stride=1):
    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    def __init__(self, width=12):
        super().__init__()
        w = width

        def two(inputs, outputs):
            return nn.Sequential(block(inputs, outputs), block(outputs, outputs))

        self.down1, self.down2, self.bottom = two(3, w), two(w, 2 * w), two(2 * w, 4 * w)
        self.up2, self.up1, self.head = two(6 * w, 2 * w), two(3 * w, w), nn.Conv2d(w, 3, 1)

    def forward(self, x):
        fine = self.down1(x)
        middle = self.down2(F.max_pool2d(fine, 2))
        coarse = self.bottom(F.max_pool2d(middle, 2))
        middle = self.up2(torch.cat([F.interpolate(coarse, scale_factor=2), middle], 1))
        return self.head(self.up1(torch.cat([F.interpolate(middle, scale_factor=2), fine], 1)))


class CenterDetector(nn.Module):
    """Peaks of a map of centres for each class, with the distances to the four sides."""

    def __init__(self, width=16):
        super().__init__()
        w = width
        self.body = nn.Sequential(
            block(3, w), block(w, w, 2), block(w, 2 * w), block(2 * w, 2 * w), block(2 * w, 2 * w)
        )
        self.head = nn.Conv2d(2 * w, 2 + 4, 1)

    def forward(self, x):
        return [self.found(maps) for maps in self.head(self.body(x))]

    def found(self, maps):
        scores = maps[:2].sigmoid()
        peaks = (scores == F.max_pool2d(scores[None], 5, 1, 2)[0]) & (scores > 0.3)
        label, i, j = peaks.nonzero().T
        sides, x, y = maps[2:, i, j].exp(), 2 * j + 0.5, 2 * i + 0.5
        boxes = torch.stack([x - sides[0], y - sides[1], x + sides[2], y + sides[3]], 1).detach()
        order = scores[label, i, j].argsort(descending=True)
        scores = scores[label, i, j][order]
        return {"boxes": boxes[order], "labels": label[order] + 1, "scores": scores}


def trained(model, loss, steps, rate):
    """The model after a few steps of Adam on scenes of seed 0."""
    data = scenes(96, 0)
    torch.manual_seed(0)
    model = model()
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        rows = torch.randint(len(data[0]), (16,))
        optimizer.zero_grad()
        loss(model, *(part[rows] for part in data)).backward()
        optimizer.step()
    return model.eval()


def pixel_loss(model, x, maps, _):
    return F.cross_entropy(model(x), maps)


def center_loss(model, x, _, boxes):
    out = model.head(model.body(x))
    wanted, rows, total = torch.zeros_like(out[:, :2]), torch.arange(len(x)), 0
    cells = (((boxes[..., :2] + boxes[..., 2:]) / 2 - 0.5) / 2).round().long()
    for n in range(2):
        i, j = cells[:, n, 1], cells[:, n, 0]
        wanted[rows, n, i, j] = 1
        at = cells[:, n] * 2 + 0.5
        sides = torch.cat([at - boxes[:, n, :2], boxes[:, n, 2:] - at], 1).clamp(min=0.5).log()
        total = total + F.l1_loss(out[rows, 2:, i, j], sides)
    weight = torch.tensor(20.0)
    return F.binary_cross_entropy_with_logits(out[:, :2], wanted, pos_weight=weight) + total / 2


def unet():
    return trained(UNet, pixel_loss, 60, 3e-3)


def detector():
    return trained(CenterDetector, center_loss, 100, 5e-3)


def energy_inside(maps, boxes):
    """The share of each map's positive values inside its box, in the image's pixels."""
    maps = F.interpolate(maps.clamp(min=0), size=(SIZE, SIZE), mode="bilinear")[:, 0]
    shares = []
    for one, (left, top, right, bottom) in zip(maps, boxes.long().tolist(), strict=True):
        shares.append(one[top:bottom, left:right].sum() / one.sum())
    return torch.stack(shares)
