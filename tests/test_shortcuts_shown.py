"""What of a tested shortcut is shown: images before and after, and the part of it that counts."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from reports import content
from test_dataset_audit import audited
from test_dataset_audit import tagged as tagged_with_masks
from test_shortcuts import ROWS, SIDE, blobs, net
from torch import nn

from captum_cnn_ext.evidence import find_shortcuts, image_records
from captum_cnn_ext.evidence.shortcuts.candidates import candidates, within
from captum_cnn_ext.evidence.shortcuts.permutation import some_pairs
from captum_cnn_ext.evidence.shortcuts.same_picture import compact
from captum_cnn_ext.evidence.shortcuts.samples import predictor, sample_of
from captum_cnn_ext.evidence.shortcuts.suspects import claim, with_part
from captum_cnn_ext.evidence.shortcuts.transplants import run_trial, split
from captum_cnn_ext.insights.dataset.pictures import on_one_scale
from captum_cnn_ext.insights.gate.measuring import listed
from captum_cnn_ext.insights.report.blocks import Panels, Table
from captum_cnn_ext.insights.report.findings import Finding, Overview
from captum_cnn_ext.insights.wording import first_of


@pytest.fixture(scope="module")
def found():
    model, data = net(ROWS, tag=5.0), blobs(share=0.7)
    return model, data, find_shortcuts(model, data, image_records(model, "0", data))


def test_images_before_and_after_are_the_very_images_of_the_test(found):
    model, data, shortcuts = found
    first = shortcuts.shortcuts[0]
    assert (first.kind, len(first.changed)) == ("patch", 4)
    assert len({one.image for one in first.changed}) == 4
    assert len({one.giver for one in first.changed}) > 1
    for one in first.changed:
        image, label = data[one.image]
        donor, own = data[first.images[one.giver]]
        assert (label, own) == (one.before, 1)
        assert label != 1
        with torch.no_grad():
            assert model(torch.stack([image, one.pixels])).argmax(1).tolist() == [label, one.after]
        top, left, bottom, right = first.box
        inside = (slice(None), slice(top, bottom), slice(left, right))
        assert torch.equal(one.pixels[inside], donor[inside])
        differs = (one.pixels != image).any(0)
        assert 0 < differs.sum() <= 16  # within a window of a quarter of each side
        assert torch.equal(one.pixels[:, differs], donor[:, differs])
    assert [one.after for one in first.changed] == [1] * 4  # 94 of 100 tries turned
    assert first.turned == round(first.flips * first.tries)
    assert first.tries == first.receivers * len(first.images)


def test_those_that_turned_are_shown_first_and_others_with_what_the_model_says(found):
    flips = torch.zeros(3, 6, dtype=torch.bool)
    flips[1, 4] = flips[:2, 5] = True
    assert some_pairs(flips) == [(1, 4), (1, 5), (2, 0), (0, 1)]
    model, data, _ = found
    records = image_records(model, "0", data)
    sample = sample_of(model, data, records, [0, 1, 2], 28, None, 0)
    window = next(c for c in candidates(sample, 1) if c.place and c.place.box[:2] == (0, 12))
    trial = run_trial(predictor(model, records, 64), sample, split(sample, 1, 0), window, 0)
    for image, giver, after in trial.shown:
        made = window.give(torch.tensor([image]), trial.givers[giver : giver + 1])
        with torch.no_grad():
            assert model(made).argmax(1).tolist() == [after]


def masked(data):
    """With masks of the middle, of which no tag is a part."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[5:11, 4:10] = True
    return [(image, label, mask) for image, label in data]


@pytest.mark.parametrize("kind", ["background", "border"])
def test_what_counts_in_a_background_is_the_place_that_turns_images_alone(kind):
    model, data = net(ROWS, tag=5.0), masked(blobs(share=1.0))
    records = image_records(model, "0", data)
    sample = sample_of(model, data, records, [0, 1, 2], 28, None, 0)
    parts, predict = split(sample, 1, 0), predictor(model, records, 64)
    one = [c for c in candidates(sample, 1) if c.kind == kind][kind == "border"]  # the wide frame
    trial = run_trial(predict, sample, parts, one, 0)
    box, share = trial.part
    top, left, bottom, right = box
    assert (top, right) == (0, SIDE)
    assert (bottom <= 4, left >= SIDE - 4) == (True, True)
    alone = within(sample, one, box)
    pairs = torch.cartesian_prod(trial.givers, parts.counted)
    made = alone.give(pairs[:, 1], pairs[:, 0])
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[top:bottom, left:right] = False
    assert torch.equal(made[..., outside], sample.images[pairs[:, 1]][..., outside])
    assert share == float((predict(made) == 1).float().mean())
    assert share >= 0.5 * trial.flips > 0.4
    assert trial.where() == (str(one.place) if one.place else "", box)
    # the same donors, and a model that looks at another pixel of theirs
    own = sample.images[sample.labels == 1][:, 0, -1, 0]

    def elsewhere(images):
        return (images[:, 0, -1, :1] == own).any(1).long()

    trial = run_trial(elsewhere, sample, parts, one, 0)
    assert compact(trial.same_at < 0.25) == box
    assert (trial.flips, trial.null, trial.part) == (1.0, 0.0, None)
    assert trial.where()[1] == (one.place.box if one.place else None)


def test_a_compact_place():
    same = torch.zeros(32, 32, dtype=torch.bool)
    assert compact(same) is None
    same[2:7, 20:26] = True
    assert compact(same) == (2, 20, 7, 26)
    same[30, 2] = True
    assert compact(same) == (2, 20, 7, 26)
    same[20:26, 3:9] = True  # two places
    assert compact(same) is None
    scattered = torch.zeros(32, 32, dtype=torch.bool)
    scattered[4:12:3, 4:12:3] = True  # one window, nearly empty
    assert compact(scattered) is None
    assert compact(torch.ones(32, 32, dtype=torch.bool)) is None  # everywhere


def test_the_place_is_named_and_how_much_it_turns_alone(found):
    suspect = replace(found[2].shortcuts[0], kind="background", place="", part_flips=0.78,
                      part="the top left corner (rows 2-8, columns 2-13)")  # fmt: skip
    thing = "the background, mostly the patch at the top left corner (rows 2-8, columns 2-13)"
    assert with_part(suspect) == thing
    text = claim(suspect, 3)
    assert text.startswith(f"The model relies on {thing}, to recognise class 1: put into")
    assert text.endswith(". That patch alone turns 78%.")
    assert "mostly" not in claim(replace(suspect, part="", part_flips=None), 3)


# --- the page -----------------------------------------------------------------------------------


def test_the_page_shows_each_suspect_before_and_after(tmp_path):
    model, samples = tagged_with_masks(2)
    done = audited(samples, model, layer="1", test_shortcuts=True)
    assert done.page.problems == ()
    panels = [b for b in content(done.page, "shortcuts") if isinstance(b, Panels)]
    pairs = [one for one in panels if one.together == 2]
    assert len(pairs) == len(done.shortcuts.suspects)
    for number, (one, suspect) in enumerate(zip(pairs, done.shortcuts.suspects, strict=True)):
        assert [p.title for p in one.pictures] == ["before: class 3", "after: class 2"] * 4
        assert f"4 that turned; in all {suspect.turned} of {suspect.tries} tries on" in one.title
        kept = done.page.arrays[f"changed/{number}"]
        assert np.array_equal(kept, torch.stack([c.pixels for c in suspect.changed]).numpy())
        first = suspect.changed[0]
        before, after = one.pictures[:2]
        assert before.alt == f"image {first.image}, called class 3"
        giver = suspect.images[first.giver]
        assert after.alt.startswith(f"image {first.image} with that of image {giver}, called")
        assert ("with a frame" in after.alt) == (suspect.box is not None)
    page = done.save(tmp_path / "audit.html").report.read_text()
    assert page.count('<div class="set">') == 4 * len(pairs)
    assert re.search(r"before and after they were given it", page)


def test_a_pair_is_drawn_on_one_scale():
    pair = torch.stack([torch.full((1, 4, 4), -1.0), torch.full((1, 4, 4), 3.0)])
    assert on_one_scale(pair, {}).flatten(1).mean(1).tolist() == [0, 1]
    assert on_one_scale(pair, {"mean": [0.5], "std": [0.5]}) is pair
    assert on_one_scale(pair.clamp(0, 1), {}).equal(pair.clamp(0, 1))


def test_a_single_name_is_never_hidden():
    names = [f"class {n}" for n in range(9)]
    assert listed(names, 8) == ", ".join(names)
    assert listed(names, 7) == f"{', '.join(names[:7])} and 2 more"
    assert first_of(names, 8) == names
    assert first_of(names, 7) == [*names[:7], "and 2 more"]


def test_counts_of_classes_are_never_joined_and_what_to_do_is_said_once():
    table = Table("", audit_columns(), [["class 2", "class 5", 2], ["class 7", "class 5", 2]])
    assert [row[0] for row in table.on_page().rows] == ["class 2", "class 7"]
    findings = [Finding("wrong", f"{n}", "key", next_step=step)
                for n, step in enumerate(("a", "b", "b", "b", "", "", "b"))]  # fmt: skip
    steps = [step for _, step in Overview((), tuple(findings), ()).advised("wrong")]
    assert steps == ["a", "", "", "for each of these 3: b", "", "", "b"]


def audit_columns():
    from captum_cnn_ext.insights.dataset.sections.accuracy import PAIR_COLUMNS

    return PAIR_COLUMNS[:3]


def test_the_page_and_the_terminal_say_once_what_to_do(tmp_path, capsys):
    from captum_cnn_ext.cli.audit_data import _said

    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    samples = [(torch.rand(1, 8, 8), n % 4) for n in range(24)]
    done = audited(samples, model, layer="0")
    step = "Collect images."
    findings = tuple(Finding("wrong", f"Claim {n}.", "", next_step=step) for n in range(5))
    overview = replace(done.page.overview, findings=findings)
    done = replace(done, page=replace(done.page, overview=overview))
    saved = done.save(tmp_path / "audit.html")
    assert saved.report.read_text().count("Collect images.") == 1
    _said(done, saved, type("Loaded", (), {"notes": (), "preprocess": None}))
    assert capsys.readouterr().out.count("For each of these 5: Collect images.") == 1
