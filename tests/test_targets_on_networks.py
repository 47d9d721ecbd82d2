"""Boxes and areas on torchvision's detectors and segmentation networks, and on trained ones."""

import detectors
import drawn_shapes
import pytest
import torch
from snapshots import nothing_left_behind
from torchvision.models import detection, segmentation

from captum_cnn_ext import attr, targets

FEW = {"box_detections_per_img": 10, "rpn_pre_nms_top_n_test": 40, "rpn_post_nms_top_n_test": 40}
TWO_STAGES = {"box_score_thresh": 0.0, **FEW}
ONE_STAGE = {"score_thresh": 0.0, "detections_per_img": 10, "topk_candidates": 40}
SLOW = pytest.mark.slow
DETECTORS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": ("backbone.body.13", TWO_STAGES),
    "ssdlite320_mobilenet_v3_large": ("backbone.features.0", {"score_thresh": 0.0}),
    "maskrcnn_resnet50_fpn": ("backbone.body.layer3", TWO_STAGES),
    "retinanet_resnet50_fpn": ("backbone.body.layer3", ONE_STAGE),
    "fcos_resnet50_fpn": ("backbone.body.layer3", ONE_STAGE),
}
SEGMENTATION = {
    "lraspp_mobilenet_v3_large": "backbone.16",
    "deeplabv3_mobilenet_v3_large": "backbone.16",
    "fcn_resnet50": "backbone.layer3",
}
LIGHT = ("fasterrcnn_mobilenet_v3_large_320_fpn", "lraspp_mobilenet_v3_large")


def each(networks):
    return [n if n in LIGHT else pytest.param(n, marks=SLOW) for n in networks]


def small(module, name, **options):
    torch.manual_seed(0)
    weights = {"weights": None, "weights_backbone": None, "num_classes": 4}
    model = getattr(module, name)(**weights, **options).eval()
    if "mobilenet" in name:
        calibrate(model, torch.rand(4, 3, 64, 64))
    return model


def calibrate(model, x):
    """Batch norms get the statistics of images, or random weights would send everything to 0."""
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model.backbone(x)
        for part, weight in model.named_parameters():
            if "bbox" in part or "predictor" in part:  # or random boxes are cut off, and scores
                weight *= 0.01  # are 0 and 1
    model.eval()


def literal_cam(model, layer, x, score):
    """sum_k A dy/dA, where y is the score of each image's part of the output."""
    kept = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _, __, out: kept.append(out))
    try:
        scores = detectors.Literal(model, score)(x)
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(scores.sum(), kept)
    return (gradient * kept[0]).sum(1, keepdim=True).detach()


def compare(model, layer, x, target, score):
    with nothing_left_behind(model, x):
        found = attr.LayerHiResCam(model, layer).attribute(x, target)
    expected = literal_cam(model, layer, x, score)
    assert expected.any()
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4 * largest)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", each(DETECTORS))
def test_boxes_of_torchvisions_detectors(name):
    layer, options = DETECTORS[name]
    sizes = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 64}
    model = small(detection, name, **options, **sizes)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    first = compare(model, layer, x, targets.Boxes(0), lambda out: out[0]["scores"][0])
    later = compare(model, layer, x, targets.Boxes(3), lambda out: out[0]["scores"][3])
    assert not torch.allclose(first, later, atol=0)
    with torch.no_grad():
        label = int(model(x[:1])[0]["labels"][0])
    own = targets.Boxes(label=label)
    compare(model, layer, x[:1], own, lambda o: o[0]["scores"][o[0]["labels"] == label].sum())
    strict = lambda batch: model(list(batch))  # noqa: E731
    again = attr.LayerHiResCam(strict, layer).attribute(x, targets.Boxes(0))
    torch.testing.assert_close(again, first)


@pytest.mark.slow
@pytest.mark.parametrize("name", each(SEGMENTATION))
def test_areas_of_torchvisions_segmentation_networks(name):
    model, layer = small(segmentation, name), SEGMENTATION[name]
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = model(x)["out"]
    label = next(c for c in range(4) if all((m.argmax(0) == c).any() for m in out))

    def own_area(output):
        maps = output["out"][0]
        return maps[label][maps.argmax(0) == label].mean()

    compare(model, layer, x, targets.Segment(label), own_area)
    at = targets.Segment(2, at=(40, 9))
    compare(model, layer, x, at, lambda output: output["out"][0, 2, 9, 40])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LayerScoreCam", "LayerReciproCam", "Occlusion"])
def test_a_torchvision_detector_without_gradients(name):
    """By hand: the box is found again in every changed image, or scores 0."""
    layer, options = DETECTORS[LIGHT[0]]
    model = small(detection, LIGHT[0], **options, min_size=64, max_size=64)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        (found,) = model(x)
    box, label = found["boxes"][1].tolist(), int(found["labels"][1])
    layer = model.get_submodule(layer)
    run = {
        "LayerScoreCam": lambda m, t: attr.LayerScoreCam(
            m, layer, top_channels=4, score="logit"
        ).attribute(x, t),
        "LayerReciproCam": lambda m, t: attr.LayerReciproCam(m, layer).attribute(x, t),
        "Occlusion": lambda m, t: attr.Occlusion(m).attribute(
            x, (3, 32, 32), strides=(3, 16, 16), target=t
        ),
    }[name]
    by_hand = detectors.Literal(model, detectors.score_of_box(box, label))
    found, expected = run(model, targets.Boxes(1)), run(by_hand, None)
    assert found.unique().numel() > 1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(found.abs().max()))


FIRST = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": "backbone.body.16",
    "retinanet_resnet50_fpn": "backbone.body.layer4",
    "lraspp_mobilenet_v3_large": "backbone.16",
    "fcn_resnet50": "backbone.layer4",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", each(FIRST))
def test_the_layers_of_a_backbone_are_suggested(name):
    module = detection if name in DETECTORS else segmentation
    sizes = {"min_size": 64, "max_size": 64} if name in DETECTORS else {}
    found = attr.suggest_layers(small(module, name, **sizes), 64)
    assert found[0].name == FIRST[name]
    assert "ends the last stage of the backbone" in found[0].reason
    assert all(one.name.startswith("backbone.") for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("name", each(DETECTORS))
def test_the_suggested_layers_of_a_box_are_those_that_it_depends_on(name):
    sizes = {} if name.startswith("ssd") else {"min_size": 64, "max_size": 64}
    model = small(detection, name, **DETECTORS[name][1], **sizes)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    for target in (targets.Boxes(0), targets.Boxes(9)):
        found = attr.suggest_layers(model, x, target)
        names = [one.name for one in found]
        if not name.startswith("ssd"):  # the output of one level of the pyramid
            assert names[0].startswith(("backbone.fpn.layer_blocks.", "backbone.fpn.extra_blocks."))
        maps = attr.LayerHiResCam(model, names).attribute(x, target)
        assert all(one.any() for one in maps)
        plain = [one.name for one in attr.suggest_layers(model, x)]
        left_out = [one for one in plain if one not in names]
        assert not any(
            attr.LayerHiResCam(model, one).attribute(x, target).any() for one in left_out
        )


def test_the_layers_of_a_unet_are_suggested():
    found = attr.suggest_layers(drawn_shapes.UNet().eval(), 32)
    assert [one.name for one in found] == ["up1", "bottom", "down2", "down1"]
    assert found[0].reason.startswith("ends the last stage before the map of classes: 12 channels")
    found = attr.suggest_layers(drawn_shapes.CenterDetector().eval(), 32)
    assert [one.name for one in found] == ["body.4", "body.0"]


@pytest.fixture(scope="module")
def shapes():
    return drawn_shapes.scenes(8, 1)


@SLOW
def test_a_trained_unet_tells_touching_objects_apart(shapes):
    model, (x, maps, boxes) = drawn_shapes.unet(), shapes
    with torch.no_grad():
        assert (model(x).argmax(1) == maps)[maps > 0].float().mean() > 0.95
    for cls in (attr.LayerHiResCam, attr.LayerLayerCam):
        for n, label in enumerate((drawn_shapes.SQUARE, drawn_shapes.DISC)):
            cam = cls(model, "up1.0").attribute(x, targets.Segment(label))
            assert drawn_shapes.energy_inside(cam, boxes[:, n]).mean() >= 0.8
            assert drawn_shapes.energy_inside(cam, boxes[:, 1 - n]).mean() <= 0.2


@SLOW
def test_a_trained_detector_tells_touching_objects_apart(shapes):
    model, (x, _, boxes) = drawn_shapes.detector(), shapes
    for n, label in enumerate((drawn_shapes.SQUARE, drawn_shapes.DISC)):
        target = targets.Boxes(0, label=label)
        own = torch.stack([b[0] for b in target.boxes(model(x))])
        assert (own - boxes[:, n]).abs().mean() < 1
        for cls in (attr.LayerHiResCam, attr.LayerLayerCam):
            cam = cls(model, "body.3").attribute(x, target)
            assert drawn_shapes.energy_inside(cam, boxes[:, n]).min() >= 0.8
            assert drawn_shapes.energy_inside(cam, boxes[:, 1 - n]).max() <= 0.2
