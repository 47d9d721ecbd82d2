"""Objectives against literal formulas; their algebra; what they say when something is wrong."""

import operator

import pytest
import references_synthesis as ref
import torch

from captum_cnn_ext.synthesis import (
    ActivationDifference,
    Alignment,
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
)
from captum_cnn_ext.synthesis.objectives import between_images, directions
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
