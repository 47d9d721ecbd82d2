"""Models that return something else than a tensor: what is unambiguous is taken, exactly."""

import collections
import dataclasses
import types

import captum.attr
import every_class
import models
import pytest
import torch
from PIL import Image
from reports import small, small_images
from snapshots import nothing_left_behind
from torch import nn
from torchvision.transforms import functional

from captum_cnn_ext import attr, bench, metrics, synthesis
from captum_cnn_ext._engine.judging.outputs import OutputError, output_expression, output_tensor
from captum_cnn_ext.insights import audit, compare
from captum_cnn_ext.insights.explorer.computing.session import ExplorerSession
from captum_cnn_ext.methods import CAPTUM, INPUT, call_of, find_methods

Y = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
MORE = torch.zeros(2, 3)
CLASSES = torch.tensor([1, 0])
LOSS = torch.tensor(0.5)
Pair = collections.namedtuple("Pair", "logits aux_logits")
One = collections.namedtuple("One", "scores labels")


@dataclasses.dataclass
class Output:
    logits: object
    hidden_states: object = None


class Mapping(collections.UserDict):
    """A mapping that is no dict."""


def packed(model, pack):
    """The model with its own modules and names, whose output goes through ``pack``."""
    kind = type(model)
    model.__class__ = type("Packed", (kind,), {"forward": lambda m, x: pack(kind.forward(m, x))})
    return model


@pytest.mark.parametrize(
    "output",
    [
        Y,
        {"logits": Y, "features": MORE},
        {"loss": LOSS, "logits": Y, "hidden_states": (MORE, MORE)},
        Mapping(logits=Y, features=MORE),
        Output(Y, (MORE,)),
        types.SimpleNamespace(logits=Y, boxes=MORE),
        Pair(Y, MORE),
        {"out": Y, "aux": MORE},
        {"out": Y},
        {"anything": Y, "classes": CLASSES, "loss": LOSS, "name": "x"},
        (Y, CLASSES),
        (Y, None),
        [Y],
        One(Y, CLASSES),
        {"heads": {"main": Y}},
    ],
    ids=lambda output: type(output).__name__,
)
def test_the_only_reading_is_taken(output):
    assert output_tensor(output) is Y


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"boxes": Y, "scores": MORE}, r"boxes of a detector \(dict\).*targets\.Boxes\(0\).* "
         r"--target box:0.*lambda x: model\(x\)\['boxes'\]"),
        ({"a": Y, "scores": MORE}, r"got dict with \['a'\] \(2, 2\) torch.float32, "
         r"\['scores'\] \(2, 3\) .*several could be.*lambda x: model\(x\)\['a'\]"),
        ({"out": Y, "features": MORE}, r"several could be .*\['out'\]"),
        ((Y, MORE), r"got tuple with \[0\] \(2, 2\).*model\(x\)\[0\]"),
        (Output(CLASSES, (Y, MORE)), r"got Output with \.logits \(2,\) torch.int64, "
         r"\.hidden_states\[0\].*model\(x\)\.hidden_states\[0\]"),
        ({"classes": CLASSES}, r"none is the scores.*model\(x\)\['classes'\]"),
        ({"loss": LOSS}, "none is the scores"),
        ({}, "got dict without a tensor"),
        ("text", "got str without a tensor"),
        (None, "got NoneType without a tensor"),
        (3.0, "got float without a tensor"),
    ],
)  # fmt: skip
def test_others_are_refused_with_what_there_is(output, message):
    with pytest.raises(OutputError, match=f"forward_func: .*{message}") as caught:
        output_tensor(output)
    assert isinstance(caught.value, (ValueError, TypeError))


PACKS = {
    "dict with logits": lambda y: {"features": y + 1, "logits": y},
    "tuple with one floating tensor": lambda y: (y.argmax(1), y),
    "dataclass": lambda y: Output(y, (y, y)),
}


def same(found, expected):
    if isinstance(expected, torch.Tensor):
        return torch.equal(found, expected)
    return len(found) == len(expected) and all(map(same, found, expected))


@pytest.mark.filterwarnings("ignore:layer .* is called")
@pytest.mark.filterwarnings("ignore:.*the layer has channels that sum to less than 0")
@pytest.mark.parametrize("name", every_class.NAMES)
def test_every_class_gives_what_it_gives_for_the_tensor(name):
    x = models.image_batch()
    for pack in PACKS.values():
        found = []
        for change in (lambda model: model, lambda model, pack=pack: packed(model, pack)):
            model, layer = every_class.test_contract.build(every_class.KIND)
            model = change(model)
            with nothing_left_behind(model, x):
                found.append(every_class.calls(model, layer, x)[name]())
        assert same(found[1], found[0])


def test_an_ambiguous_output_is_refused_by_every_class_that_reads_it():
    model, layer = every_class.test_contract.build(every_class.KIND)
    x, model = models.image_batch(), packed(model, lambda y: (y, y))
    messages = []
    for name, call in every_class.calls(model, layer, x).items():
        try:
            with nothing_left_behind(model, x):
                call()
        except OutputError as error:
            messages.append(str(error))
        else:  # no score is read there
            assert name in {
                *("LayerEigenCam", "LayerFem", "LayerKPCACam", "LayerFeatureMaps", "DeconvNet"),
                *("LayerDeepFeatureFactorization", "NeuronDeconvolution", "NeuronGuidedBackprop"),
                "ActivationMaximization",
            }
    assert len(messages) > 20
    assert all("got tuple with [0] (" in m and "lambda x: model(x)[0]" in m for m in messages)


def pair(pack=lambda y: {"logits": y, "features": y + 1}):
    return models.build(models.Net), packed(models.build(models.Net), pack), models.image_batch()


def test_functions_that_return_collections():
    model, _, x = pair()
    expected = attr.LayerHiResCam(model, model.block).attribute(x, 1)
    forward = lambda x: {"out": model(x), "aux": x.mean((2, 3))}  # noqa: E731
    assert torch.equal(attr.LayerHiResCam(forward, model.block).attribute(x, 1), expected)


def test_many_targets_and_class_blindness():
    plain, other, x = pair()
    several = [attr.LayerHiResCam(m, "block").attribute_targets(x, [1, 2]) for m in (plain, other)]
    assert torch.equal(*several)
    blind = [attr.class_blindness(m, x) for m in (plain, other)]
    assert torch.equal(*blind)


def test_incremental_occlusion_and_one_number_for_the_batch():
    plain, other, x = pair()
    found = [
        attr.Occlusion(m).attribute(x, (2, 2, 2), (2, 1, 1), target=1, incremental=True)
        for m in (plain, other)
    ]
    assert torch.equal(*found)
    found = [
        attr.Occlusion(f).attribute(x, (2, 2, 2), (2, 2, 2))
        for f in (lambda x: plain(x).sum(), lambda x: float(plain(x).sum()))
    ]
    torch.testing.assert_close(found[1].double(), found[0])


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 3, 3), nn.Conv2d(2, 3, 3)

    def forward(self, x):
        return (self.a(x).relu() * self.b(x).sigmoid()).mean((2, 3))


@pytest.mark.filterwarnings("ignore:Multiple layers provided")
def test_convergence_deltas_and_lists_of_layers():
    plain, other, x = pair()
    for cls in (attr.LayerIntegratedGradients, attr.LayerConductance):
        found = [
            cls(m, m.block).attribute(x, target=1, n_steps=3, return_convergence_delta=True)
            for m in (plain, other)
        ]
        assert same(found[1], found[0])
        sums = [
            cls(m, m.block).compute_convergence_delta(x, 0 * x, x, target=1) for m in (plain, other)
        ]
        assert torch.equal(*sums)
    branches = [models._seeded(Branches()) for _ in range(2)]
    packed(branches[1], lambda y: (y, y.argmax(1)))
    layers = [
        attr.LayerIntegratedGradients(m, ["a", "b"]).attribute(x, target=1, n_steps=3)
        for m in branches
    ]
    assert same(layers[1], layers[0])


def test_the_tail_is_a_forward_func_for_captum():
    plain, other, x = pair()
    found = []
    for model in (plain, other):
        tail = attr.TailForward(model, "block", x)
        assert torch.equal(tail.output, plain(x))
        method = captum.attr.IntegratedGradients(tail)
        options = {"target": 1, "additional_forward_args": (tail.rows,), "n_steps": 4}
        found.append(method.attribute(tail.activation, **options))
    assert torch.equal(*found)
    several = attr.TailForward(packed(other, lambda y: (y["logits"], x)), "block", x)
    assert torch.equal(several(several.activation)[1], x)
    for cls in (attr.LayerFeatureAblation, attr.LayerIntegratedGradients):
        with pytest.raises(OutputError, match=r"model\(x\)\[0\]"):
            cls(other, other.block).attribute(x)


def test_metrics_score_the_tensor():
    plain, other, x = pair()
    maps = torch.rand(3, 1, 5, 6, generator=torch.Generator().manual_seed(0))
    curves = [metrics.deletion(m, x, maps, 1, steps=4).scores for m in (plain, other)]
    assert torch.equal(*curves)
    shares = [metrics.average_drop(m, x, maps, 1, score="logit") for m in (plain, other)]
    assert torch.equal(*shares)


def test_synthesis_climbs_the_tensor():
    plain, other, _ = pair()
    images = [
        synthesis.maximize(m, synthesis.Target(2), image=(2, 5, 6), steps=2, seed=1).images
        for m in (plain, other)
    ]
    assert torch.equal(*images)
    softmax = packed(models.build(models.Net), lambda y: {"logits": y.softmax(1)})
    with pytest.warns(UserWarning, match="the scores are probabilities"):
        synthesis.maximize(softmax, synthesis.Target(2), image=(2, 5, 6), steps=1)


METHODS = ["Saliency", "LayerGradCam", "NoiseTunnel(LayerHiResCam)", "LayerHiResCam", "Occlusion"]


def test_reports_and_comparisons_run_captums_classes_beside_ours():
    images = small_images()
    plain, other = small(), packed(small(), lambda y: {"logits": y, "features": y + 1})
    found = [compare(m, images, METHODS, layers="block").attributions for m in (plain, other)]
    assert list(found[0]) == list(found[1])
    assert all(torch.equal(found[1][name], maps) for name, maps in found[0].items())
    options = {"methods": METHODS, "layers": "block", "show_progress": False}
    reports = [audit(m, images, sections=["summary", "attributions"], **options)
               for m in (plain, other)]  # fmt: skip
    assert reports[1].problems == ()
    for name, values in reports[0].arrays.items():
        assert (reports[1].arrays[name] == values).all(), name


@pytest.mark.parametrize("name", METHODS)
def test_the_code_of_a_method_runs_by_itself(name):
    (known,), x = find_methods([name]), small_images()
    model = packed(small(), lambda y: (y, y.argmax(1)))
    places, target = {INPUT: ()}, torch.tensor([2, 0])
    at = places.get(known.at, ("block",))
    call = call_of(known, model, x, at, scores=output_expression(model(x)))
    names = {"model": model, "x": x.clone(), "target": target}
    exec(call.code, names)
    assert torch.equal(names["heat"], call.attribute(x, target))
    assert ("lambda x: model(x)[0]" in call.code) == (call.origin == CAPTUM)


def test_the_explorer_reads_the_tensor():
    images = small_images()
    images = [Image.new("RGB", (20, 16), (200, 30, 90))]
    options = {"preprocess": functional.to_tensor}
    found = []
    for model in (small(), packed(small(), lambda y: (y, y.argmax(1)))):
        session = ExplorerSession(model, images, **options)
        found.append(session.top_classes(session.photos["photo 1"]))
    assert found[0] == found[1]
    assert session.classes == 3
    with pytest.raises(OutputError, match=r"model\(x\)\[0\]"):
        ExplorerSession(packed(small(), lambda y: (y, y)), images, **options)


def test_the_benchmark_reads_the_tensor():
    figures = []
    for model in (small(), packed(small(), lambda y: {"logits": y, "features": y + 1})):
        settings = bench.Settings("tiny", "seeded", "block", steps=2, road_shares=(0.5,))
        results = bench.Results(settings.to_dict())
        images = {"noise": lambda: small_images(1)[0]}
        bench.run(model, bench.METHODS, images, settings, results, device=torch.device("cpu"))
        times = {"seconds", "forward_seconds", "peak_bytes"}
        figures.append(
            {
                name: {k: v for k, v in cells["noise"].items() if k not in times}
                for name, cells in results.cells.items()
            }
        )
    assert figures[0] == figures[1]
    assert not any("error" in cell for cell in figures[1].values())
