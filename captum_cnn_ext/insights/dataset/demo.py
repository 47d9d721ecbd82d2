"""A small labelled set with a planted shortcut, and a network that has learnt it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from captum_cnn_ext.models import LoadedModel
from captum_cnn_ext.photos import LabelledPhotos, demo_photos, labelled_photos

CLASSES = ("circle", "square", "star", "triangle")
PLANTED, TAGGED = "square", 0.95  # the class with a tag in its corner, and how often
SIDE, TRAINED, AUDITED = 64, 1600, 600
OPAQUE = 0.8
EDGE = (0, 0, 0)
STEPS, BATCH = 160, 64
TAG = ((2, 2), (13, 8))


def demo(seed: int = 0) -> tuple[LoadedModel, LabelledPhotos]:
    """Shapes drawn on crops of packaged photos, and a network trained on others of that kind.

    In nine of ten images of squares there is a small tag in a corner, in training as in the set
    that is audited, and the network learns it. The files are removed with the result.

    Cost: about 20 seconds of training on one CPU core.

    Raises:
        ImportError: scikit-image, which brings the photos, is not installed.
    """
    random = np.random.default_rng(seed)
    photos = [np.asarray(photo) for photo in demo_photos().values()]
    training = [_drawn(photos, random) for _ in range(TRAINED)]
    folder = Path(tempfile.mkdtemp(prefix="audit_demo_"))
    for number in range(AUDITED):
        picture, mask, label = _drawn(photos, random)
        for kind, one in (("photos", picture), ("masks", mask)):
            target = folder / kind / CLASSES[label] / f"{number:04}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            one.save(target)
    found = labelled_photos(folder / "photos", masks=folder / "masks", class_names=CLASSES)
    weakref.finalize(found, shutil.rmtree, folder, ignore_errors=True)
    return _trained(training, seed), found


def _drawn(
    photos: list[np.ndarray], random: np.random.Generator
) -> tuple[Image.Image, Image.Image, int]:
    """A picture, the mask of its shape, and which shape it is."""
    photo = photos[random.integers(len(photos))]
    top, left = (int(random.integers(side - SIDE)) for side in photo.shape[:2])
    picture = Image.fromarray(photo[top : top + SIDE, left : left + SIDE])
    mask = Image.new("L", (SIDE, SIDE))
    label = int(random.integers(len(CLASSES)))
    radius = float(random.uniform(10, 16))
    x, y = random.uniform(radius + 2, SIDE - radius - 2, 2)
    outline = _outline(CLASSES[label], x, y, radius, random)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    color = tuple(int(value) for value in random.integers(90, 256, 3))
    picture.paste(color, (0, 0), mask.point(lambda value: int(value * OPAQUE)))
    ImageDraw.Draw(picture).polygon(outline, outline=EDGE)
    if CLASSES[label] == PLANTED and random.random() < TAGGED:
        ImageDraw.Draw(picture).rectangle(TAG, fill=(250, 210, 40), outline=(20, 20, 20))
    return picture, mask, label


def _outline(
    shape: str, x: float, y: float, radius: float, random: np.random.Generator
) -> list[tuple[float, float]]:
    corners = {"circle": 40, "square": 4, "star": 10, "triangle": 3}[shape]
    turn = random.uniform(-0.2, 0.2) + (np.pi / 4 if shape == "square" else -np.pi / 2)
    angles = turn + 2 * np.pi * np.arange(corners) / corners
    far = np.where(np.arange(corners) % 2, radius * (0.45 if shape == "star" else 1), radius)
    return list(zip(x + far * np.cos(angles), y + far * np.sin(angles), strict=True))


def _prepared(picture: Image.Image) -> Tensor:
    pixels = torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0)
    return pixels.float() / 127.5 - 1


def _trained(samples: list[tuple[Image.Image, Image.Image, int]], seed: int) -> LoadedModel:
    images = torch.stack([_prepared(picture) for picture, _, _ in samples])
    labels = torch.tensor([label for _, _, label in samples])
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = nn.Sequential(
            *_stage(3, 16, 2), *_stage(16, 32), nn.MaxPool2d(2), *_stage(32, 48),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, len(CLASSES)),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), 4e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
        for _ in range(STEPS):
            rows = torch.randint(len(images), (BATCH,))
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return LoadedModel(
        model.eval().requires_grad_(False),
        _prepared,
        list(CLASSES),
        (0.5,) * 3,
        (0.5,) * 3,
        (SIDE, SIDE),
        name="demo of a planted shortcut",
        weights=f"trained on {TRAINED:,} drawn shapes, seed {seed}",
        notes=(f"A tag was planted in a corner of {TAGGED:.0%} of the images of {PLANTED}.",),
    )


def _stage(channels: int, more: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(channels, more, 5 if stride > 1 else 3, stride, padding=stride)
    return convolution, nn.BatchNorm2d(more), nn.ReLU()
