"""The report printed by a real Chromium: every page has its words, once, and none over others."""

import re

import pytest
import torch
from torch import nn

from captum_cnn_ext.insights import audit

pypdfium2 = pytest.importorskip("pypdfium2")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAIRS = 34  # of a convolution and a ReLU: a table of 71 rows, and a graph of five pages' height
HEAD = ("layer", "parameters", "multiply-", "stride")


class Page:
    """A printed page: its text, and the boxes of its lines in points."""

    def __init__(self, page):
        self.width, self.height = page.get_size()
        words = page.get_textpage()
        self.text = words.get_text_range()
        boxes = [words.get_rect(k) for k in range(words.count_rects())]
        self.lines = [(box, words.get_text_bounded(*box).strip()) for box in boxes]

    def overprinted(self):
        """Pairs of lines that share more than a third of the smaller one's area."""
        found = []
        for place, (a, first) in enumerate(self.lines):
            for b, second in self.lines[:place]:
                shared = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(
                    0, min(a[3], b[3]) - max(a[1], b[1])
                )
                if 3 * shared > min((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)) > 0:
                    found.append((first, second))
        return found


@pytest.fixture(scope="module")
def pages(browser, tmp_path_factory):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1)]
    for _ in range(PAIRS):
        layers += [nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)]
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    sections = ["summary", "structure", "graph", "attributions", "settings"]
    done = audit(
        *(model, torch.rand(2, 3, 24, 24)),
        **{"layers": "3", "methods": ["Saliency"], "sections": sections, "show_progress": False},
    )
    folder = tmp_path_factory.mktemp("paper")
    page = browser.new_page()
    page.goto(done.save(folder / "audit.html").report.as_uri())
    page.pdf(path=str(folder / "audit.pdf"), prefer_css_page_size=True)
    page.close()
    with pypdfium2.PdfDocument(folder / "audit.pdf") as document:
        return [Page(one) for one in document]


def test_every_page_says_which_it_is(pages):
    assert 5 <= len(pages) <= 12
    for number, page in enumerate(pages, 1):
        assert f"{number} / {len(pages)}" in page.text
        assert len(page.text) > 60


def test_nothing_lies_on_other_words(pages):
    found = {number: page.overprinted() for number, page in enumerate(pages, 1)}
    assert not any(found.values()), found


def test_nothing_leaves_the_sheet(pages):
    for page in pages:
        assert all(20 < left < right < page.width - 20 for (left, _, right, _), _ in page.lines)


def test_a_long_table_has_its_head_on_every_page_and_its_rows_once(pages):
    row = re.compile(r"^(\d+) (\d+) (?:Conv2d|ReLU|Linear|Flatten|AdaptiveAvgPool2d)\b", re.M)
    tables = [page for page in pages if row.search(page.text)]
    assert len(tables) >= 2
    for page in tables:
        assert [page.text.count(word) for word in HEAD] >= [1] * len(HEAD)
    rows = [int(name) for page in tables for _, name in row.findall(page.text)]
    assert rows == list(range(2 * PAIRS + 4))


def test_a_tall_graph_is_whole(pages):
    """Each box stands in a column; those that a cut goes through stand in the next one too."""
    boxes = [
        int(name)
        for page in pages
        for name in re.findall(r"^(\d+)\s+(?:Conv2d|ReLU)\s+4 × 24", page.text, re.M)
    ]
    assert sorted(set(boxes)) == list(range(2 * PAIRS + 1))
    assert len(boxes) < 1.3 * len(set(boxes))
