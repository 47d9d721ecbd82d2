"""Two models compared: every number is what the public functions give for each of them."""

import numpy as np
import pytest
import torch
from captum.attr import LayerGradCam
from reports import pictures, rows, run_code, small, small_images, tables, text_of
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr, metrics
from captum_cnn_ext.evidence import linear_cka
from captum_cnn_ext.insights import audit
from captum_cnn_ext.models import LoadedModel

METHODS = ["Saliency", "LayerGradCam", "LayerHiResCam"]


@pytest.fixture(scope="module")
def models():
    """A model and a later checkpoint of it: two of its layers have been trained on."""
    one, two = small(), small()
    with torch.no_grad():
        two.head.weight.add_(0.1)
        two.block[0].weight[2] *= 2
    return one, two


@pytest.fixture(scope="module")
def images():
    return small_images(3)


def compared(one, two, images, **options):
    settings = {"layers": "block", "methods": METHODS, "sections": ["summary"]}
    return audit(one, images, against=two, show_progress=False, **{**settings, **options})


@pytest.fixture(scope="module")
def done(models, images):
    return compared(*models, images)


def test_the_section_comes_with_the_second_model(done, models, images):
    assert [section.key for section, _ in done.sections] == ["summary", "against"]
    plain = audit(models[0], images, show_progress=False, quick=True)
    assert "against" not in [section.key for section, _ in plain.sections]
    quick = compared(*models, images, sections=None, quick=True)
    keys = [section.key for section, _ in quick.sections]
    assert keys == ["summary", "attributions", "against", "structure", "settings"]


def test_predictions_of_both(done, models, images):
    with torch.no_grad():
        shares = [model(images).softmax(1) for model in models]
    for photo, row in enumerate(rows(done.tables["against_predictions"])):
        best, other = (int(s[photo].argmax()) for s in shares)
        assert row["this model"] == f"class {best}"
        assert row["probability"] == pytest.approx(float(shares[0][photo, best]))
        assert row["the other"] == f"class {other}"
        assert row["its probability"] == pytest.approx(float(shares[1][photo, other]))
        title = "the other, for the class of this model"
        assert row[title] == pytest.approx(float(shares[1][photo, best]))
        assert row["same class"] == ("yes" if best == other else "no")


def test_maps_of_both_and_their_rank_correlation(done, models, images):
    targets = done.arrays["explained_classes"].tolist()
    found = rows(done.tables["against_maps"])
    assert len(found) == 3 * 2
    maps = [attr.LayerHiResCam(model, "block").attribute(images, targets) for model in models]
    np.testing.assert_allclose(done.arrays["against/LayerHiResCam"], maps[1], rtol=1e-5)
    expected = metrics.rank_correlation(*(metrics.as_maps(m, images) for m in maps))
    assert expected.min() < 0.999
    shown = [row["rank correlation"] for row in found if row["method"] == "LayerHiResCam"]
    assert shown == pytest.approx(expected.tolist(), abs=1e-3)


def test_the_code_of_every_map_gives_it(done, models, images):
    shown = list(pictures(done, "against"))
    assert len(shown) == 3 * 2 * 2
    targets = done.arrays["explained_classes"].tolist()
    expected = {
        f"{name}, {side}": kind(model, model.block).attribute(images, targets).detach()
        for side, model in zip(("this model", "the other"), models, strict=True)
        for name, kind in (("LayerGradCam", LayerGradCam), ("LayerHiResCam", attr.LayerHiResCam))
    }
    for picture in shown:
        heat = run_code(done, picture.code, *models)["heat"].detach()
        torch.testing.assert_close(heat, expected[picture.title], rtol=1e-5, atol=1e-8)


def test_weights_that_changed_and_by_how_much(done, models):
    found = {row["tensor"]: row for row in rows(done.tables["against_weights"])}
    assert set(found) == set(models[0].state_dict())
    head, block = models[0].head.weight.detach(), models[0].block[0].weight.detach()
    expected = 0.1 * head.numel() ** 0.5 / float(head.norm())
    assert found["head.weight"]["relative change"] == pytest.approx(expected, rel=1e-5)
    assert found["head.weight"]["largest change"] == pytest.approx(0.1, rel=1e-5)
    expected = float(block[2].norm() / block.norm())
    assert found["block.0.weight"]["relative change"] == pytest.approx(expected, rel=1e-5)
    assert [n for n, row in found.items() if row["largest change"]] == list(found)[:2]
    assert found["stem.0.bias"]["relative change"] == 0
    (text,) = (f.text for f in done.overview.findings if "tensors of weights" in f.text)
    assert text.startswith("2 of 6 tensors of weights differ")


def test_activations_are_aligned_at_layers_of_one_name(done, models, images):
    found = rows(done.tables["against_activations"])
    assert [row["layer of this model"] for row in found] == [
        "stem.0", "stem.1", "stem.2", "block.0", "block.1",
    ]  # fmt: skip
    for row in found:
        layer = row["layer of this model"]
        assert row["layer of the other"] == layer
        maps = [attr.LayerFeatureMaps(model, layer).attribute(images) for model in models]
        features = [m.permute(0, 2, 3, 1).flatten(0, 2) for m in maps]
        expected = linear_cka(*features)
        assert row["positions"] == len(features[0])  # 960 at most: all of them
        assert row["alignment"] == pytest.approx(expected, abs=1e-3)
    assert [row["alignment"] for row in found[:3]] == [1.0] * 3  # before the change
    assert found[3]["alignment"] < 0.9999


def test_other_architectures_are_compared_by_their_own_layers(models, images):
    other = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Conv2d(8, 5, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    ).eval()  # fmt: skip
    done = compared(models[0], other, images, layers=["stem.1", "block"])
    assert not done.problems
    assert "architectures differ" in text_of(done, "against")
    assert "against_weights" not in done.tables
    found = rows(done.tables["against_activations"])
    assert {row["layer of this model"] for row in found} == {"stem.1", "block"}
    assert len({row["layer of the other"] for row in found}) == len(found) / 2
    row = rows(done.tables["against_predictions"])[0]
    assert row["the other, for the class of this model"] is None  # not the same classes
    with torch.no_grad():
        own = other(images).argmax(1).tolist()
    layer = found[-1]["layer of the other"]
    maps = attr.LayerHiResCam(other, layer).attribute(images, own)
    np.testing.assert_allclose(done.arrays["against/LayerHiResCam"], maps, rtol=1e-5, atol=1e-8)


def test_each_model_prepares_the_photos_its_own_way(models):
    from PIL import Image

    def prepared(value):
        def preprocess(picture):
            return torch.full((3, 8, 8), value) + torch.arange(8) / 8

        return preprocess

    one, two = (LoadedModel(m, prepared(v)) for m, v in zip(models, (0.1, 0.7), strict=True))
    done = audit(one, [Image.new("RGB", (9, 9))], against=two, layers="block", show_progress=False,
                 methods=["LayerHiResCam"], sections=["against"])  # fmt: skip
    with torch.no_grad():
        share = models[1](prepared(0.7)(None)[None]).softmax(1).max()
    row = rows(done.tables["against_predictions"])[0]
    assert row["its probability"] == pytest.approx(float(share))


def test_the_same_weights_are_said_to_say_nothing(images):
    done = compared(small(), small(), images)
    texts = [f.text for f in done.overview.of("unsure")]
    assert any("All weights are the same" in text for text in texts)
    assert {row["same class"] for row in rows(done.tables["against_predictions"])} == {"yes"}
    assert {row["rank correlation"] for row in rows(done.tables["against_maps"])} == {1.0}


def test_disagreement_stands_on_top(images):
    one, two = small(), small()
    with torch.no_grad():
        two.head.weight.neg_()
        two.head.bias.neg_()
    done = compared(one, two, images, class_names=["cat", "dog", "<egg>"])
    texts = [f.text for f in done.overview.of("unsure")]
    assert any("disagree on 3 of 3 photos" in text for text in texts)
    assert any("look at different places" in text for text in texts)
    assert len(tables(done, "against")) == 4
    assert "<egg>" not in done.to_html()


def test_both_models_are_left_as_found(models, images):
    one, two = models
    two.train()
    try:
        with nothing_left_behind(one, images), nothing_left_behind(two, images):
            compared(one, two, images)
    finally:
        two.eval()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"against": "resnet18"}, "model: expected a torch.nn.Module"),
        ({"sections": ["against"]}, "there is no second model to compare with"),
    ],
)
def test_wrong_second_models_are_refused(models, images, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        audit(models[0], images, show_progress=False, **options)


def test_a_model_is_not_compared_with_itself(models, images):
    with pytest.raises(ValueError, match="against: got the audited model itself"):
        compared(models[0], models[0], images)
