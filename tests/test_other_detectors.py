"""Detectors of other libraries' forms: YOLO's raw heads, DETR's queries, ultralytics' results."""

import detectors
import pytest
import torch
from models import _seeded
from snapshots import nothing_left_behind

from captum_cnn_ext import attr, explain, targets
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.insights import compare

X = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
RAW = targets.RawBoxes(score_above=0.0, iou=0.9)
DETR = targets.DetrBoxes((64, 64), score_above=0.0)


def network(kind, **options):
    torch.manual_seed(0)
    return kind(**options).float().eval()


def literal_hirescam(model, layer, x, score):
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _, __, out: kept.append(out))
    try:
        y = score(model(x))
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(y, kept)
    return (gradient * kept[0]).sum(1, keepdim=True).detach()


def anchor(output, number):
    """The number-th strongest anchor and its class, of one image."""
    best, labels = output[0][0, 4:].max(0)
    at = int(best.argsort(descending=True)[number])
    return at, int(labels[at])


def test_the_raw_head_of_a_yolo():
    model, x = network(detectors.Ultralytics), X[:1]
    at, label = anchor(model(x), 0)
    target = targets.Boxes(0, read=RAW)
    x_, y_, w, h = model(x)[0][0, :4, at].tolist()
    box = target.boxes(model(x))[0][0].tolist()
    assert box == pytest.approx([x_ - w / 2, y_ - h / 2, x_ + w / 2, y_ + h / 2])
    for layer in ("model.2", "model.9"):
        with nothing_left_behind(model, x):
            found = attr.LayerHiResCam(model, layer).attribute(x, target)
        expected = literal_hirescam(model, layer, x, lambda y: y[0][0, 4 + label, at])
        assert expected.any()
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("level", "layer"), [(0, "model.9"), (1, "model.11"), (2, "model.13")])
def test_a_yolo_gets_the_layer_of_the_level_that_gave_the_box(level, layer):
    model = network(detectors.Ultralytics)
    edges = [0, 256, 320, 336]
    output = model(X[:1])[0][0, 4:].max(0).values
    number = next(n for n, at in enumerate(output.argsort(descending=True).tolist())
                  if edges[level] <= at < edges[level + 1])  # fmt: skip
    target = targets.Boxes(number, read=targets.RawBoxes(score_above=0.0, iou=1.0, most=999))
    (first, *others) = attr.suggest_layers(model, X[:1], target)
    assert first.name == layer
    assert not any(one.name.startswith("model.14") for one in others)
    found = explain(model, X[0], target, check=False)
    assert found.layer == layer
    assert found.attributions.any()


def test_the_queries_of_a_detr():
    model, x = network(detectors.Detr), X[:1]
    output = model(x)
    probabilities = output["logits"].softmax(2)[0, :, :3]
    query = int(probabilities.amax(1).argmax())
    target = targets.Boxes(0, read=DETR)
    middle, half = output["pred_boxes"][0, query, :2] * 64, output["pred_boxes"][0, query, 2:] * 32
    expected = torch.cat([middle - half, middle + half])
    torch.testing.assert_close(target.boxes(output)[0][0], expected.detach())
    assert target(output).item() == pytest.approx(probabilities[query].max().item())
    cam = attr.LayerHiResCam(model, "backbone.3").attribute(x, target)
    label = int(probabilities[query].argmax())
    literal = literal_hirescam(
        model, "backbone.3", x, lambda y: y["logits"].softmax(2)[0, query, label]
    )
    assert literal.any()
    torch.testing.assert_close(cam, literal)
    sigmoid = targets.DetrBoxes((64, 64), no_object=False, score_above=0.0)
    best = output["logits"].sigmoid().amax()
    assert targets.Boxes(0, read=sigmoid)(output).item() == pytest.approx(best.item())
    assert attr.suggest_layers(model, x, target)[0].name == "backbone"


@pytest.mark.parametrize("kind", [detectors.Ultralytics, detectors.Detr])
def test_faces_take_them(kind):
    model, read = network(kind), RAW if kind is detectors.Ultralytics else DETR
    target = targets.Boxes(0, read=read)
    done = compare(model, X, ["LayerHiResCam", "Occlusion"], target=target)
    assert all(maps.any() for maps in done.attributions.values())
    for n, box in enumerate(target.boxes(model(X))):
        assert list(done.boxes[n]) == pytest.approx(box[0].tolist())
    assert done.figure().axes[0].patches


@pytest.mark.parametrize("kind", [detectors.Ultralytics, detectors.Detr])
def test_d_rise_reads_them_by_the_target(kind):
    model, read = network(kind), RAW if kind is detectors.Ultralytics else DETR
    options = {"n_samples": 6, "cells": 3}
    found = attr.DRise(model).attribute(X[:1], target=targets.Boxes(1, read=read), **options)
    by_hand = attr.DRise(lambda x: read(model(x))).attribute(X[:1], target=1, **options)
    assert found.std() > 0
    torch.testing.assert_close(found, by_hand)


def test_results_of_ultralytics_are_read():
    model = _seeded(detectors.Spots(3)).float().eval()
    model.threshold, x = 0.0, torch.rand(1, 3, 16, 16)

    def predict(images):
        with torch.no_grad():
            return [detectors.Results(one) for one in model(images)]

    target, options = targets.Boxes(2), {"n_samples": 5, "cells": 3}
    assert torch.equal(target(predict(x)), target(model(x)))
    torch.testing.assert_close(
        attr.DRise(predict).attribute(x, target=target, **options),
        attr.DRise(model).attribute(x, target=target, **options),
    )


def test_what_reads_another_form_is_named():
    yolo, detr = network(detectors.Ultralytics), network(detectors.Detr)
    with pytest.raises(ArgumentError, match=r"a tensor \(1, 7, 336\).*RawBoxes\(columns=1\)"):
        targets.Boxes(0)(yolo(X[:1]))
    with pytest.raises(ArgumentError, match=r"RawBoxes\(columns=2\)"):
        targets.Boxes(0)(yolo(X[:1])[0].transpose(1, 2))
    with pytest.raises(ArgumentError, match=r"DetrBoxes\(\(height, width\)\)"):
        targets.Boxes(0)(detr(X[:1]))
    with pytest.raises(ArgumentError, match=r"got a tensor \(1, 5\).*read="):
        targets.Boxes(0)(torch.rand(1, 5))
    with pytest.raises(ArgumentError, match="DetrBoxes"):  # no class at a position of queries
        compare(detr, X, ["LayerHiResCam"], target=targets.AnyClass(1))
    with pytest.raises(ArgumentError, match="RawBoxes"):
        compare(yolo, X, ["LayerHiResCam"], target=targets.AnyClass(1))
    with pytest.raises(ArgumentError, match=r"expected logits.*got None and None in tuple"):
        targets.Boxes(0, read=DETR)(yolo(X[:1]))
    with pytest.raises(ArgumentError, match=r"size=\(3,\): expected \(height, width\)"):
        targets.DetrBoxes((3,))
    with pytest.raises(TargetError, match=r"RawBoxes hides .* below score_above=0.99"):
        targets.Boxes(0, read=targets.RawBoxes(score_above=0.99))(yolo(X[:1]))
    with pytest.warns(UserWarning, match="columns=1 reads .* as 6 anchors of 300 numbers"):
        targets.RawBoxes()(torch.rand(1, 300, 6))


def test_boxes_that_the_head_has_chosen_need_a_function():
    """YOLOv10's and YOLO26's: corners, score, class."""
    head = torch.tensor([[[1.0, 2, 5, 6, 0.9, 2], [0, 0, 3, 3, 0.4, 0]]]), ["for training"]
    read = lambda y: {"boxes": y[0][..., :4], "scores": y[0][..., 4], "labels": y[0][..., 5]}  # noqa: E731
    assert targets.Boxes(0, label=0, read=read)(head).item() == pytest.approx(0.4)
    assert targets.Boxes(0, read=read).boxes(head)[0].tolist() == [[1, 2, 5, 6]]


def test_a_point_of_the_image_in_smaller_maps():
    """As Segformer's, which are a fourth of the image."""

    class Segformer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body = torch.nn.Conv2d(3, 4, 4, 4)
            self.head = torch.nn.Conv2d(4, 2, 1)

        def forward(self, x):
            return detectors.ModelOutput(logits=self.head(self.body(x)))

    model = network(Segformer)
    found = compare(
        model, X, ["LayerHiResCam"], layers="body", target=targets.AnyClass(1, at=(21, 50))
    )
    expected = attr.LayerHiResCam(model, "body").attribute(X, targets.Segment(1, at=(5, 12)))
    torch.testing.assert_close(found.attributions["LayerHiResCam"], expected)
    assert expected.count_nonzero() == 2


def test_compare_and_explain_take_d_rise_by_name_for_boxes():
    model = _seeded(detectors.Spots(3)).float().eval()
    model.threshold, x = 0.5, torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    target = targets.Boxes(1)
    found = compare(model, x, ["drise", "hirescam"], target=target, layers="block", seed=3)
    (box,) = target.fixed(model(x))
    expected = attr.DRise(model).attribute(x, target=box, n_samples=500, seed=3)
    assert expected.std() > 0
    torch.testing.assert_close(found.attributions["DRise"], expected)
    assert explain(model, x, target, method="DRise", check=False).layer == "input"
    with pytest.raises(ArgumentError, match=r"DRise at input: .*expected a detector's output"):
        compare(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(768, 4)), x, ["DRise"])
