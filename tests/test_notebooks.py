"""What a notebook shows: pictures and tables, not the text of an object."""

import dataclasses
import io
import json
import linecache

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from PIL import Image
from torch import nn

from captum_cnn_ext import attr, insights, synthesis
from captum_cnn_ext.bench.truths.fingerprints import code_fingerprint, files_of
from captum_cnn_ext.insights.report.findings import Finding

MODEL = """
import torch
from torch import nn
from captum_cnn_ext import attr, bench, evidence, insights, metrics, render, synthesis
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                      nn.Linear(4, 3)).eval()
x = torch.rand(1, 3, 16, 16)
heat = torch.rand(1, 1, 4, 4)
layers = "0"
"""
DRAWN = {  # each cell shows one picture
    "a function, as Captum's": "figure, axes = render.overlay(x[0], heat[0])",
    "a function at the end of a cell": "render.show_attributions(x, {'one': heat})",
    "compare": "insights.compare(model, x, ['Saliency'], layers='1')",
    "compare, its figure": "insights.compare(model, x, ['Saliency'], layers='1').figure()",
    "maximize": "synthesis.maximize(model, synthesis.Target(1), 16, steps=1)",
    "deep_dream": "synthesis.deep_dream(model, x, '0', octaves=1, steps=1)",
    "filter_atlas": "synthesis.filter_atlas(model, '0', best=2, size=16, steps=1)",
    "reconstruct": "attr.DeconvNet(model, model[1]).reconstruct(x, [0, 1])",
    "a curve": "metrics.insertion(model, x, heat, target=0, steps=2)",
    "the graph": "evidence.model_graph(model, 16)",
}
WRITTEN = {  # each cell shows a table or a list, with these words
    "layer_table": ("evidence.layer_table(model, 16)", "| layer | type |"),
    "top_patches": ("evidence.top_patches(model, '0', x, k=1)", "| channel | strongest |"),
    "filter_similarity": ("evidence.filter_similarity(model[0])", "families"),
    "audit": ("insights.audit(model, x, sections=['summary'], show_progress=False)", "report.html"),
    "a league of truths": (
        "from captum_cnn_ext.bench import truths\n"
        "known = bench.Results(truths.TruthSettings(images=4).to_dict())\n"
        "known",
        "# Attribution methods judged where the truth is known",
    ),
    "bench": ("bench.Results({'model': 'tiny', 'layer': '0'})", "# tiny, layer 0"),
}
SILENT = {  # draws for a file, not for the page
    "a figure kept": "figure = insights.compare(model, x, ['Saliency'], layers='1').figure()",
    "asked not to": "figure, axes = render.overlay(x[0], heat[0], use_pyplot=False)",
}


@pytest.fixture(scope="module")
def outputs():
    cells = {**DRAWN, **{name: cell for name, (cell, _) in WRITTEN.items()}, **SILENT}
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(code) for code in (MODEL, *cells.values())]
    done = NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return dict(zip(cells, (cell.outputs for cell in done.cells[1:]), strict=True))


def pictures(cell_outputs):
    return [
        output
        for output in cell_outputs
        if {"image/png", "image/svg+xml"} & set(output.get("data", {}))
    ]


@pytest.mark.slow
@pytest.mark.parametrize("cell", DRAWN)
def test_what_is_drawn_is_seen_once(outputs, cell):
    assert len(pictures(outputs[cell])) == 1


@pytest.mark.parametrize("cell", WRITTEN)
def test_what_is_a_table_is_shown_as_one(outputs, cell):
    shown = [
        o["data"]["text/markdown"] for o in outputs[cell] if "text/markdown" in o.get("data", {})
    ]
    assert len(shown) == 1
    assert WRITTEN[cell][1] in shown[0]


@pytest.mark.parametrize("cell", SILENT)
def test_figures_for_files_are_not_shown(outputs, cell):
    assert not pictures(outputs[cell])


def test_nothing_floods_the_page(outputs):
    sizes = {cell: len(json.dumps(found)) for cell, found in outputs.items()}
    assert max(sizes.values()) < 400_000, sizes
    texts = [o["data"]["text/plain"] for found in outputs.values() for o in found if "data" in o]
    assert all(len(text) < 500 for text in texts)


def test_what_a_notebook_shows_can_be_saved(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
    x = torch.rand(1, 3, 8, 8)
    made = {
        "driving": attr.DeconvNet(model, "1").reconstruct(x, rule="guided"),
        "class": synthesis.maximize(model, synthesis.Target(0), x, steps=1),
        "dream": synthesis.deep_dream(model, x, "1", octaves=1, steps=1, jitter=1),
    }
    for name, found in made.items():
        saved = found.save(tmp_path / f"{name}.png")
        with Image.open(saved) as written, Image.open(io.BytesIO(found._repr_png_())) as shown:
            ratio = written.height / written.width
            assert ratio == pytest.approx(shown.height / shown.width, rel=0.05)
            assert written.width > 100
        with pytest.raises(ValueError, match=r"a file name that ends in \.png"):
            found.save(tmp_path / f"{name}.bmp")


def test_what_cannot_be_drawn_is_told_in_words(tmp_path):
    model = nn.Sequential(nn.Conv1d(5, 2, 3), nn.Flatten(), nn.Linear(28, 2)).eval()
    signal = synthesis.maximize(model, synthesis.Target(0), torch.rand(1, 5, 16), steps=1)
    assert signal._repr_png_() is None
    with pytest.raises(ValueError, match="no picture of this"):
        signal.save(tmp_path / "signal.png")
    assert not list(tmp_path.iterdir())


def test_an_argument_of_the_drawing_is_named_and_not_the_path(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
    x = torch.rand(1, 3, 8, 8)
    found = attr.DeconvNet(model, "1").reconstruct(x)
    with pytest.raises(ValueError, match=r"^crop='nope': expected one of"):
        found.save(tmp_path / "x.png", images=x, crop="nope")
    assert not list(tmp_path.iterdir())


def test_findings_show_names_as_they_are():
    name = "<b>*cat*</b> [x](y) `_a_`|"
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
    done = insights.audit(
        model, torch.rand(1, 3, 8, 8), sections=["summary"], title=name, show_progress=False
    )
    shown = "".join(  # what Markdown makes of it: a backslash lets the next mark stand for itself
        part for part in done._repr_markdown_().splitlines()[0].split("**")[1].split("\\")
    )
    assert shown == name
    assert "\\<b\\>\\*cat\\*" in done._repr_markdown_()


def test_the_worst_findings_come_first():
    shown = [
        line.split("**")[1] for line in _findings("fine", "wrong", "unsure") if line.startswith("-")
    ]
    assert shown == ["wrong", "unsure", "fine"]


def _findings(*verdicts):
    done = insights.audit(
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval(),
        *(torch.rand(1, 3, 8, 8),),
        **{"sections": ["summary"], "show_progress": False},
    )
    found = tuple(Finding(verdict, "it", "summary") for verdict in verdicts)
    overview = dataclasses.replace(done.overview, findings=found)
    return dataclasses.replace(done, overview=overview)._repr_markdown_().splitlines()


def test_a_method_of_a_cell_is_known_by_its_text():
    def of(text):
        name = f"<cell {text}>"
        linecache.cache[name] = (len(text), None, text.splitlines(True), name)
        names = {}
        exec(compile(text, name, "exec"), names)
        return code_fingerprint(files_of(names["mine"]))

    one, same, other = map(of, ("def mine(): return 1", "def mine():\n  return 1", "def mine(): 2"))
    assert one == same != other
