"""`WithMap`: its maps are those of the classes and of literal loops, and survive the export."""

import models
import pytest
import torch
from torch import nn

from captum_cnn_ext.attr import LayerCam, LayerReciproCam, WithMap
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.testing import nothing_left_behind

BATCH = ({0: torch.export.Dim("batch")},)


def pooled():
    """A network of which the last layer is pooled and classified."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 5))
    return models._seeded(models.Net(head))


def x(count=3):
    return models.image_batch(count)


def close(found, expected, share=1e-9):
    largest = float(expected.abs().max())
    assert largest > 0
    torch.testing.assert_close(found, expected, rtol=0, atol=share * largest)


def test_pooling_and_a_linear_layer_give_cam_in_closed_form():
    model = pooled()
    found = WithMap(model, "relu", x(1), target="all")
    assert found.method == "LayerCam"
    scores, maps = found(x())
    assert torch.equal(scores, model(x()))
    weight, bias = model.head[3].weight, model.head[3].bias
    features = model.features(x())
    for n in range(3):
        for c in range(5):
            literal = sum(weight[c, k] * features[n, k] for k in range(4))
            close(maps[n, c], literal.detach())
    close(maps.mean((2, 3)) + bias.detach(), scores)
    close(maps[:, 2:3], LayerCam(model, "relu").attribute(x(), 2))


def test_another_head_gives_recipro_cam():
    model = models.build(models.Net)
    found = WithMap(model, "relu", x(1), target="all")
    assert found.method == "LayerReciproCam"
    scores, maps = found(x())
    assert torch.equal(scores, model(x()))
    features = model.features(x()).detach()
    for row in range(5):
        for column in range(6):
            alone = torch.zeros_like(features)
            alone[:, :, row, column] = features[:, :, row, column]
            close(maps[:, :, row, column], model.head(alone).detach())
    close(maps[:, 3:4], LayerReciproCam(model, "relu").attribute(x(), 3))


@pytest.mark.parametrize("make", [pooled, lambda: models.build(models.Net)])
def test_targets_choose_the_maps(make):
    model = make()
    scores, every = WithMap(model, "relu", x(1), target="all")(x())
    strongest = WithMap(model, "relu", x(1))(x())[1]
    for n, c in enumerate(scores.argmax(1).tolist()):
        close(strongest[n, 0], every[n, c])
    close(WithMap(model, "relu", x(1), target=[4, 0])(x())[1], every[:, [4, 0]])
    close(WithMap(model, "relu", x(1), target=4)(x())[1], every[:, 4:5])


CASES = {
    "closed form": (pooled, "relu", "LayerCam"),
    "another head": (lambda: models.build(models.Net), "relu", "LayerReciproCam"),
    "a skip connection around the layer": (
        lambda: models.build(models.Residual),
        "block",
        "LayerReciproCam",
    ),
}


def is_convolution(node):
    return node.op == "call_function" and "conv2d" in str(node.target)


@pytest.mark.parametrize("case", CASES)
def test_the_exported_program_gives_the_same_for_any_batch(case):
    make, layer, method = CASES[case]
    model = WithMap(make(), layer, x(1))
    assert model.method == method
    program = torch.export.export(model, (x(2),), dynamic_shapes=BATCH, strict=False)
    for count in (1, 3):
        for found, expected in zip(program.module()(x(count)), model(x(count)), strict=True):
            close(found, expected)
    rows = [node.meta["val"].shape[0] for node in program.graph.nodes if is_convolution(node)]
    many = [str(count) for count in rows if str(count) != str(rows[0])]
    assert bool(many) == (case == "a skip connection around the layer"), "rows of each position"


def in_onnxruntime(model, image, file, *batches):
    """The largest differences from eager in shares of the largest value, over these batches."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.onnx.export(
        model, (image,), file, dynamic_shapes=BATCH, dynamo=True, verbose=False, external_data=False
    )
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    assert isinstance(entry.shape[0], str), "the batch is dynamic"
    apart = []
    for batch in batches:
        found = session.run(None, {entry.name: batch.numpy()})
        for one, expected in zip(found, model(batch), strict=True):
            largest = float(expected.abs().max())
            apart.append(float((torch.from_numpy(one) - expected).abs().max()) / largest)
    return apart


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_onnx_gives_the_same_for_any_batch(case, tmp_path):
    make, layer, _ = CASES[case]
    model = WithMap(make().float(), layer, x(1).float())
    apart = in_onnxruntime(
        model, x(2).float(), str(tmp_path / "model.onnx"), x(1).float(), x(3).float()
    )
    assert max(apart) <= 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("name", "layer", "method"),
    [
        ("demo", "_swish", "LayerReciproCam"),
        ("resnet18", "layer4", "LayerCam"),
        ("mobilenet_v3_small", "features", "LayerReciproCam"),
    ],
)
def test_networks_in_onnxruntime(name, layer, method, tmp_path, demo, photos):
    import torchvision

    if name == "demo":
        model, image = demo.model, photos
        layer = demo.model.get_submodule("_bn1")
    else:
        model = getattr(torchvision.models, name)().eval()
        image = torch.randn(2, 3, 64, 64)
    with nothing_left_behind(model, image):
        found = WithMap(model, layer, image[:1])
        scores, _ = found(image)
    torch.testing.assert_close(scores, model(image).detach(), rtol=1e-5, atol=1e-6)
    assert found.method == method
    apart = in_onnxruntime(found, image, str(tmp_path / "model.onnx"), image[:1], image)
    assert max(apart) <= 1e-5


def test_the_model_is_shared_and_left_as_it_was():
    model = pooled()
    image = x().requires_grad_()
    with nothing_left_behind(model, image):
        found = WithMap(model, "relu", x(1))
        scores, maps = found(image)
        torch.export.export(found, (x(2),), dynamic_shapes=BATCH, strict=False)
        with pytest.raises(RuntimeError):
            found(torch.zeros(1, 7, 5, 6).double())
    assert not scores.requires_grad
    assert not maps.requires_grad
    assert found.model is model
    with torch.no_grad():
        model.head[3].weight.mul_(2)
    close(found(x())[1], 2 * maps)
    assert repr(found).startswith("WithMap(\n  layer='relu', method=LayerCam")


def test_what_does_not_fit_is_named():
    model = pooled()
    with pytest.raises(ArgumentError, match="is in training mode"):
        WithMap(pooled().train(), "relu", x(1))
    with pytest.raises(ArgumentError, match="no such layer; nearest: 'relu'"):
        WithMap(model, "relo", x(1))
    with pytest.raises(TypeError, match=r"model: expected a torch.nn.Module, got function"):
        WithMap(lambda images: images, "relu")
    with pytest.raises(
        ArgumentError, match=r"target=7: expected None, 'all', or class indices from"
    ):
        WithMap(model, "relu", x(1), target=7)
    with pytest.raises(ArgumentError, match=r"expected maps \(N, K, H, W\) and scores"):
        WithMap(model, "head.3", x(1))
    with pytest.raises(ArgumentError, match="is called 2 times"):
        WithMap(models.build(models.CalledTwice), "relu", x(1))
    with pytest.raises(ArgumentError, match="does not reach it"):
        WithMap(models.build(models.Unreached), "block", x(1))
    with pytest.raises(ArgumentError, match="pass an example"):
        WithMap(nn.Sequential(nn.Linear(3, 3)).eval(), "0")
