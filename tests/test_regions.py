"""Regions of a map against boxes drawn by code; boxes against boxes counted by hand."""

import numpy as np
import pytest
import torch

from captum_cnn_ext.evidence import regions
from captum_cnn_ext.metrics import box_hit, box_iou, box_masks, max_box_acc
from captum_cnn_ext.photos import PhotoGeometry, read_annotations, write_coco, write_voc

BOXES = [(3, 2, 9, 12), (20, 15, 40, 20), (30, 1, 33, 3)]  # left, top, right, bottom
VALUES = [3.0, 2.0, 1.0]
SIZE = (24, 44)


def drawn(boxes=BOXES, values=VALUES, size=SIZE):
    heat = torch.zeros(size)
    for (left, top, right, bottom), value in zip(boxes, values, strict=True):
        heat[top:bottom, left:right] = value
    return heat


@pytest.mark.parametrize(
    ("threshold", "level"),
    [("otsu", None), ("energy", 1.0), ("percentile", 80), ("maximum", 0.2), ("maximum", 0)],
)
def test_boxes_that_were_drawn_are_found(threshold, level):
    heat = drawn(values=[3.0, 2.9, 2.8])
    found = regions(heat, threshold, level)
    order = [1, 0, 2]  # by energy: 290, 180, 16.8
    assert [one.box for one in found] == [BOXES[i] for i in order]
    for one, i in zip(found, order, strict=True):
        (mask,) = box_masks([BOXES[i]], SIZE)
        assert torch.equal(one.mask, mask)
        assert one.area == int(mask.sum())
        assert one.energy == pytest.approx(float(heat[mask].sum() / heat.sum()))
        assert mask[int(one.peak[1]), int(one.peak[0])]


def test_each_threshold_is_what_it_says():
    heat = drawn()  # 180, 200 and 6 of 386
    assert len(regions(heat, "maximum", 0.3)) == 3
    assert len(regions(heat, "maximum", 0.4)) == 2
    assert len(regions(heat, "maximum", 0.7)) == 1
    # by energy the strongest pixels come first, and those as strong as the last one with it
    assert [one.box for one in regions(heat, "energy", 180 / 386)] == [BOXES[0]]
    assert len(regions(heat, "energy", 181 / 386)) == 2
    assert len(regions(heat, "energy", 380 / 386)) == 2
    assert len(regions(heat, "energy", 381 / 386)) == 3
    assert len(regions(heat, "energy")) == 2
    shown = 100 * 60 / heat.numel()  # the first box has 60 pixels
    assert [one.box for one in regions(heat, "percentile", 100 - shown + 0.5)] == [BOXES[0]]
    from skimage.filters import threshold_otsu

    noisy = heat + 0.5 * torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
    above = noisy.double() > threshold_otsu(noisy.double().numpy())
    found = regions(noisy)
    assert torch.equal(torch.stack([one.mask for one in found]).any(0), above)
    assert sum(one.area for one in found) == int(above.sum())


def test_touching_corners_connect_and_negative_values_do_not_count():
    heat = torch.zeros(6, 8)
    heat[1:3, 1:3] = 1
    heat[3:5, 3:6] = 1  # touches at a corner
    heat[0, 7] = -5
    (found,) = regions(heat)
    assert found.box == (1, 1, 6, 5)
    assert found.energy == 1.0
    assert regions(torch.zeros(4, 4)) == regions(torch.ones(4, 4)) == []
    assert regions(-torch.rand(4, 4)) == []


def test_batches_channels_and_how_many():
    heat = drawn()
    batch = torch.stack([heat, heat.flip(1)])
    one, two = regions(batch)
    assert [r.box for r in one] == [r.box for r in regions(heat)]
    assert [(44 - r.box[2], 44 - r.box[0]) for r in two] == [(r.box[0], r.box[2]) for r in one]
    split = torch.stack([heat * 0.25, heat * 0.75], 0)[None]
    assert [r.box for r in regions(split)[0]] == [r.box for r in one]
    assert [r.box for r in regions(heat, top=1)] == [one[0].box]
    assert len(regions(heat, "maximum", 0.1, min_energy=0.1)) == 2


def test_a_layers_map_is_upsampled_to_the_input():
    heat = torch.zeros(1, 1, 6, 8)
    heat[0, 0, 2, 3] = 1
    ((found,),) = regions(heat, "maximum", 0.5, size=(60, 80))
    left, top, right, bottom = found.box
    # half of the maximum lies in the middle between two centres: 10 pixels wide around (35, 25)
    assert (left, top, right, bottom) == (30, 20, 40, 30)
    ((same,),) = regions(heat, "maximum", 0.5, size=(1, 3, 60, 80))
    assert same.box == found.box


def test_on_the_photo():
    geometry = PhotoGeometry((200, 300), SIZE, (4.0, 3.0), (20.0, 60.0))
    found = regions(drawn(), "maximum", 0.1, geometry=geometry)
    expected = [(60 + 3 * a, 20 + 4 * b, 60 + 3 * c, 20 + 4 * d) for a, b, c, d in BOXES]
    by_box = {one.box: one for one in found}
    assert set(by_box) == set(expected)
    for box in expected:
        (mask,) = box_masks([box], (200, 300))
        assert torch.equal(by_box[box].mask, mask)
        assert by_box[box].area == int(mask.sum())
        x, y = by_box[box].peak
        assert mask[int(y), int(x)]
    coarse = torch.zeros(1, 1, 2, 4)
    coarse[0, 0, 0, 1] = 1
    assert regions(coarse, geometry=[geometry])[0][0].mask.shape == (200, 300)


def test_to_coco_and_voc_and_back(tmp_path):
    found = regions(drawn(), "maximum", 0.1)
    write_coco(tmp_path / "a.json", {"a.jpg": found}, label="evidence")
    back = read_annotations(tmp_path / "a.json")["a.jpg"]
    assert [(one.box, one.label) for one in back] == [(one.box, "evidence") for one in found]
    assert all(torch.equal(a.mask, b.mask) for a, b in zip(back, found, strict=True))
    write_voc(tmp_path, {"a.jpg": found})
    assert [one.box for one in read_annotations(tmp_path)["a.xml"]] == [one.box for one in found]
    assert torch.equal(box_iou(found, back).diagonal(), torch.ones(3).double())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": "otso"}, "threshold='otso': .*nearest: 'otsu'"),
        ({"level": 0.5}, "level=0.5: threshold='otsu' finds its own"),
        ({"threshold": "energy", "level": 0}, "level=0: .* above 0"),
        ({"threshold": "maximum", "level": 1}, "level=1: .* below 1"),
        ({"threshold": "percentile", "level": 100}, "level=100"),
        ({"top": 0}, "top=0"),
        ({"min_energy": 2}, "min_energy=2"),
        ({"size": "big"}, "size"),
        ({"geometry": [PhotoGeometry((2, 2), SIZE)] * 2}, "geometry: expected one, or 1, got 2"),
        ({"geometry": PhotoGeometry((2, 2), (9, 9)), "size": SIZE}, "geometry is of an input"),
    ],
)
def test_what_cannot_be_is_said(arguments, message):
    with pytest.raises(ValueError, match=message):
        regions(drawn(), **arguments)


def test_other_maps_are_refused():
    for wrong in (
        torch.zeros(3),
        torch.zeros(0, 4),
        (drawn(), drawn()),
        torch.full((3, 3), np.nan),
    ):
        with pytest.raises(ValueError, match="attributions: "):
            regions(wrong)


# --- boxes beside boxes ------------------------------------------------------------------------


def test_overlap_is_what_pixels_say():
    generator = np.random.default_rng(0)
    corners = np.sort(generator.integers(0, 12, (2, 9, 2, 2)), axis=2)
    first, second = (torch.from_numpy(each.reshape(9, 4)) for each in corners)
    one, two = box_masks(first, 12), box_masks(second, 12)
    shared = (one[:, None] & two[None]).flatten(2).sum(2)
    covered = (one[:, None] | two[None]).flatten(2).sum(2)
    expected = shared.double() / covered.clamp(min=1)
    assert float(expected.max()) > 0
    torch.testing.assert_close(box_iou(first, second), expected)


def test_hits():
    truth = [[(0, 0, 10, 10)], [(0, 0, 10, 10), (20, 20, 30, 30)], [(0, 0, 10, 10)]]
    found = [[(0, 0, 10, 5)], [(20, 20, 30, 29)], [(0, 0, 10, 4), (0, 0, 10, 10)]]
    assert box_hit(found, truth).tolist() == [1, 1, 0]  # half is enough; only the first counts
    assert box_hit(found, truth, overlap=0.6).tolist() == [0, 1, 0]
    assert box_hit([regions(drawn())], [[BOXES[1]]]).tolist() == [1]


def literal_max_box_acc(maps, boxes, deltas, every_part, count):
    """By its definition, with scipy's parts and a loop for everything."""
    from scipy import ndimage

    rates = np.zeros((len(deltas), count))
    for t in range(count):
        for heat, truth in zip(maps, boxes, strict=True):
            low, high = heat.min(), heat.max()
            mask = ((heat - low) / (high - low)).numpy() >= np.float32(t / count)
            numbers, parts = ndimage.label(mask, np.ones((3, 3)))
            sizes = ndimage.sum(mask, numbers, range(1, parts + 1))
            chosen = range(parts) if every_part else [int(np.argmax(sizes))]
            places = ndimage.find_objects(numbers)
            best = 0.0
            for i in chosen:
                y, x = places[i]
                mine = np.zeros(mask.shape, bool)
                mine[y, x] = True
                for left, top, right, bottom in truth:
                    theirs = np.zeros(mask.shape, bool)
                    theirs[top:bottom, left:right] = True
                    best = max(best, (mine & theirs).sum() / (mine | theirs).sum())
            for d, delta in enumerate(deltas):
                rates[d, t] += (best >= delta) / len(maps)
    return rates


@pytest.mark.parametrize(("deltas", "every"), [((0.5,), False), ((0.3, 0.5, 0.7), True)])
def test_max_box_acc_is_its_definition(deltas, every):
    generator = torch.Generator().manual_seed(1)
    boxes = [[(2, 3, 9, 12)], [(8, 1, 15, 8), (1, 9, 6, 14)], [(0, 0, 5, 5)], [(4, 6, 9, 10)]]
    maps = torch.rand(4, 1, 5, 5, generator=generator)
    maps = torch.nn.functional.interpolate(maps, (16, 16), mode="bilinear")
    maps[0, 0, 3:12, 2:9] += 1
    maps[1, 0, 1:8, 8:15] += 0.6
    maps[3, 0, :3] += 1  # larger than the part on the object
    maps[3, 0, 6:10, 4:9] += 1
    x = torch.zeros(4, 3, 16, 16)
    found = max_box_acc(maps, boxes, x, overlaps=deltas, every_part=every, thresholds=20)
    expected = literal_max_box_acc(maps[:, 0], boxes, deltas, every, 20)
    np.testing.assert_allclose(found.accuracies.numpy(), expected)
    assert found.score == pytest.approx(expected.max(1).mean())
    assert 0 < found.score
    assert expected.mean(0)[round(found.threshold * 20)] == expected.mean(0).max()
    with pytest.raises(AssertionError):  # and another choice of part is seen
        np.testing.assert_allclose(
            literal_max_box_acc(maps[:, 0], boxes, deltas, not every, 20), expected
        )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: box_iou([1, 2, 3], (0, 0, 1, 1)), r"first: expected boxes .*got shape \(3,\)"),
        (lambda: box_iou("box", (0, 0, 1, 1)), "first: expected boxes"),
        (lambda: box_hit([[]], []), "boxes: expected those of 1 images, got 0"),
        (lambda: max_box_acc(torch.rand(1, 1, 4, 4), [[]], torch.rand(1, 3, 4, 4)),
         "expected at least one for each of 1 images"),
    ],
)  # fmt: skip
def test_no_boxes(call, message):
    with pytest.raises(ValueError, match=message):
        call()
