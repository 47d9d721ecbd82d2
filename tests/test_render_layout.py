"""Figures are neat: no text is cut, and none lies over another or over a picture."""

import itertools

import matplotlib
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from captum_cnn_ext.render import (
    overlay,
    show_attributions,
    show_cost_quality,
    show_feature_maps,
    show_filters,
)
from captum_cnn_ext.render.drawing.wording import text_width, wrap

LONG = "a class name that goes on and on, as some do in the lists of a thousand classes"
IMAGES = torch.rand(2, 3, 24, 24)
MAPS = {"Grad-CAM": torch.rand(2, 1, 7, 7), LONG: -torch.rand(2, 1, 7, 7)}


def boxes(figure):
    """Extents in pixels of every text and every picture of a drawn figure."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts, pictures = [*figure.texts], []
    if figure._suptitle is not None:
        texts.append(figure._suptitle)
    for axes in figure.axes:
        if axes.get_visible():
            pictures.append((f"picture {len(pictures)}", axes.get_window_extent(renderer)))
            texts += [axes.title, axes.xaxis.label, axes.yaxis.label]
            texts += [*axes.get_xticklabels(), *axes.get_yticklabels()]
    drawn = [text for text in dict.fromkeys(texts) if text.get_text() and text.get_visible()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in drawn], pictures


def assert_neat(figure):
    texts, pictures = boxes(figure)
    width, height = figure.get_size_inches() * figure.dpi
    for name, box in texts:
        inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
        assert inside, f"{name!r} is cut"
    for (one, first), (other, second) in itertools.combinations([*texts, *pictures], 2):
        across = min(first.x1, second.x1) - max(first.x0, second.x0)
        down = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert across < 1 or down < 1, f"{one!r} lies over {other!r}"


@pytest.mark.parametrize(
    "options",
    [
        {"row_titles": [LONG, "cat"]},
        {"row_titles": [LONG, LONG], "scale": "column", "sign": "all"},
        {"row_titles": [LONG, LONG * 2], "show_original": False, "scale": "figure"},
        {"row_titles": [LONG, "cat"], "fig_size": (6, 7)},
        {"row_titles": ["x" * 90, "$unbalanced"], "titles": ["y" * 90, "z"]},
        {"method": "masked_image", "outlier_perc": 0},
    ],
)
def test_attributions_are_neat(options):
    assert_neat(show_attributions(IMAGES, MAPS, **options)[0])


def test_one_tall_picture_is_neat():
    figure, _ = show_attributions(torch.rand(1, 90, 20), {"a": torch.rand(9, 2)})
    assert_neat(figure)


@pytest.mark.parametrize("show_colorbar", [False, True])
def test_overlay_is_neat(show_colorbar):
    figure, _ = overlay(IMAGES[0], -torch.rand(7, 7) * 1e-5, sign="negative", title=LONG,
                        show_colorbar=show_colorbar, fig_size=(3, 4))  # fmt: skip
    assert_neat(figure)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5, 3, 3, 3), {"title": LONG}),
        ((1, 3, 7, 7), {}),
        ((4, 1, 5, 5), {"scale": "layer"}),
        ((4, 70, 3, 3), {"scale": "layer"}),
        ((3, 300, 1, 1), {"channels": range(200, 300), "fig_size": (7, 4)}),
        ((1, 2, 1, 1), {"scale": "layer"}),
        ((3, 2, 9), {}),
    ],
)
def test_filters_are_neat(shape, options):
    assert_neat(show_filters(torch.randn(shape), **options)[0])


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5, 7, 7), {"scale": "layer"}),
        ((1, 7, 7), {"title": LONG}),
        ((3, 4, 40), {}),
        ((3, 40, 4), {"fig_size": (6, 8)}),
    ],
)
def test_feature_maps_are_neat(shape, options):
    maps = torch.randn(shape) * 1e-4
    maps[0] = 0.12345
    assert_neat(show_feature_maps(maps, **options)[0])


def test_pictures_stay_upright_and_bare_whatever_the_defaults_of_the_user():
    settings = {"image.origin": "lower", "axes.grid": True, "image.cmap": "gray"}
    with matplotlib.rc_context(settings):
        figure, axes = show_attributions(IMAGES, MAPS)
        assert_neat(figure)
    assert axes[0, 1].images[0].origin == "upper"
    assert not axes[0, 1].get_xticks().size


def test_wrapped_lines_fit_and_lose_nothing():
    for width in (0.5, 2.0):
        text = wrap(LONG + " " + "w" * 60, 9, width)
        assert max(text_width(line, 9) for line in text.split("\n")) <= width
        assert "".join(text.split()) == "".join((LONG + "w" * 60).split())
    assert wrap("LayerGradCamPlusPlus", 9, 1.3) == "LayerGradCamPlus\nPlus"
    assert wrap("features.denseblock4.conv2", 9, 1.3) == "features.\ndenseblock4.conv2"
    assert wrap("one two three four", 9, text_width("one two three fo", 9)) == "one two\nthree four"
    assert wrap("short", 9, 2) == "short"
    assert wrap("  ", 9, 2) == ""


@pytest.mark.parametrize("dearest", [1.6, 4.0, 30.0, 150.0, 5000.0])
def test_tick_labels_of_costs_do_not_overlap(dearest):
    quality = {"insertion": {"a": (0.4, 0.3, 0.5), "b": (0.6, 0.5, 0.7)}}
    figure, axes = show_cost_quality({"a": 1.0, "b": dearest}, quality)
    figure.canvas.draw()
    axis = axes[0, 0].xaxis
    drawn = [
        label.get_window_extent()
        for label in (*axis.get_ticklabels(), *axis.get_ticklabels(minor=True))
        if label.get_text() and 0.5 < label.get_position()[0] < 2 * dearest
    ]
    ends = sorted((box.x0, box.x1) for box in drawn)
    assert len(ends) >= 2
    assert all(left[1] < right[0] for left, right in itertools.pairwise(ends))
