"""Ascents that draw signals and volumes, and grey images for networks of colours."""

import pytest
import torch
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext.attr import ActivationMaximization
from captum_cnn_ext.synthesis import (
    Channel,
    Cppn,
    Fourier,
    Laplacian,
    Pixels,
    Recipe,
    Target,
    filter_atlas,
    maximize,
    presets,
    regularizers,
)
from captum_cnn_ext.synthesis import transforms as t

SIZES = {1: (3, 50), 3: (2, 6, 14, 15)}
AXES = pytest.mark.parametrize("axes", SIZES)


def net(axes, channels=None):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1]
    pool = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[axes - 1]
    torch.manual_seed(0)
    return nn.Sequential(
        *(conv(channels or SIZES[axes][0], 6, 3, padding=1), norm(6), nn.Tanh()),
        *(conv(6, 4, 3), pool(1), nn.Flatten(), nn.Linear(4, 5)),
    ).eval()


@AXES
@pytest.mark.parametrize("recipe", presets.PRESETS)
def test_every_recipe_draws_what_the_network_takes(axes, recipe):
    model, options = net(axes), {"recipe": recipe, "steps": 25}
    if recipe == "maco":
        with pytest.raises(ValueError, match="MacoPhase: is for images"):
            maximize(model, Target(2), SIZES[axes], **options)
        return
    starts = []
    with nothing_left_behind(model):
        found = maximize(
            model, Target(2), SIZES[axes], callbacks=[lambda s: starts.append(s.images)], **options
        )
    assert found.images.shape == (1, *SIZES[axes])
    assert found.values > model(starts[0])[:, 2]
    assert torch.equal(found.images, maximize(model, Target(2), SIZES[axes], **options).images)


@AXES
@pytest.mark.parametrize("make", [Pixels, Fourier, Laplacian, Cppn])
def test_every_parameterisation_rises(axes, make):
    model = net(axes)
    options = {"parameterization": make, "steps": 10, "transforms": ()}
    found = maximize(model, Channel("3", [1, 2]), SIZES[axes], **options)
    assert bool((found.values > found.history[0]).all())
    more = maximize(model, Channel("3", [1, 2]), found.parameterization, **options)
    assert bool((more.values > found.values).all())


@AXES
def test_everything_held_against_an_image(axes):
    held = [
        regularizers.TotalVariation(0.1),
        regularizers.LpDecay(0.1),
        regularizers.NormalizeGradient(),
        regularizers.BlurEvery(2, 0.5),
        regularizers.ClipSmallNorms(5),
        regularizers.ClipSmallContributions(5),
    ]
    views = [t.pad(2), t.jitter(2), t.resize(0.9, 1.1), t.noise(0.02), t.color_jitter(0.1)]
    recipe = Recipe(Pixels, 6, lambda p: torch.optim.SGD(p, 0.02), [*views, t.trim(1)], held)
    found = maximize(net(axes), Target(1), SIZES[axes], recipe=recipe, alpha=True)
    assert found.values > net(axes)(torch.full((1, *SIZES[axes]), 0.5))[:, 1]
    assert found.alpha.shape == (1, 1, *SIZES[axes][1:])


def test_affine_of_a_signal_is_that_of_an_image_of_one_row():
    signal = torch.rand(2, 3, 21, generator=torch.Generator().manual_seed(0))
    view = t.affine((0.7, 1.4), shift=0.2, fill="edge")
    image = signal[:, :, None].expand(-1, -1, 9, -1)
    found = view(signal, torch.Generator().manual_seed(4))
    expected = view(image, torch.Generator().manual_seed(4))[:, :, 4]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_affine_of_a_volume_is_by_slices_where_the_first_axis_stays():
    """Smooth along the first axis by a linear ramp: scaling it stretches the ramp."""
    image = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(-1, 1, 7) * (7 - 1) / 7
    volume = image[:, :, None] + ramp[:, None, None]
    view = t.affine((1.5, 1.5), degrees=20, fill="edge")
    found = view(volume, torch.Generator().manual_seed(4))
    flat = view(image, torch.Generator().manual_seed(4))
    expected = flat[:, :, None] + ramp[:, None, None] / 1.5
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@AXES
def test_activation_maximization_takes_them(axes):
    model, x = net(axes).double(), torch.rand(2, *SIZES[axes]).double()
    kwargs = {"mean": [0.4], "std": [0.2], "steps": 10}
    found = ActivationMaximization(model).attribute((x - 0.4) / 0.2, target=[1, 3], **kwargs)
    assert found.shape == x.shape
    before, after = (model(v)[[0, 1], [1, 3]] for v in ((x - 0.4) / 0.2, found))
    assert bool((after > before).all())
    fresh = ActivationMaximization(model, "3").attribute(
        None, (1,) + (2,) * axes, size=SIZES[axes], steps=2
    )
    assert fresh.shape == (1, *SIZES[axes])


def test_an_atlas_of_signals_has_images_and_no_page():
    atlas = filter_atlas(net(1), "3", size=SIZES[1], steps=2)
    assert atlas.images.shape == (4, *SIZES[1])
    with pytest.raises(ValueError, match=r"stitched: is for images .* only, got signals"):
        atlas.stitched()


@pytest.mark.parametrize("make", [Pixels, Fourier, Laplacian])
def test_grey_images_of_a_network_of_colours(make):
    """All channels are equal as shown; the network gets each with its own mean and deviation."""
    model, mean, std = net(2, 3), [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]
    options = {"mean": mean, "std": std, "steps": 12, "grey": True, "transforms": ()}
    options |= {"parameterization": make}
    found = maximize(model, Target(2), (9, 11), **options)
    assert found.images.shape == (1, 3, 9, 11)
    assert torch.equal(found.images, found.images[:, :1].expand(-1, 3, -1, -1))
    assert found.images.std() > 0
    assert found.values > found.history[0]
    taken = ActivationMaximization(model).attribute(target=2, size=(9, 11), **options)
    assert taken[0, 0].sub(taken[0, 1]).abs().max() > 0.1
    shown = taken * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
    torch.testing.assert_close(shown, found.images, rtol=0, atol=1e-5)
    torch.testing.assert_close(model(taken)[:, 2], found.values, rtol=0, atol=1e-5)
    more = maximize(model, Target(2), found.parameterization, **options)
    assert more.values > found.values


def test_tensors_are_told_by_the_network_what_they_are():
    for axes, size in SIZES.items():
        one = torch.rand(size)
        for image in (one, one[None], one.expand(2, *size)):
            found = maximize(net(axes), Target([1, 2]), image, steps=1).images
            assert found.shape == (2, *size)
    frames = torch.rand(2, 3, 4, 9, 8)  # pictures of a video, through a network of images
    body = net(2, 3)
    by_frame = lambda x: body(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (2, 4)).mean(1)  # noqa: E731
    assert maximize(by_frame, Target([1, 2]), frames, steps=1).images.shape == frames.shape


@pytest.mark.parametrize(
    ("axes", "call", "message"),
    [
        (2, lambda m: maximize(m, Target(1), Pixels((3, 8, 8))), r"signals .*, but .* images"),
        (2, lambda m: maximize(m, Target(1), torch.rand(8, 8)), r"image: got \(8, 8\) torch.float"),
        (1, lambda m: maximize(m, Target(1), (1, 3, 8, 8)), "an integer or 1 of them"),
        (2, lambda m: maximize(m, Target(1), 8, recipe="maco", grey=True), "Phase takes no grey="),
        (2, lambda m: maximize(m, Target(1), Pixels((1, 3, 8, 8)), grey=True), "with grey=True"),
        (2, lambda m: ActivationMaximization(m).attribute(torch.rand(2, 3), target=1), "2, 3."),
    ],
)
def test_what_does_not_fit_is_named(axes, call, message):
    with pytest.raises(ValueError, match=message):
        call(net(axes, 3))
