"""The audit of a labelled data set: its numbers, its findings, its files, and what it refuses."""

import csv
import gc
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from digits import mnist, trained
from PIL import Image
from reports import content
from test_examples import BY_ITSELF, FOLDER, run_as_it_is
from torch import nn

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights import audit_dataset
from captum_cnn_ext.insights.dataset import map_statistics, scores
from captum_cnn_ext.insights.report.blocks import Facts
from captum_cnn_ext.metrics import share_difference, wilson


def data(count=400, start=4000):
    images, labels = mnist()
    return [(images[n], int(labels[n])) for n in range(start, start + count)]


def audited(samples=None, model=None, test_shortcuts=False, **options):
    options |= {"test_shortcuts": test_shortcuts, "show_progress": False}
    return audit_dataset(model or trained(), samples or data(), **options)


def found(done, id):
    (one,) = [finding for finding in done.findings if finding.id == id]
    return one


def ids(done, verdict=None):
    return [f.id for f in done.findings if verdict is None or f.verdict == verdict]


# --- numbers ------------------------------------------------------------------------------------


def test_wilson_and_newcombe_are_those_of_the_literature():
    # Newcombe 1998, table II: 56/70 - 48/80 by method 10; Wilson's interval of 81/263 in his
    # companion paper (Two-sided confidence intervals for the single proportion, table I)
    difference = share_difference(56, 70, 48, 80)
    assert [round(v, 4) for v in (difference.low, difference.high)] == [0.0524, 0.3339]
    for hits, count, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
                                   (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):  # fmt: skip
        found = wilson(hits, count)
        assert [round(v, 4) for v in (found.low, found.high)] == [low, high]


def test_calibration_of_hand_made_predictions():
    confidence = np.array([0.95] * 100 + [0.55] * 100)
    right = np.array([1] * 80 + [0] * 20 + [1] * 55 + [0] * 45)
    found = scores.calibration(confidence, right)
    assert abs(found.error.mean - 0.5 * 0.15) < 1e-9  # half the images are off by 0.15
    assert abs(found.gap - 0.075) < 1e-9
    assert found.error.low < 0.075 < found.error.high
    assert found.by_chance < 0.075
    calm = scores.calibration(confidence, np.array([1] * 95 + [0] * 5 + [1] * 55 + [0] * 45))
    assert calm.error.mean < 1e-9 < calm.by_chance
    # a bin of its own at 1.0, and both ends are in
    ends = scores.calibration(np.array([0.0, 1.0]), np.array([0, 1]))
    assert [round(b[0], 6) for b in ends.bins] == [0.0, 1.0]


def test_confusions_and_class_scores():
    labels = np.array([0, 0, 0, 1, 1, 2])
    named = np.array([0, 1, 1, 1, 0, 2])
    assert scores.confusions(labels, named) == [(0, 1, 2), (1, 0, 1)]
    first = scores.class_scores(labels, named, 4)
    assert [(s.index, s.images, s.found, s.named) for s in first] == [
        (0, 3, 1, 2), (1, 2, 1, 3), (2, 1, 1, 1)
    ]  # fmt: skip


def test_where_maps_lie():
    cover = map_statistics.border_cover(16, 16)
    expected = np.ones((16, 16))
    expected[2:14, 2:14] = 0
    np.testing.assert_allclose(cover, expected)
    coarse = map_statistics.border_cover(7, 7)  # an eighth is 0.875 of a position
    assert abs(coarse[3, 0] - 0.875) < 1e-6
    assert abs(coarse.mean() - map_statistics.border_area()) < 1e-6

    class Records:
        maps = np.zeros((3, 8, 8), dtype=np.float16)

        def __len__(self):
            return 3

    records = Records()
    records.maps[0, 0, 0] = 1  # one corner
    records.maps[1] = 1  # even
    records.maps[2, 3, 5] = -1  # nothing positive
    found = map_statistics.map_statistics(records)
    np.testing.assert_allclose(
        found["border_share"][:2], [1, map_statistics.border_area()], rtol=1e-5
    )
    np.testing.assert_allclose(found["half_area"][:2], [0.5 / 64, 0.5], rtol=1e-4)
    np.testing.assert_allclose(found["center_x"][:2], [1 / 16, 0.5], rtol=1e-5)
    assert all(np.isnan(values[2]) for values in found.values())


def test_on_the_object():
    images = torch.zeros(3, 1, 64, 64)
    masks = [torch.zeros(64, 64, dtype=torch.bool) for _ in range(2)]
    masks[0][:32, :32] = True
    masks[1][:32, :32] = True
    maps = torch.zeros(3, 1, 64, 64)
    maps[0, 0, :32, :32] = 1  # exactly the object
    maps[1, 0, 50:60, 50:60] = 1  # elsewhere
    found = map_statistics.object_columns(images, maps, [*masks, None])
    np.testing.assert_allclose(found["object_share"][:2], [0.25, 0.25])
    np.testing.assert_allclose(found["energy_inside"][:2], [1, 0])
    np.testing.assert_allclose(found["pointing_game"][:2], [1, 0])
    assert found["rank_accuracy"][0] == 1
    assert found["rank_accuracy"][1] < 1
    assert all(bool(values[2].isnan()) for values in found.values())


def test_how_far_evidence_moved():
    left, right = np.zeros((2, 4, 4), dtype=np.float32)
    left[:, 0], right[:, 3] = 0.25, 0.25
    assert map_statistics.distance(left, left) == 0
    assert map_statistics.distance(left, right) == 1
    assert abs(map_statistics.distance(left, (left + right) / 2) - 0.5) < 1e-6
    fine = np.kron(left, np.ones((2, 2), dtype=np.float32)) / 4
    assert map_statistics.distance(fine, left) < 1e-6  # on the coarser grid


# --- the audit ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def usual():
    return audited()


def test_accuracy_and_the_table_are_the_models(usual):
    images, labels = (torch.stack(v) if i == 0 else torch.tensor(v)
                      for i, v in enumerate(zip(*data(), strict=True)))  # fmt: skip
    with torch.no_grad():
        named = trained()(images).argmax(1)
    right = int((named == labels).sum())
    assert found(usual, "accuracy").numbers[0] == ("accuracy", right / 400)
    assert usual.table["prediction"].tolist() == named.tolist()
    assert usual.page.problems == ()
    assert set(usual.table) >= {"path", "label", "confidence", "border_share", "flags"}
    flagged = [n for n, words in enumerate(usual.table["flags"]) if "confident error" in words]
    assert len(flagged) == 12
    assert all(named[n] != labels[n] for n in flagged)


def test_files(usual, tmp_path):
    saved = usual.save(tmp_path / "digits.html")
    page = saved.report.read_text()
    assert "How good is it?" in page
    assert "Where does it look?" in page
    assert not re.search(r"https?:", page)
    assert len(page) < 8_000_000
    with open(saved.tables / "images.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 400
    assert [int(row["label"]) for row in rows] == usual.table["label"].tolist()
    findings = json.loads(saved.findings.read_text())
    assert [f["id"] for f in findings] == ids(usual)
    for one in findings:
        assert one["severity"] in ("high", "medium", "none")
        assert one["numbers"]
        for place in one["evidence"]:
            if place.startswith("digits.tables/"):
                assert (tmp_path / place).is_file(), place
    with np.load(saved.arrays) as arrays:
        assert arrays["maps"].shape == (400, 8, 8)
    record = json.loads(saved.manifest.read_text())
    assert "digits.findings.json" in record["files"]


def test_the_same_again(usual):
    again = audited()
    assert [f for f in again.findings] == [f for f in usual.findings]


def test_labels_in_another_order_are_said():
    turned = [(image, (label + 3) % 10) for image, label in data()]
    done = audited(turned)
    one = found(done, "labels-in-another-order")
    assert one.verdict == "wrong"
    assert dict(one.numbers)["accuracy_in_other_order"] > 0.8
    # chance alone is not another order: labels without any relation
    random = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (400,), generator=random).tolist()
    mixed = audited([(image, n) for (image, _), n in zip(data(), labels, strict=True)])
    assert "labels-in-another-order" not in ids(mixed)
    assert found(mixed, "accuracy-at-chance").verdict == "wrong"


def test_a_class_that_is_found_less_is_named():
    samples = [(image, 8 if label == 3 else label) for image, label in data(600)]
    done = audited(samples)
    one = found(done, "class-found-less-8")
    assert one.subject == "class 8"
    assert one.interval[1] < 0.8
    assert "class-found-less-1" not in ids(done)


def test_groups():
    samples = data()
    wrong = {n for n in range(0, 80)}
    samples = [
        (image, (label + 1) % 10 if n in wrong and n % 2 else label)
        for n, (image, label) in enumerate(samples)
    ]
    names = ["north" if n < 80 else "south" for n in range(400)]
    done = audited(samples, groups=names)
    assert "group-worse-north" in ids(done)
    assert "group-worse-south" not in ids(done)
    assert done.table["group"].tolist() == names
    with pytest.raises(ArgumentError, match="got 1 for 400 images"):
        audited(samples, groups=["a"])


def tagged(label):
    """A network that looks at the corner for one class, else at the middle; and images for it."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4)
    ).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1, 0, 0])[:, None, None, None])
        model[0].bias.zero_()
        model[4].weight.zero_()
        model[4].bias.zero_()
        model[4].weight[label, 1] = 100
        model[4].weight[(label + 1) % 4, 0] = 10
    images, labels, masks = [], [], []
    random = torch.Generator().manual_seed(1)
    for number in range(160):
        of = number % 4
        image = torch.zeros(1, 32, 32)
        mask = torch.zeros(32, 32, dtype=torch.bool)
        top, left = torch.randint(4, 18, (2,), generator=random).tolist()
        mask[top : top + 8, left : left + 12] = True
        image[0, mask] = 0.5 + torch.rand(96, generator=random)
        if of == label:
            image[0, :3, :3] = -2
        images.append(image)
        labels.append(of if of in (label, (label + 1) % 4) else (label + 1) % 4)
        masks.append(mask)
    return model, list(zip(images, labels, masks, strict=True))


def test_masks_tell_what_lies_beside_the_object():
    model, samples = tagged(2)
    done = audited(samples, model, layer="1")
    assert found(done, "accuracy").numbers[0][1] == 1
    one = found(done, "evidence-off-object-2")
    assert dict(one.numbers)["pointing_game"] == 0
    assert dict(one.numbers)["energy_inside"] == 0
    assert "evidence-off-object-3" not in ids(done)
    assert done.page.tables["objects"].rows[1][3] == 1.0


# --- strategies and shortcuts -------------------------------------------------------------------


def test_a_planted_shortcut_is_tested_and_named(tmp_path):
    model, samples = tagged(2)
    done = audited(samples, model, layer="1", test_shortcuts=True)
    assert done.page.problems == ()
    named = [finding for finding in done.findings if finding.id.startswith("shortcut-")]
    assert {finding.verdict for finding in named} == {"wrong"}
    (tag,) = [finding for finding in named if finding.subject == "class 2"]
    assert dict(tag.numbers)["flips"] > 0.9
    assert "relies on" in tag.text
    assert [one.label for one in done.shortcuts.shortcuts].count(2) >= 1
    saved = done.save(tmp_path / "audit.html")
    written = json.loads(saved.findings.read_text())
    assert [f["id"] for f in written if f["severity"] == "high"] == [f.id for f in named]
    assert (saved.tables / "shortcuts.csv").is_file()
    page = saved.report.read_text()
    assert "Shortcuts, tested" in page
    assert "wrong" not in page[page.index('id="in-short"') :].split("</section>")[0].lower()
    assert set(done.table["strategy"].tolist()) >= {0}
    assert any("gives" in words for words in done.table["flags"])


def test_the_page_says_which_class_how_sure_and_how_often_this_is_wrong():
    model, samples = tagged(2)
    done = audited(samples, model, layer="1", test_shortcuts=True)
    labels = sorted({one.label for one in done.shortcuts.shortcuts})
    names = ", ".join(f"“class {label}”" for label in labels)
    first = done.page.overview.headline
    assert f"and it relies on a shortcut for {names}; " in first
    others = [f for f in done.findings if f.verdict != "fine" and not f.id.startswith("shortcut-")]
    assert first.endswith(f"; {len(others)} other findings need a look.")
    facts = dict(next(b for b in content(done.page, "shortcuts") if isinstance(b, Facts)).pairs)
    assert facts["A shortcut was found for"] == ", ".join(f"class {label}" for label in labels)
    assert facts["Tried"].startswith(f"{done.shortcuts.candidates} features; ")
    table, often = content(done.page, "by_class")  # the first section: a row a class, worst first
    assert done.page.sections[0][0].key == "by_class"
    assert [row[1] for row in table.rows[: len(labels)]] == ["shortcut"] * len(labels)
    assert len(table.rows) == len(set(done.records.labels.tolist()))
    assert [row[1] for row in table.rows[len(labels) :]] == ["see the other class"]
    assert facts["Known by the lack of it"] == "class 3"
    assert facts["None was found for"] == "no other class"
    assert "put into other images it turns" in table.rows[0][4]
    assert often.text.startswith("How often is this wrong?")
    unchecked = " ".join(done.page.overview.unchecked)
    for kind in ("brightness", "saturation", "hue", "texture", "noise"):
        assert kind.replace("saturation", "strength of colour") in unchecked


def test_of_two_classes_what_one_lacks_is_the_same_fact_as_what_the_other_has():
    model, samples = tagged(2)  # the tag is class 2's; class 3 is known by its not being there
    done = audited(samples, model, layer="1", test_shortcuts=True)
    assert sorted(set(done.records.labels.tolist())) == [2, 3]
    (one,) = [f for f in done.findings if f.id.startswith("shortcut-")]
    assert one.subject == "class 2"
    assert "the patch at the top left corner" in one.text
    assert "Of two classes the background of class 3 is the same fact from the other side." in (
        one.text
    )
    assert "the opposite in the other one" in one.next_step
    assert [row[1] for row in done.page.tables["by_class"].rows] == [
        "shortcut",
        "see the other class",
    ]
    assert "relies on a shortcut for “class 2”;" in done.page.overview.headline
    told = {(row[0], row[1], row[3]) for row in done.page.tables["shortcuts"].rows}
    assert {("class 2", "brightness", "shortcut"), ("class 2", "patch", "same as brightness"),
            ("class 3", "background", "same as brightness")} <= told  # fmt: skip


def test_how_often_the_tests_are_wrong_is_what_the_benchmark_reports():
    from captum_cnn_ext.insights.dataset.sections.shortcuts import HOW_OFTEN

    results = Path(__file__).parents[1] / "benchmarks" / "results" / "shortcut_truth--report.md"
    row = next(line for line in results.read_text().splitlines() if "`find_shortcuts`" in line)
    found, false = re.findall(r"(\d+ of \d+) \([\d.]+ \[([\d.]+), ([\d.]+)\]\)", row)
    assert f"found {found[0]} planted shortcuts" in HOW_OFTEN
    assert f"at least {float(found[1]):.0%} with" in HOW_OFTEN
    assert f"named one in {false[0]} networks without any (at most {float(false[2]):.0%})" in (
        HOW_OFTEN
    )


def test_where_evidence_lies_is_not_called_reliance():
    model, samples = tagged(2)
    texts = [f.text for f in audited(samples, model, layer="1").findings]
    assert any("strongest evidence lies on the object in only" in text for text in texts)
    assert not any("relies" in text for text in texts)


def test_strategies_are_those_of_the_evidence(tmp_path):
    # a model that names class 2 by the corner in half of its images, by a bright middle in others
    model, samples = tagged(2)
    with torch.no_grad():
        model[0].weight[2], model[0].bias[2] = 1, -1.5
        model[4].weight[2, 2] = 400
    half = {n for n in range(2, 160, 8)}
    samples = [
        (torch.where(mask, image + 2, image).clamp_min(0) if n in half else image, label, mask)
        for n, (image, label, mask) in enumerate(samples)
    ]
    done = audited(samples, model, layer="1", test_shortcuts=True)
    assert done.page.problems == ()
    groups, named = done.table["strategy"], done.table["prediction"]
    assert ((groups >= 0) == (np.bincount(named)[named] >= 20)).all()
    inside = {n: int(groups[n]) for n in range(160) if named[n] == 2}
    assert set(inside) == set(range(2, 160, 4))
    assert len({inside[n] for n in half}) == 1
    assert {inside[n] for n in half} & {inside[n] for n in inside if n not in half} == set()
    saved = done.save(tmp_path / "audit.html")
    assert "class 2: 2 strategies" in saved.report.read_text().replace("<wbr>", "")
    assert (saved.tables / "strategies.csv").is_file()


def test_tests_that_are_left_out_are_named(usual):
    assert "strategy" not in usual.table
    assert any("were left out" in text for text in usual.page.overview.unchecked)


# --- against another model ----------------------------------------------------------------------


def test_an_older_model_that_was_better():
    worse = nn.Sequential(*[m for m in trained()])
    worse = torch.nn.Sequential(*worse[:-1], nn.Linear(256, 10)).eval()
    with torch.no_grad():
        worse[-1].weight.copy_(trained()[-1].weight)
        worse[-1].bias.copy_(trained()[-1].bias)
        worse[-1].bias[3] -= 6  # 3 is not found any more
    done = audited(model=worse, against=trained())
    assert found(done, "worse-than-before").interval[1] < 0
    assert "class-worse-than-before-3" in ids(done)
    assert "class-worse-than-before-1" not in ids(done)
    assert "looks-where-it-did" in ids(done)
    same = audited(model=worse, against=nn.Sequential(*worse).eval())
    assert dict(found(same, "not-worse-than-before").numbers)["difference"] == 0
    with pytest.raises(ArgumentError, match="got the audited model itself"):
        audited(model=worse, against=worse)
    three = nn.Sequential(*trained()[:-1], nn.Linear(256, 3)).eval()
    with pytest.raises(ArgumentError, match="has 3 classes, the audited model 10"):
        audited(model=worse, against=three)


def test_a_model_of_equal_accuracy_that_looks_elsewhere():
    model, samples = tagged(2)
    old, _ = tagged(2)
    with torch.no_grad():  # the old one names class 2 by the middle
        old[4].weight.zero_()
        old[4].weight[2, 0] = 1
    samples = [sample for sample in samples if sample[1] == 2]
    done = audited(samples, model, layer="1", against=old)
    assert "not-worse-than-before" in ids(done)
    assert dict(found(done, "looks-elsewhere-than-before-2").numbers)["moved"] > 0.9
    # a twin that moves as much says that it means nothing
    twin = audited(samples, model, layer="1", against=old, twin=nn.Sequential(*old).eval())
    assert "looks-elsewhere-than-before-2" not in ids(twin)


# --- bad input ----------------------------------------------------------------------------------


def test_arguments_are_refused_before_any_pass_over_the_data():
    model, other = trained(), nn.Sequential(*trained()).eval()
    three = nn.Sequential(*trained()[:-1], nn.Linear(256, 3)).eval()
    images, refused = [], [  # with how many images a model saw before
        ({"twin": other}, "twin: needs against= as well", 0),
        ({"against": model}, "against: got the audited model itself", 0),
        ({"against": other, "twin": model}, "twin: got the audited model itself", 0),
        ({"groups": ["here"]}, "groups: got 1 for 40 images", 0),
        ({"against": three}, "against: has 3 classes, the audited model 10", 2),
        ({"against": other, "twin": three}, "twin: has 3 classes, the audited model 10", 3),
    ]  # fmt: skip
    hooks = [
        one.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0])))
        for one in (model, other, three)
    ]
    try:
        for options, message, most in refused:
            images.clear()
            with pytest.raises(ArgumentError, match=message):
                audited(data(40), model, **options)
            assert sum(images) == most, message
    finally:
        for hook in hooks:
            hook.remove()


def test_one_image_and_one_class():
    one = audited(data(1))
    assert found(one, "accuracy-one-class").verdict == "unsure"
    assert one.page.problems == ()
    assert one.to_html()


def test_many_classes_with_three_images_each():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 1000)
    ).eval()
    samples = [(torch.rand(1, 12, 12), n // 3) for n in range(3000)]
    done = audited(samples, model)
    assert done.page.problems == ()
    assert "labels-in-another-order" not in ids(done)
    assert not [i for i in ids(done) if i.startswith("class-found-less")]
    assert len(done.to_html()) < 8_000_000


def test_one_output():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 1)).eval()
    samples = [(torch.rand(1, 12, 12), n % 2) for n in range(40)]
    done = audited(samples, model, layer="1")
    assert done.page.problems == ()
    assert done.records.classes == 2


def test_what_cannot_be_read_is_listed(tmp_path):
    from captum_cnn_ext.photos import labelled_photos

    for name in ("a/1.png", "a/2.png", "b/1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (28, 28), 90).save(tmp_path / name)
    (tmp_path / "a" / "0.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()

    def preprocess(picture):
        return torch.from_numpy(np.asarray(picture.convert("L"), dtype="f4"))[None] / 255

    done = audited(labelled_photos(tmp_path), preprocess=preprocess)
    html = done.to_html()
    assert "1 image was left out" in html
    assert "a/0.png: UnidentifiedImageError" in html
    assert "Classes without a photo: &#39;empty&#39;" in html
    assert done.table["path"].tolist() == ["a/1.png", "a/2.png", "b/1.png"]


def test_labels_that_name_no_class_are_said_before_any_number():
    samples = [(image, 12 if n % 4 == 0 else label) for n, (image, label) in enumerate(data(80))]
    done = audited(samples)
    first = done.page.overview.of("wrong")[0]
    assert first.id == "labels-without-class"
    assert "labels of 20 of 80 images are no class of the model (label 12 names no class" in (
        first.text
    )
    assert dict(first.numbers) == {"left_out": 20.0, "used": 60.0}
    assert "--class-names" in first.next_step
    assert "right on" in done.page.overview.headline
    assert "of 60 images" in done.page.overview.headline
    assert "labels-without-class" not in ids(audited(data(80)))


def folders(root, names):
    from captum_cnn_ext.photos import labelled_photos

    for name in names:
        (root / name).mkdir(parents=True)
        Image.new("L", (28, 28), 90).save(root / name / "1.png")
    return labelled_photos(root)


def grey(picture):
    return torch.from_numpy(np.asarray(picture.convert("L"), dtype="f4"))[None] / 255


def test_fewer_classes_than_outputs_by_order_alone_are_said_first(tmp_path):
    done = audited(folders(tmp_path / "a", ["cat", "dog"]), preprocess=grey)
    first = done.page.overview.of("wrong")[0]
    assert first.id == "classes-by-order"
    assert "the 2 classes of this data set are the model's outputs 0 to 1, of 10" in first.text
    assert "Classes are numbered in the order of their names" in done.page.overview.saw[-1]
    # where the folders say which outputs they are there is nothing to settle
    done = audited(folders(tmp_path / "b", ["7", "3"]), preprocess=grey)
    assert "classes-by-order" not in ids(done)
    assert sorted(done.table["label"].tolist()) == [3, 7]


def test_names_of_another_number_than_the_outputs_are_refused():
    for names in (["a"] * 9, ["a"] * 11):
        with pytest.raises(ArgumentError, match=f"{len(names)} names for a model with 10 outputs"):
            audited(data(4), class_names=names)
    done = audited(data(4), class_names={3: "three"})
    assert done.table["label_name"].tolist() == [
        "three" if n == 3 else f"class {n}" for n in done.table["label"]
    ]


def test_labels_that_are_no_outputs_are_refused_before_the_pass(tmp_path):
    with pytest.raises(ArgumentError, match=r"all labels are above .* smallest label is 2019"):
        audited(folders(tmp_path / "a", ["2019", "2020"]), preprocess=grey)


def test_unreadable_images_are_a_finding_of_their_own():
    class Broken(list):
        def __getitem__(self, index):
            if index in (3, 7):
                raise OSError("broken file")
            return super().__getitem__(index)

    done = audited(Broken(data(80)))
    one = found(done, "images-left-out")
    assert (one.verdict, one.numbers[0]) == ("unsure", ("left_out", 2.0))
    assert "2 of 80 images could not be used, such as image 3 (OSError: broken file)" in one.text
    assert len(done.table["label"]) == 78


def test_masks_of_another_size_are_listed_and_lose_no_image():
    model, samples = tagged(2)
    small = torch.ones(8, 8, dtype=torch.bool)
    samples = [(x, y, small if n < 3 else mask) for n, (x, y, mask) in enumerate(samples)]
    done = audited(samples, model, layer="1")
    html = done.to_html()
    assert "Masks that could not be used, the first ones" in html
    assert "image 0: mask: has shape (8, 8), its image 32 x 32 (height, width)" in html
    assert "3 of 160 images have no usable mask." in html
    assert len(done.table["label"]) == 160
    assert done.page.tables["objects"].rows


def test_a_folder_is_its_labelled_photos(tmp_path):
    for name, colour in (("ant", 20), ("zebra", 200)):
        (tmp_path / name).mkdir()
        for number in range(4):
            picture = Image.new("RGB", (8, 8), (colour + number,) * 3)
            picture.save(tmp_path / name / f"{number}.png")
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)).eval()
    options = {"layer": "1", "preprocess": pil_to_tensor, "class_names": {1: "ant", 0: "zebra"}}
    with pytest.raises(ArgumentError, match="data: there is no folder 'nowhere'"):
        audit_dataset(model, "nowhere", **options)
    done = audited(str(tmp_path), model, **options)
    labels = dict(zip(done.table["path"], done.table["label"].tolist(), strict=True))
    assert labels == {f"{c}/{n}.png": int(c == "ant") for c in ("ant", "zebra") for n in range(4)}
    assert list(done.table["label_name"]) == ["ant"] * 4 + ["zebra"] * 4


def pil_to_tensor(picture):
    return torch.tensor(np.asarray(picture)).movedim(-1, 0) / 255


def test_every_section_fails_alone(monkeypatch):
    from captum_cnn_ext.insights.dataset.sections import attention as section

    def broken(audited, report):
        raise RuntimeError("not today")

    monkeypatch.setattr(section, "SECTION", replace(section.SECTION, build=broken))
    done = audited(data(60))
    assert [str(problem) for problem in done.page.problems] == [
        "Where does it look?: RuntimeError: not today"
    ]
    assert "not today" in done.to_html()
    assert "accuracy" in ids(done)


def test_facts_are_counted_once_and_a_search_that_fails_stops_no_other_section(monkeypatch):
    from captum_cnn_ext.insights.dataset import audited as facts

    calls = []

    def counted(name, function):
        return lambda *given, **options: calls.append(name) or function(*given, **options)

    def fails(*given, **options):
        raise RuntimeError("not today")

    for name in ("class_scores", "map_statistics", "strategies"):
        monkeypatch.setattr(facts, name, counted(name, getattr(facts, name)))
    monkeypatch.setattr(facts, "find_shortcuts", counted("find_shortcuts", fails))
    done = audited(data(60), test_shortcuts=True)
    assert sorted(calls) == ["class_scores", "find_shortcuts", "map_statistics", "strategies"]
    assert [str(one) for one in done.page.problems] == [
        "Shortcuts, tested: RuntimeError: not today"
    ]
    assert {row[1] for row in done.page.tables["by_class"].rows} == {"not tested"}
    assert done.shortcuts is None
    assert "strategy" in done.table


@pytest.mark.slow
def test_the_demo_finds_its_plant(tmp_path, monkeypatch, capsys):
    from captum_cnn_ext.insights.dataset.demo import PLANTED

    before = torch.get_rng_state()
    names = run_as_it_is(FOLDER / f"{BY_ITSELF}.py", tmp_path, monkeypatch, capsys)
    assert torch.equal(before, torch.get_rng_state())
    photos, done = names["photos"], names["done"]
    folder = photos.files[0].parents[1]
    assert done.page.problems == ()
    named = {f.subject for f in done.findings if f.id.startswith("shortcut-")}
    assert named == {PLANTED}
    assert f"evidence-off-object-{photos.classes.index(PLANTED)}" in ids(done)
    names.clear()
    del photos, done
    gc.collect()
    assert not folder.exists()
