"""Objectives against literal formulas; their algebra; what they say when something is wrong."""

import math
import operator

import pytest
import references_synthesis as ref
import torch

from captum_cnn_ext.synthesis import (
    ActivationDifference,
    Alignment,
    BatchNormStatistics,
    Channel,
    CosineDirection,
    Custom,
    Direction,
    Diversity,
    Interpolation,
    Layer,
    Neuron,
    Style,
    Target,
    maximize,
)
from captum_cnn_ext.synthesis.objectives import batch_norm, between_images, directions
from captum_cnn_ext.synthesis.objectives import units as objectives
from captum_cnn_ext.synthesis.objectives.algebra import Place, View

N, C, H, W = 3, 4, 5, 6


def maps(seed=0, n=N):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, C, H, W, generator=generator).double()


def view(tensor, photo=None, output=None, layers=("a", "b")):
    """A view in which every layer shows the tensor, and every photo the other one."""
    places = {Place(layer): (tensor,) for layer in layers}
    other = None if photo is None else view(photo, layers=layers)
    return View(places, output, len(tensor), lambda _: other)


def values(objective, tensor=None, **kwargs):
    return objective.score(view(maps() if tensor is None else tensor, **kwargs)).tolist()


VECTOR = [0.5, -1.0, 2.0, 0.25]
PHOTO = torch.rand(3, 8, 8)
CASES = {
    "channel": (lambda: Channel("a", 2), lambda a, b: ref.channel(a, 2)),
    "a channel each": (
        lambda: Channel("a", [2, 0, 3]),
        lambda a, b: [ref.channel(a[i : i + 1], k)[0] for i, k in enumerate([2, 0, 3])],
    ),
    "neuron": (lambda: Neuron("a", 1, (4, 0)), lambda a, b: a[:, 1, 4, 0].tolist()),
    "middle": (lambda: Neuron("a", 1), lambda a, b: a[:, 1, 2, 3].tolist()),
    "layer": (lambda: Layer("a"), lambda a, b: ref.layer(a)),
    "margin": (lambda: Layer("a", margin=2), lambda a, b: ref.layer(a[:, :, 2:3, 2:4])),
    "wide margin": (lambda: Layer("a", margin=3), lambda a, b: ref.layer(a)),
    "direction": (
        lambda: Direction("a", torch.tensor(VECTOR)),
        lambda a, b: ref.direction(a, VECTOR),
    ),
    "cosine direction": (
        lambda: CosineDirection("a", torch.tensor(VECTOR), power=3),
        lambda a, b: ref.direction(a, VECTOR, 3),
    ),
    "diversity": (lambda: Diversity("a"), lambda a, b: ref.diversity(a)),
    "alignment": (lambda: Alignment("a", decay=3), lambda a, b: ref.alignment(a, 3)),
    "style": (lambda: Style(["a", "b"], PHOTO), lambda a, b: ref.style([a, a], [b, b])),
    **{
        how: (
            lambda how=how: ActivationDifference("a", PHOTO, how),
            lambda a, b, how=how: ref.difference(a, b, how),
        )
        for how in between_images.DIFFERENCES
    },
}


@pytest.mark.parametrize("name", CASES)
def test_values_are_the_formulas(name):
    make, expected = CASES[name]
    found = values(make(), photo=maps(1))
    assert found == pytest.approx(expected(maps(), maps(1)), rel=1e-9)


MUTANTS = {
    "channel": (objectives, "positions_mean", lambda v: v.flatten(1).amax(1)),
    "layer": (objectives, "positions_mean", lambda v: -v.flatten(1).mean(1)),
    "margin": (objectives, "positions_mean", lambda v: v.flatten(1).sum(1)),
    "cosine direction": (directions, "_COSINE_FLOOR", 0.5),
    "cosine": (between_images, "_COSINE_POWER", 1.0),
    "style": (between_images, "gram", lambda a: torch.einsum("nchw,ndhw->ncd", a, a)),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_wrong_formula_is_seen(name, monkeypatch):
    module, attribute, wrong = MUTANTS[name]
    monkeypatch.setattr(module, attribute, wrong)
    make, expected = CASES[name]
    assert values(make(), photo=maps(1)) != pytest.approx(expected(maps(), maps(1)), rel=1e-3)


def test_targets_in_captums_forms_and_of_a_named_layer():
    scores = torch.randn(N, 7, dtype=torch.float64)
    for target, expected in ((3, scores[:, 3]), ([1, 0, 6], scores[range(N), [1, 0, 6]])):
        assert values(Target(target), output=scores) == expected.tolist()
        named = Target(target, layer="logits")
        assert not named.needs_output
        assert values(named, scores, layers=("logits",)) == expected.tolist()
    assert Target([1, 0, 6]).images == 3


@pytest.mark.parametrize(
    ("target", "classes"),
    [
        (3, [3, 3, 3]),
        (-1, [6, 6, 6]),
        ([1, 0, 6], [1, 0, 6]),
        (torch.tensor([2, 2, 5]), [2, 2, 5]),
        ([(0,), (1,), (2,)], [0, 1, 2]),
    ],
)
def test_a_margin_is_over_all_other_classes(target, classes):
    scores = torch.randn(N, 7, dtype=torch.float64)
    expected = []
    for row, own in zip(scores.tolist(), classes, strict=True):
        others = sum(math.exp(score) for k, score in enumerate(row) if k != own)
        expected.append(row[own] - 0.25 * math.log(others))
    found = values(Target(target, margin=0.25), output=scores)
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_margin_over_scores_that_would_overflow():
    huge = torch.tensor([[1000.0, 0.0, 2.0]]).expand(N, 3)
    assert values(Target(1, margin=1.0), output=huge) == [-1000.0] * N
    assert values(Target(0, margin=1.0), output=huge[:, :1]) == [1000.0] * N  # has no others
    assert str(Target(3, margin=0.5)) == "target 3 over all others"


def test_custom_functions_get_the_tensor_or_the_output():
    brightest = Custom("a", lambda a: a.flatten(1).amax(1))
    assert values(brightest) == maps().flatten(1).amax(1).tolist()
    assert (
        values(Custom(None, lambda o: o[:, 0]), output=maps()[:, 0, 0])
        == maps()[:, 0, 0, 0].tolist()
    )
    with pytest.raises(ValueError, match=r"returned \(3, 4, 5, 6\); expected one value for each"):
        values(Custom("a", lambda a: a))


def test_algebra_is_arithmetic_and_changes_no_operand():
    a, b = Channel("a", 1), Layer("b")
    before = values(a), values(b)
    va, vb = torch.tensor(before, dtype=torch.float64)
    for joined, expected in (
        (2 * a + 3 * b, 2 * va + 3 * vb),
        (a - b, va - vb),
        (a - (b - a), va - (vb - va)),
        (-a, -va),
        (1 - a, 1 - va),
        (a * b, va * vb),
        (a * (b - 1), va * (vb - 1)),
        (a / 4 + 0.5, va / 4 + 0.5),
        (sum([a, b, a]), va + vb + va),
    ):
        assert values(joined) == pytest.approx(expected.tolist(), rel=1e-6)
    assert (values(a), values(b)) == before
    assert (a + b).places == (Place("a"), Place("b"))
    assert (a + Target(1)).needs_output
    assert str(a - 0.5 * (b - a)) == "a[1] - (0.5 (b - a[1]))"
    for wrong in ("b", None, True):
        with pytest.raises(TypeError, match="cannot be joined with"):
            operator.add(a, wrong)


def test_each_image_of_a_batch_can_have_its_own():
    own = Channel("a", 1, batch=0) + 2 * Layer("a", batch=[2]) + Target(0, "b", batch=1)
    found = own.score(
        View({Place("a"): (maps(),), Place("b"): (maps()[:, :, 0, 0],)}, None, N, None)
    )
    assert own.images == 3
    expected = [ref.channel(maps(), 1)[0], float(maps()[1, 0, 0, 0]), 2 * ref.layer(maps())[2]]
    assert found.tolist() == pytest.approx(expected)
    with pytest.raises(ValueError, match="batch=-1: expected an integer of at least 0"):
        Channel("a", 1, batch=-1)


def test_interpolation_goes_from_one_to_the_other():
    path = Interpolation(Channel("a", 0), Channel("a", 1), images=3)
    a, b = ref.channel(maps(), 0), ref.channel(maps(), 1)
    assert values(path) == pytest.approx([a[0], (a[1] + b[1]) / 2, b[2]])
    with pytest.raises(ValueError, match="images=1: expected an integer of at least 2"):
        Interpolation(path, path, 1)


def test_channels_may_be_last():
    tokens = maps().flatten(2).mT  # (N, L, C)
    assert values(Channel("a", 2, channel_dim=-1), tokens) == pytest.approx(ref.channel(maps(), 2))
    vector = torch.tensor(VECTOR)
    assert values(Direction("a", vector, channel_dim=-1), tokens) == pytest.approx(
        ref.direction(maps(), VECTOR)
    )


def test_probabilities_are_noticed_and_logits_are_not():
    scores = torch.randn(N, 7)
    with pytest.warns(UserWarning, match="the scores are probabilities .* Target"):
        Target(3).check(view(maps(), output=scores.softmax(1)))
    with pytest.warns(UserWarning, match="the scores are probabilities"):
        (2 * Target(3) + Channel("a", 1)).check(view(maps(), output=scores.softmax(1)))
    with pytest.warns(UserWarning, match="target=3: the scores are probabilities"):
        Interpolation(Channel("a", 1), Target(3)).check(view(maps(), output=scores.softmax(1)))
    Target(3).check(view(maps(), output=scores))
    Target(3, "a").check(view(scores, layers=("a",)))


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (lambda: Channel("a", 4), r"channel=4: layer 'a' has 4 channels; .* from 0 to 3"),
        (lambda: Channel("a", [0, 1]), "got 2 channels for 3 images"),
        (lambda: Channel("a", 0, channel_dim=0), r"channel_dim=0: layer 'a' gives \(3, 4, 5, 6\)"),
        (lambda: Neuron("a", 0, (5, 0)), r"position=\(5, 0\): a map of layer 'a' has the shape"),
        (lambda: Neuron("a", 0, (1,)), "expected 2 indices"),
        (lambda: Direction("a", torch.ones(3)), r"vector: got shape \(3,\); expected \(4,\)"),
        (lambda: Direction("a", torch.ones(())), r"vector: expected a tensor \(C,\)"),
        (lambda: ActivationDifference("a", PHOTO, "l3"), "how='l3': .* nearest: 'l"),
        (lambda: ActivationDifference("a", torch.ones(3, 3)), "photo: expected"),
        (lambda: Style([], PHOTO), "expected at least one layer"),
        (lambda: Target(9), "target=9: the model's output"),
        (lambda: Target(9, margin=0.5), "target=9: the model's output"),
        (lambda: Target((0, 1, 1), "b", margin=1), r"scores \(N, C\) .* \(3, 4, 5, 6\)"),
        (lambda: Target(0, margin=1.5), "margin=1.5: expected a finite number of at least 0"),
        (lambda: Target(lambda out: out, margin=1), "margin=1.0: the target .* has others"),
    ],
)
def test_errors_say_what_was_expected(objective, message):
    with pytest.raises(ValueError, match=message):
        values(objective(), output=torch.ones(N, 5))


def test_a_layer_is_a_module_or_a_name():
    with pytest.raises(TypeError, match=r"expected a torch.nn.Module or its dotted name, got int"):
        Channel(3, 3)
    with pytest.raises(ValueError, match="channel='x': expected an index"):
        Channel("a", "x")


def norms(count=2):
    """A network of batch norms that remember other statistics than they are shown."""
    generator = torch.Generator().manual_seed(5)
    layers = torch.nn.Sequential(*(torch.nn.BatchNorm2d(C) for _ in range(count))).double().eval()
    for layer in layers:
        layer.running_mean.copy_(torch.randn(C, generator=generator))
        layer.running_var.copy_(torch.rand(C, generator=generator) + 0.5)
    return layers


def seen_by(model, tensors):
    return View({Place(m, True): (t,) for m, t in zip(model, tensors, strict=True)}, None, N, None)


@pytest.mark.parametrize("over", batch_norm.OVER)
def test_batch_norm_statistics_are_the_formula_summed_over_layers(over, monkeypatch):
    model, shown = norms(), [maps(), maps(1)]
    expected = [
        sum(layers)
        for layers in zip(
            *(
                ref.batch_norm_statistics(
                    tensor, layer.running_mean.tolist(), layer.running_var.tolist(), over
                )
                for layer, tensor in zip(model, shown, strict=True)
            ),
            strict=True,
        )
    ]
    objective = BatchNormStatistics(model, over=over)
    assert objective.score(seen_by(model, shown)).tolist() == pytest.approx(expected, rel=1e-9)
    right = batch_norm.statistics_distance
    for wrong in (
        lambda a, m, v, o: right(a, m, v.sqrt(), o),
        lambda a, m, v, o: right(a, m, v, "image" if o == "batch" else "batch"),
    ):
        monkeypatch.setattr(batch_norm, "statistics_distance", wrong)
        found = objective.score(seen_by(model, shown)).tolist()
        assert found != pytest.approx(expected, rel=1e-3)


def test_an_ascent_on_batch_norm_statistics_meets_them():
    torch.manual_seed(0)
    norm = torch.nn.BatchNorm2d(3)
    norm.running_mean.copy_(torch.tensor([0.2, 0.5, 0.7]))
    norm.running_var.copy_(torch.tensor([0.01, 0.02, 0.03]))
    model = torch.nn.Sequential(norm, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    image = torch.rand(2, 3, 16, 16)
    found = maximize(
        model,
        BatchNormStatistics(model, ["0"]),
        image,
        recipe="yosinski",
        regularizers=[],
        optimizer=lambda p: torch.optim.Adam(p, lr=0.02),
        steps=150,
    ).images
    assert found.mean((0, 2, 3)).tolist() == pytest.approx([0.2, 0.5, 0.7], abs=0.03)
    assert found.var((2, 3)).mean(0).tolist() == pytest.approx([0.01, 0.02, 0.03], abs=0.006)


def test_batch_norms_that_are_none_are_named():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1), *norms(1)).eval()
    assert str(BatchNormStatistics(model, "1")) == "statistics of 1 batch norm"
    with pytest.raises(ValueError, match="layers: '0' is a Conv2d; expected a batch norm"):
        BatchNormStatistics(model, ["0"])
    with pytest.raises(ValueError, match="Conv2d has no batch norm with running statistics"):
        BatchNormStatistics(model[0])
    with pytest.raises(ValueError, match=r"layers=\[\]: expected at least one batch norm"):
        BatchNormStatistics(model, [])
    with pytest.raises(ValueError, match=r"over='images': .* nearest: 'image'"):
        BatchNormStatistics(model, over="images")
