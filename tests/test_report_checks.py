"""The report's judgements: its numbers are the metrics', and its verdicts follow from them."""

import numpy as np
import pytest
import torch
from captum.attr import Saliency
from reports import rows, small, small_images, text_of
from torch import nn

from captum_cnn_ext import attr, metrics
from captum_cnn_ext.insights import audit
from captum_cnn_ext.insights.report.findings import Finding, Overview
from captum_cnn_ext.insights.sections import checks, methods
from captum_cnn_ext.insights.sections.methods import CONTROLS, GAUSSIAN, RANDOM

METHODS = ["Saliency", "LayerHiResCam", "LayerEigenCam"]


@pytest.fixture(scope="module")
def model():
    return small()


@pytest.fixture(scope="module")
def images():
    return small_images(3)


@pytest.fixture(scope="module")
def done(model, images):
    return audit(
        model,
        images,
        layers=["stem.1", "block"],
        methods=METHODS,
        sections=["attributions", "methods", "checks"],
        seed=7,
        show_progress=False,
    )


def maps_of(model, images, targets):
    """The maps at the input and at the deepest layer, by the classes themselves."""
    inputs = images.clone().requires_grad_()
    return {
        "Saliency": Saliency(model).attribute(inputs, targets),
        "LayerHiResCam": attr.LayerHiResCam(model, "block").attribute(images, targets),
        "LayerEigenCam": attr.LayerEigenCam(model, "block").attribute(images),
        GAUSSIAN: metrics.gaussian_map(images[:2]),
        RANDOM: metrics.random_map(images[:2], 7),
    }


def test_faithfulness_is_the_metrics_own(done, model, images):
    targets = done.arrays["explained_classes"].tolist()
    found = {row["method"]: row for row in rows(done.tables["methods"])}
    expected = {}
    for name, maps in maps_of(model, images, targets).items():
        up, down = metrics.insertion_and_deletion(model, images[:2], maps[:2], targets[:2], steps=8)
        expected[name] = float((up.area - down.area).mean())
        row = found[name]
        assert row["insertion ↑"] == pytest.approx(float(up.area.mean()), abs=1e-4)
        assert row["deletion ↓"] == pytest.approx(float(down.area.mean()), abs=1e-4)
        assert row["score ↑"] == pytest.approx(expected[name], abs=1e-4)
        where = {"Saliency": "input"}.get(name, "block")
        place = "control" if name in CONTROLS else where
        key = f"faithfulness/{place}/{CONTROLS.get(name, name)}"
        np.testing.assert_allclose(
            done.arrays[key], [up.area.tolist(), down.area.tolist()], rtol=1e-4
        )
        if name != GAUSSIAN:
            over = expected[name] - expected.get(GAUSSIAN, np.nan)
            assert np.isnan(over) or row["above the blob"] == pytest.approx(over, abs=2e-4)
    assert list(found) == sorted(found, key=lambda name: -found[name]["score ↑"])
    assert len(found) == 5


def test_likeness_to_the_gaussian_is_a_rank_correlation(done, model, images):
    targets = done.arrays["explained_classes"].tolist()
    hill = metrics.as_maps(metrics.gaussian_map(images[:2]), images[:2])
    maps = maps_of(model, images, targets)["LayerHiResCam"][:2]
    expected = metrics.rank_correlation(metrics.as_maps(maps, images[:2]), hill).mean()
    (row,) = (r for r in rows(done.tables["methods"]) if r["method"] == "LayerHiResCam")
    assert row["likeness to the blob"] == pytest.approx(float(expected), abs=1e-3)


@pytest.mark.parametrize("name", ["Saliency", "LayerHiResCam"])
def test_randomisation_is_the_metrics_own(done, model, images, name):
    targets = done.arrays["explained_classes"].tolist()

    def explain(changed, x):
        some = targets[: len(x)]
        if name == "Saliency":
            return Saliency(changed).attribute(x.clone().requires_grad_(), some)
        return attr.LayerHiResCam(changed, "block").attribute(x, some)

    stages = [("head",), ("block.0",), ("stem.0",)]
    (row,) = (r for r in rows(done.tables["checks"]) if r["method"] == name)
    found = metrics.parameter_randomization(
        model, explain, images[: row["photos"]], layers=stages, seed=7
    )
    place = "input" if name == "Saliency" else "block"
    np.testing.assert_allclose(
        done.arrays[f"checks/{place}/{name}"], found.rank_correlation, atol=1e-4
    )
    means = found.rank_correlation.mean(1).tolist()
    titles = ["classifier random", "second half too", "all weights random"]
    assert [row[title] for title in titles] == pytest.approx(means, abs=1e-3)
    assert row["similarity"] == pytest.approx(float(found.similarity[-1].mean()), abs=1e-3)


def test_groups_of_layers_forget_together(model, images):
    def explain(changed, x):
        return attr.LayerHiResCam(changed, "block").attribute(x, 0)

    single = metrics.parameter_randomization(model, explain, images, layers=["head", "block.0"])
    both = metrics.parameter_randomization(model, explain, images, layers=[("head", "block.0")])
    assert both.layers == (("head", "block.0"),)
    torch.testing.assert_close(both.rank_correlation[0], single.rank_correlation[-1])
    with pytest.raises(ValueError, match="'block': this layer has no parameters of its own"):
        metrics.parameter_randomization(model, explain, images, layers=[("head", "block")])


@pytest.mark.parametrize(
    ("likeness", "word"),
    [
        ([0.2, 0.1, 0.05], "changes"),
        ([1.0, 0.3, 0.1], "blind to the class"),
        ([0.89, 0.7, 0.6], "changes little"),
        ([0.95, 0.3, 0.1], "blind to the class"),
        ([0.9, 0.9, -0.9], "does not change"),  # upside down is the same map
        ([1.0], "does not change"),
    ],
)
def test_verdicts_of_the_randomisation(likeness, word):
    assert checks._verdict(likeness) == word


def test_a_method_that_does_not_look_at_the_network_is_said_to_look_wrong(model, images):
    """With the model's parameters all 0 but one, nothing that is drawn anew changes a map."""
    still = small()
    with torch.no_grad():
        for parameter in still.parameters():
            parameter.fill_(0.5)  # no spread: forgetting changes nothing
    done = audit(
        still,
        images,
        layers="block",
        methods=["LayerGradCam", "LayerHiResCam"],
        sections=["checks"],
        show_progress=False,
    )
    (finding,) = (f for f in done.overview.findings if f.section == "checks")
    assert finding.verdict == "wrong"
    assert finding.text.startswith("LayerGradCam at block, LayerHiResCam at block: the map stays")
    assert [row["verdict"] for row in rows(done.tables["checks"])] == ["does not change"] * 2
    page = done.to_html()
    assert "1 problem found" in page
    assert '<a href="#checks">Sanity check: do the maps depend on the weights?</a>' in page
    assert "Do not use these maps as explanations." in page


def test_eigen_cam_is_said_to_be_blind_to_the_class(done):
    results = {row["method"]: row["verdict"] for row in rows(done.tables["checks"])}
    assert results["LayerEigenCam"] in ("blind to the class", "does not change")
    assert results["LayerEigenCam"] != results["Saliency"] == "changes"
    texts = [f.text for f in done.overview.findings if f.verdict != "fine"]
    assert any("LayerEigenCam at block" in text for text in texts)


def test_sections_alone_make_the_maps_that_they_judge(model, images):
    done = audit(model, images, layers="block", methods=["LayerHiResCam"], sections=["methods"],
                 show_progress=False)  # fmt: skip
    targets = done.arrays["explained_classes"].tolist()
    expected = attr.LayerHiResCam(model, "block").attribute(images, targets)
    np.testing.assert_allclose(done.arrays["attributions/block/LayerHiResCam"], expected, rtol=1e-4)


def test_methods_that_do_not_fit_the_layer_are_left_out(images):
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 18, 2)
    ).eval()
    done = audit(model, images, layers="1", methods=["LayerCam", "LayerHiResCam"],
                 sections=["methods", "checks"], show_progress=False)  # fmt: skip
    assert not done.problems
    assert {r["method"] for r in rows(done.tables["checks"])} == {"LayerHiResCam"}
    assert "LayerCam" not in {r["method"] for r in rows(done.tables["methods"])}


def test_the_overview_says_what_was_seen_and_what_was_not_checked(model, images):
    done = audit(model, images, class_names=["cat", "dog", "egg"], sections=["summary"],
                 show_progress=False)  # fmt: skip
    names = [["cat", "dog", "egg"][i] for i in done.arrays["explained_classes"]]
    assert [text.split(",")[0] for text in done.overview.saw] == [
        f"photo {n}: {name}" for n, name in enumerate(names, 1)
    ]
    assert len(done.overview.unchecked) == 3
    shares = done.arrays["probabilities"].max(1)
    verdict = "unsure" if (shares < 0.5).any() else "fine"
    (finding,) = (f for f in done.overview.findings if f.numbers)
    assert finding.verdict == verdict
    assert dict(finding.numbers)["least_probability"] == pytest.approx(float(shares.min()))
    assert dict(finding.numbers)["photos_below_half"] == (shares < 0.5).sum()


def test_what_is_wrong_with_the_model_stands_on_top(images):
    training = small().train()
    done = audit(training, images, class_names=["a"], sections=["summary"], show_progress=False)
    wrong = [finding.text for finding in done.overview.of("wrong")]
    assert len(wrong) == 2
    assert "training mode" in wrong[0]
    assert "1 class names for 3 outputs" in wrong[1]


def test_headlines_count():
    def headline(*verdicts):
        return Overview((), tuple(Finding(v, "text", "key") for v in verdicts), ()).headline

    assert headline() == "Nothing was checked in this report."
    assert headline("fine") == "1 check made, no problem found."
    assert headline("fine", "wrong", "wrong", "unsure") == (
        "4 checks made: 2 problems found, 1 needs a closer look."
    )


def test_unknown_activations_are_doubtful_and_known_ones_counted(images, model):
    done = audit(model, images[:1], sections=["reconstructions"], show_progress=False)
    (finding,) = done.overview.findings
    assert finding.verdict == "fine"
    assert dict(finding.numbers) == {"rectifiers": 2.0, "kinds_unknown": 0.0}

    class Masked(nn.Module):
        def forward(self, x):
            return x * (x > 0)

    odd = nn.Sequential(
        nn.Conv2d(3, 4, 3), Masked(), nn.Conv2d(4, 4, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    ).eval()  # fmt: skip
    done = audit(odd, images[:1], layers="3", sections=["reconstructions"], show_progress=False)
    (finding,) = done.overview.findings
    assert finding.verdict == "unsure"
    assert "Mul" in finding.text
    assert "Mul" in done.manifest["rule_coverage"][0]["unknown"]
    assert "escaped" not in text_of(done, "reconstructions")


@pytest.mark.parametrize(
    ("differences", "word"),
    [
        ([0.1] * 6, 1),  # of 64 ways to flip signs, 2 are as far from 0
        ([-0.1] * 6, -1),
        ([0.1] * 5, 0),  # 2 of 32 are more than 5 %
        ([0.5, 0.4, 0.3, 0.2, 0.1, -0.05, 0.1, 0.1], 1),
        ([0.5, -0.4, 0.3, -0.2, 0.1, -0.05, 0.1, 0.1], 0),
        ([0.0] * 8, 0),
        ([1.0], 0),
    ],
)
def test_photos_decide_where_chance_seldom_would(differences, word):
    assert methods.decided(torch.tensor(differences)) == word


def test_too_few_photos_decide_nothing_and_say_so(done):
    assert not [f for f in done.overview.findings if f.section == "methods"]
    (text,) = (text for text in done.overview.unchecked if "baselines: " in text)
    assert text == (
        "Whether the maps of Saliency, LayerHiResCam at block, LayerEigenCam at block are more "
        "faithful than the two baselines: 2 photos did not decide it. Give 6 or more."
    )


def test_what_enough_photos_decide_is_a_finding(model):
    """The maps that insertion and deletion like best and least: the score's own change."""
    done = audit(model, small_images(8), layers="block", methods=METHODS, show_progress=False,
                 sections=["attributions", "methods"])  # fmt: skip
    found = {row["method"]: row for row in rows(done.tables["methods"])}
    words = {"beats both baselines": 1, "worse than a baseline": -1, "not decided": 0}
    areas = {key: np.array(done.arrays[key]) for key in done.arrays if key.startswith("faithful")}
    assert {value.shape for value in areas.values()} == {(2, 8)}
    quality = {key.split("/")[-1]: up - down for key, (up, down) in areas.items()}
    expected = {1: set(), -1: set(), 0: set()}
    for name in METHODS:
        signs = [methods.decided(torch.tensor(quality[name] - quality[control]))
                 for control in ("Gaussian", "random")]  # fmt: skip
        expected[min(signs)].add(name)
    texts = {f.verdict: f.text for f in done.overview.findings if f.section == "methods"}
    left = " ".join(text for text in done.overview.unchecked if "baselines: " in text)
    for sign, text in ((1, texts.get("fine", "")), (-1, texts.get("unsure", "")), (0, left)):
        assert {name for name in METHODS if name in text} == expected[sign]
    assert set().union(*expected.values()) == set(METHODS) <= set(found)
    assert all(name in expected[words[found[name]["verdict"]]] for name in METHODS)
