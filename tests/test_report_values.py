"""Sections that show pictures of numbers: the numbers are what the public functions give."""

import numpy as np
import pytest
import torch
from reports import MEAN, STD, content, pictures, rows, small, small_images
from torch import nn

from captum_cnn_ext.attr import DeconvNet, LayerFeatureMaps
from captum_cnn_ext.evidence import filter_similarity, layer_table, model_graph
from captum_cnn_ext.insights import audit, figure_picture
from captum_cnn_ext.insights.report.blocks import Drawing
from captum_cnn_ext.render import show_filters, show_patches
from captum_cnn_ext.synthesis import Channel, Target, maximize

LAYERS = ["stem.1", "block"]


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def images():
    return small_images()


@pytest.fixture(scope="module")
def done(model, images):
    return audit(
        model,
        images,
        layers=LAYERS,
        mean=MEAN,
        std=STD,
        seed=11,
        sections=["structure", "graph", "filters", "reconstructions", "top_patches", "synthesis"],
        show_progress=False,
    )


@pytest.mark.parametrize("layer", LAYERS)
def test_strongest_patches_are_a_search_written_out(done, model, images, layer):
    """Every crop by hand, every unit of it by hand, the best five crops of each channel."""
    crops = [
        image[:, top : top + 8, left : left + 10]
        for top in (0, 4, 8)
        for left in (0, 5, 10)
        for image in images
    ]
    maps = torch.cat([LayerFeatureMaps(model, layer).attribute(c[None]) for c in crops])
    best = maps.amax((2, 3)).T  # (channels, crops)
    found = done.arrays[f"top_patches/{layer}/values"]
    assert found.shape == (len(best), 5)
    for channel, values in enumerate(best):
        expected = sorted(values.tolist(), reverse=True)[:5]
        np.testing.assert_allclose(found[channel], expected, rtol=1e-4, atol=1e-6)
        for value, crop in zip(
            found[channel], done.arrays[f"top_patches/{layer}/crops"][channel], strict=True
        ):
            assert float(values[crop]) == pytest.approx(float(value), rel=1e-4, abs=1e-6)


def test_strongest_patches_are_drawn_strongest_first(done, model, images):
    from captum_cnn_ext.evidence import top_patches
    from captum_cnn_ext.insights.sections.units.top_patches import _crops

    crops = _crops(images)
    for layer, picture in zip(LAYERS, pictures(done, "top_patches"), strict=True):
        top = top_patches(model, layer, crops, k=5, batch_size=8, num_workers=0)
        order = sorted(range(len(top.values)), key=lambda c: -float(top.values[c, 0]))[:8]
        figure, _ = show_patches(
            top.patches(crops, top.channels[order]), mean=MEAN, std=STD,
            row_titles=[str(int(top.channels[c])) for c in order], values=top.values[order],
        )  # fmt: skip
        assert figure_picture(figure, alt="").data == picture.data


@pytest.mark.parametrize("layer", LAYERS)
def test_reconstructions_are_the_classs(done, model, images, layer):
    rule = "deconvnet" if layer == "block" else "guided"  # a max-pooling comes before the block
    channels = 4 if layer == "stem.1" else 6
    expected = DeconvNet(model, layer).reconstruct(images, rule=rule, top=channels)
    for name in ("attributions", "channels", "positions", "values"):
        found = done.arrays[f"reconstructions/{layer}/{name}"]
        np.testing.assert_allclose(found, getattr(expected, name), rtol=1e-5, atol=1e-8)
    maps = LayerFeatureMaps(model, layer).attribute(images)
    strongest = maps.amax((2, 3)).sort(1, descending=True)
    np.testing.assert_allclose(
        done.arrays[f"reconstructions/{layer}/values"], strongest.values, rtol=1e-5
    )


def test_synthesised_images_and_what_they_reach(done, model, images):
    target = int(model(images)[0].argmax())
    wanted = maximize(model, Target(target), (3, 16, 20), recipe="lucid", steps=40,
                      mean=MEAN, std=STD, seed=11)  # fmt: skip
    np.testing.assert_allclose(done.arrays["synthesis/class"], wanted.images, atol=1e-5)
    shown = list(pictures(done, "synthesis"))
    assert shown[0].title == f"class {target}: {float(wanted.values[0]):.1f}"
    made = {k.split("/")[1] for k in done.arrays if k.startswith("synthesis/")} - {"class"}
    assert made
    for layer in made:
        means = LayerFeatureMaps(model, layer).attribute(images[:1])[0].mean((1, 2))
        title = next(p.title for p in shown if p.title.startswith(layer))
        channel = int(title.partition("channel ")[2].partition(":")[0])
        assert channel in means.topk(2).indices.tolist()
        expected = maximize(model, Channel(layer, channel), (3, 16, 20), recipe="lucid", steps=24,
                            mean=MEAN, std=STD, seed=11)  # fmt: skip
        np.testing.assert_allclose(done.arrays[f"synthesis/{layer}"], expected.images, atol=1e-5)
        assert title.endswith(f": {float(expected.values[0]):.1f}")


def test_the_graph_has_every_module_with_its_link(done, model, images):
    (drawing,) = (b for b in content(done, "graph") if isinstance(b, Drawing))
    graph = model_graph(model, images[:1], 2)
    assert drawing.svg.count("<rect") == graph.to_svg().count("<rect")
    for place, row in enumerate(layer_table(model, images[:1]), 1):
        assert f'href="#structure-row-{place}"' in drawing.svg, row.name


def test_the_structure_table_is_the_layer_table(done, model, images):
    found = rows(done.tables["layers"])
    expected = list(layer_table(model, images[:1]))
    assert [row["layer"] for row in found] == [row.name for row in expected]
    assert [row["parameters"] for row in found] == [row.parameters or None for row in expected]
    assert [row["output"] for row in found] == [
        " × ".join(map(str, row.output_shapes[0][1:])) for row in expected
    ]


def test_each_call_of_a_layer_has_a_row_with_its_own_shape_and_field():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 3, stride=2)
            self.relu, self.head = nn.ReLU(), nn.Linear(5, 2)

        def forward(self, x):
            x = self.relu(self.second(self.relu(self.first(x))))
            return self.head(x.mean((2, 3)))

    found = audit(Twice().eval(), small_images(1), layers="second", sections=["structure"],
                  show_progress=False)  # fmt: skip
    runs = {row["layer"]: row for row in rows(found.tables["layers"]) if "relu" in row["layer"]}
    assert list(runs) == ["relu", "relu, call 2"]
    assert (runs["relu"]["output"], runs["relu"]["sees, pixels"]) == ("4 × 14 × 18", "3, every 1")
    later = runs["relu, call 2"]
    assert (later["output"], later["sees, pixels"]) == ("5 × 6 × 8", "5, every 2")


def test_filters_are_the_weights(done, model):
    first, deep = pictures(done, "filters")
    figure, _ = show_filters(model.stem[0].weight, first=64)
    assert first.data == figure_picture(figure, alt="").data
    assert first.title == "stem.0: 4 filters of 3 × 3 on 3 channels"
    figure, _ = show_filters(model.block[0].weight, filters=range(6), channels=range(4))
    assert deep.data == figure_picture(figure, alt="").data
    found = filter_similarity(model.stem[0])
    assert any(str(found) in getattr(block, "text", "") for block in content(done, "filters"))


def test_another_weight_gives_another_picture(done):
    other = small(4)
    again = audit(other, small_images(), sections=["filters"], layers=LAYERS, show_progress=False)
    assert next(pictures(again, "filters")).data != next(pictures(done, "filters")).data


def test_a_model_without_convolutions_has_no_filters_but_a_note():
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 2)).eval()
    done = audit(model, torch.rand(1, 3, 8, 8), layers="1", sections=["filters"],
                 show_progress=False)  # fmt: skip
    assert not list(pictures(done, "filters"))
    assert "no two-dimensional convolution" in content(done, "filters")[0].text
