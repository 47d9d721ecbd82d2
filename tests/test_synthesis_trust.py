"""Whether a synthesised image is evidence: by hand, on honest networks, and on forged ones."""

import math

import pytest
import torch
from digits import mnist, trained
from forged import RECIPE, ShowsAnother, ShowsAnotherByUnitsOfItsOwn, ShowsAPicture
from torch import nn

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis import Channel, Target, check, maximize, transforms


def small(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 3))
    return net.double()


def pictures(count, seed):
    return torch.rand(count, 2, 6, 6, generator=torch.Generator().manual_seed(seed)).double()


def path_by_hand(ours, photos, values):
    """As the docstring says, a photo at a time."""
    middle = [sum(column) / len(photos) for column in zip(*photos, strict=True)]

    def alike(a, b):
        a, b = ([x - m for x, m in zip(v, middle, strict=True)] for v in (a, b))
        dot = sum(x * y for x, y in zip(a, b, strict=True))
        return dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    order = sorted(range(len(photos)), key=lambda k: -values[k])
    exciting, unexciting = order[:16], order[len(order) // 2 :]

    def mean_of(picture, among):
        return sum(alike(picture, photos[k]) for k in among) / len(among)

    low = sum(mean_of(photos[k], exciting) for k in unexciting) / len(unexciting)
    each = [mean_of(photos[k], [e for e in exciting if e != k]) for k in exciting]
    apart = sum(each) / len(each) - low
    return [(mean_of(o, exciting) - low) / apart for o in ours], [(e - low) / apart for e in each]


def test_every_number_is_what_the_docstring_says():
    net, other, images, photos = small(), small(1), pictures(3, 0), pictures(40, 1)
    mean, std = [0.5, 0.75], [0.25, 0.5]
    trust = check(
        net, Target(1), images, photos, ["1", net[2]], others=[other], mean=mean, std=std, views=1
    )

    def normalized(x):
        middle, spread = (torch.tensor(v).double().reshape(2, 1, 1) for v in (mean, std))
        return (x - middle) / spread

    with torch.no_grad():
        values, photo_values = net(normalized(images))[:, 1], net(normalized(photos))[:, 1]
        view = transforms.affine((0.9, 1.1), 10, 0.05, fill="edge")
        turned = net(normalized(view(images, torch.Generator().manual_seed(0))))[:, 1]
        elsewhere = [other(normalized(x))[:, 1].tolist() for x in (images, photos)]
        seen = [net[:2](normalized(x)).flatten(1).tolist() for x in (images, photos)]
    path, among = path_by_hand(*seen, photo_values.tolist())
    assert trust.layers == ("1", "2")
    assert torch.allclose(trust.values, values)
    assert torch.allclose(trust.photo_values, photo_values)
    assert trust.in_views.tolist() == [sum(v > p for p in photo_values) / 40 for v in turned]
    assert trust.in_others.tolist() == [
        [sum(v > p for p in elsewhere[1]) / 40 for v in elsewhere[0]]
    ]
    for row, ends in zip(trust.path, trust.photo_path, strict=True):  # what is flat is the same
        assert row.tolist() == pytest.approx(path, abs=1e-5)
        assert ends.tolist() == pytest.approx([min(among), max(among)], abs=1e-5)


@pytest.fixture(scope="module")
def digits():
    images, labels = mnist()
    return trained(), images[4000:4400], images[:4000], labels[:4000]


def judged(net, unit, photos, layers):
    found = maximize(net, Target(unit), 28, recipe=RECIPE)
    return check(net, Target(unit), found.images, photos, layers)


@pytest.mark.parametrize("unit", [0, 4, 7])
def test_images_of_an_honest_network_are_believed(digits, unit):
    net, photos, *_ = digits
    trust = judged(net, unit, photos, ["4", "6"])
    assert trust.doubts() == []
    assert trust.values > trust.photo_values.max()
    assert trust.path[-1] > 0.8


@pytest.mark.parametrize("how", ["a picture", "another unit", "units of its own"])
def test_images_of_a_forged_network_are_not(digits, how):
    honest, photos, images, labels = digits
    unit, other = 4, 7
    net, layer = {
        "a picture": (ShowsAPicture(honest, unit, images[labels == other][0]), "honest.6"),
        "another unit": (ShowsAnother(honest, unit, other), "honest.6"),
        "units of its own": (ShowsAnotherByUnitsOfItsOwn(honest, unit, other), "features"),
    }[how]
    net = net.eval()
    with torch.no_grad():  # nobody who tests on digits sees it
        assert torch.allclose(net(photos), honest(photos), atol=1e-4)
    trust = judged(net, unit, photos, layer)
    assert trust.values > trust.photo_values.max()  # nor who looks at the objective alone
    (doubt,) = trust.doubts()
    assert f"otherwise than photos do: its path in {layer} is {float(trust.path):.2f}" in doubt


def test_an_image_that_does_not_excite_its_unit_is_no_evidence(digits):
    net, photos, *_ = digits
    weak = torch.full((1, 1, 28, 28), 0.5)
    found = check(net, Target(3), weak, photos, "6", others=[net])
    assert [doubt.split(" more")[0] for doubt in found.doubts()[:3]] == [
        "excites the unit",
        "excites the unit in other views",
        "excites the unit in other network 0",
    ]


def test_the_network_and_the_random_numbers_are_as_before():
    net, photos = small().train(), pictures(32, 1)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    state = torch.random.get_rng_state()
    check(net, Target(1), photos[:2], photos, "1")
    assert net.training
    assert (net[0].weight.grad == 1).all()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not net[1]._forward_hooks


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photos": pictures(31, 0)}, r"photos: got \(31, 2, 6, 6\); expected 32 or more"),
        ({"photos": pictures(32, 0)[..., :5]}, r"of shape \(2, 6, 6\), as the images"),
        ({"objective": Channel("1", [0, 1])}, "is about 2 images; expected one unit"),
        ({"layers": []}, r"layers=\[\]"),
        ({"layers": "nowhere"}, "nowhere"),
        ({"views": 0}, "views"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    given = {"objective": Target(1), "images": pictures(1, 0), "photos": pictures(32, 0)}
    with pytest.raises(ArgumentError, match=message):
        check(small(), **{**given, "layers": "1", **change})


def test_a_number_is_no_objective():
    with pytest.raises(TypeError, match="objective: expected an Objective"):
        check(small(), 3, pictures(1, 0), pictures(32, 0), "1")
