"""A small model and images for tests of the audit report."""

import re
import tempfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import torch
from torch import nn

from captum_cnn_ext.insights import Group, Panels, Picture, SectionContent
from captum_cnn_ext.insights.report.blocks import Drawing, Fold, Predictions, Table

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class Small(nn.Module):
    """Two convolutions, global average pooling, one linear layer: every CAM is defined."""

    def __init__(self, classes=3):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.block = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(6, classes)

    def forward(self, x):
        return self.head(self.block(self.stem(x)).mean((2, 3)))


def small(seed=3, classes=3):
    torch.manual_seed(seed)
    return Small(classes).eval()


def small_images(count=2):
    generator = torch.Generator().manual_seed(5)
    return torch.rand(count, 3, 16, 20, generator=generator, device="cpu") - 0.3


def content(done, key):
    """A section's blocks, with those inside groups."""
    found = next(c for s, c in done.sections if s.key == key)
    assert isinstance(found, SectionContent), found
    return list(_flat(found.blocks))


def _flat(blocks):
    for block in blocks:
        yield block
        if isinstance(block, (Group, Fold)):
            yield from _flat(block.blocks)


def pictures(done, key):
    """Every picture and drawing of a section."""
    for block in content(done, key):
        if isinstance(block, (Picture, Drawing)):
            yield block
        elif isinstance(block, Panels):
            yield from block.pictures
        elif isinstance(block, Predictions):
            yield from (card.photo for card in block.cards)


def tables(done, key):
    """The tables of a section, each as a list of dicts."""
    return [rows(block) for block in content(done, key) if isinstance(block, Table)]


def rows(table):
    titles = [column.title for column in table.columns]
    return [dict(zip(titles, row, strict=True)) for row in table.rows]


def text_of(done, key):
    """Everything that a section says, as one text."""
    return " ".join(str(block) for block in content(done, key))


def run_code(done, code, model, other=None):
    """The names that a figure's code leaves behind, run as shown, the model filled in."""
    from captum_cnn_ext.insights.report.figure_code import setup_code

    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "audit.npz"
        np.savez(arrays, **done.arrays)
        setup = setup_code(done.model_code, str(arrays))
        assert "model = ..." in setup
        found = {"the_model": model, "the_other": other}
        code = re.sub(r"model = \.\.\.", "model = the_other", code)
        exec(re.sub(r"model = \.\.\.", "model = the_model", setup) + "\n" + code, found)
    return found


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def tags_of(page):
    parser = Tags()
    parser.feed(page)
    return parser.tags
