"""The loop: literal ascents, what it costs, what it leaves behind, seeds, callbacks, errors."""

import functools
from dataclasses import replace

import models
import pytest
import references_synthesis as ref
import torch
from digits import trained
from snapshots import nothing_left_behind
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis import (
    ActivationDifference,
    Alignment,
    Best,
    Channel,
    CosineDirection,
    Cppn,
    Custom,
    Direction,
    Diversity,
    Fourier,
    Interpolation,
    Laplacian,
    Layer,
    MacoPhase,
    Neuron,
    Pixels,
    Plateau,
    Snapshots,
    Style,
    Target,
    deep_dream,
    filter_atlas,
    maximize,
    presets,
    regularizers,
)
from captum_cnn_ext.synthesis import transforms as t

SIZE = (2, 5, 6)  # of the networks in models.py


@pytest.fixture
def net():
    return models.build(models.Net)


def small(net, objective, image=SIZE, **options):
    options = {"steps": 4, "recipe": "lucid", "transforms": [], **options}
    return maximize(net, objective, image, **options)


def counted(model, *names):
    """How often each layer runs, counted by hooks that stay."""
    calls = dict.fromkeys(names, 0)

    def count(name):
        def hook(*_):
            calls[name] += 1

        return hook

    for name in names:
        model.get_submodule(name).register_forward_pre_hook(count(name))
    return calls


def test_chollets_preset_is_his_script_step_for_step(net):
    generator = torch.Generator().manual_seed(4)
    start = (torch.rand(1, *SIZE, generator=generator).double() - 0.5) * 20 + 128
    expected = ref.chollet_ascent(
        lambda x: net.relu(net.block(torch.relu(net.norm(net.stem(x))))).mean((2, 3))[0, 2],
        start,
        20,
    )
    seen = Snapshots(every=1)
    found = maximize(
        net,
        Channel("relu", 2),
        start / 255,
        recipe=replace(presets.chollet(), finish=None),
        mean=[0.0],
        std=[1 / 255],
        callbacks=[seen],
    )
    assert len(seen.images) == 20
    assert float((expected[-1] - start).abs().max()) > 5  # it did move
    for ours, theirs in zip([*seen.images[1:], found.images], expected, strict=True):
        torch.testing.assert_close(ours * 255, theirs, rtol=1e-9, atol=1e-9)
    drawn = maximize(
        net, Channel("relu", 2), start / 255, recipe="chollet", mean=[0.0], std=[1 / 255]
    )
    torch.testing.assert_close(
        drawn.images, ref.deprocess(expected[-1], 0.25), rtol=1e-6, atol=1e-6
    )
    first = maximize(net, Channel("block", 2), SIZE, recipe="chollet", steps=1, callbacks=[seen])
    noise = seen.images[-1] * 255  # the start: (U - 0.5) 20 + 128
    assert first.history.shape == (1, 1)
    assert 118 <= noise.min() < 119.5
    assert 136.5 < noise.max() <= 138


@pytest.mark.parametrize(
    "wrong",
    [
        lambda self, g: -g / (g.square().mean().sqrt() + self.epsilon),
        lambda self, g: g / g.norm(),
        lambda self, g: g / g.abs().mean(),
    ],
    ids=["descent", "norm", "mean"],
)
def test_a_wrong_ascent_is_seen(net, wrong, monkeypatch):
    monkeypatch.setattr(regularizers.NormalizeGradient, "edit_gradient", wrong)
    with pytest.raises(AssertionError, match="not close"):
        test_chollets_preset_is_his_script_step_for_step(net)


def test_yosinskis_rules_follow_the_gradient(net):
    """One step by hand: gradient, decay, blur, grey."""
    start = torch.rand(1, *SIZE, dtype=torch.float64)
    image = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(net.stem(image).mean((2, 3))[0, 1], image)
    x = start + 4 / 255 * gradient / (gradient.square().mean().sqrt() + 1e-8)
    x = regularizers.blurred(0.5 + 0.9 * (x - 0.5), 1.0)
    norms = (x - 0.5).square().sum(1).sqrt()
    limit = sorted(norms.flatten().tolist())
    cut = limit[8] + 0.7 * (limit[9] - limit[8])  # the 30th of a hundred among 30 positions
    x = torch.where((norms < cut)[:, None], 0.5, x).clamp(0, 1)
    recipe = presets.yosinski(decay=0.1, blur=1.0, every=1, small_norms=30)
    found = maximize(net, Channel("stem", 1), start, recipe=recipe, steps=1)
    torch.testing.assert_close(found.images, x, rtol=1e-9, atol=1e-9)


PHOTO = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(8))
OBJECTIVES = {
    "neuron": lambda: Neuron("block", 1),
    "channel": lambda: Channel("block", [1, 2, 3]),
    "input of a layer": lambda: Channel("block", 1, at_input=True),
    "layer": lambda: Layer("block"),
    "direction": lambda: Direction("block", torch.tensor([1.0, -1, 2, 0])),
    "cosine": lambda: CosineDirection("block", torch.tensor([1.0, -1, 2, 0])),
    "class": lambda: Target(3),
    "classes": lambda: Target([3, 1]),
    "named logits": lambda: Target(3, "head.3"),
    "diversity": lambda: Diversity("block"),
    "alignment": lambda: Alignment("block"),
    "interpolation": lambda: Interpolation(Channel("block", 0), Target(2), 3),
    "inversion": lambda: ActivationDifference("block", PHOTO),
    "caricature": lambda: ActivationDifference("block", PHOTO, "cosine"),
    "style": lambda: Style(["stem", "block"], PHOTO),
    "custom": lambda: Custom("block", lambda a: a.flatten(1).amax(1)),
    "sum": lambda: Channel("block", 1, batch=0) - 0.5 * Target(2, batch=1) + Layer("stem"),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_rises(net, name):
    objective = OBJECTIVES[name]()
    with nothing_left_behind(net, PHOTO):
        found = small(net, objective, steps=12)
    assert found.images.shape == (objective.images, *SIZE)
    assert not found.images.requires_grad
    assert not found.history.requires_grad
    assert found.values.sum() > found.history[0].sum()
    assert found.history.shape == (12, objective.images)


@pytest.mark.parametrize(
    "make",
    [
        functools.partial(Pixels, spread=0.5),
        functools.partial(Pixels, spread=0.5, clip=False),
        Fourier,
        Laplacian,
        MacoPhase,
        Cppn,
    ],
    ids=["pixels", "free pixels", "fourier", "laplacian", "maco", "cppn"],
)
def test_every_parameterisation_rises(net, make):
    found = small(net, Channel("block", 1), parameterization=make, steps=10)
    assert found.values[0] > found.history[0, 0]


@pytest.mark.parametrize("name", presets.PRESETS)
def test_every_preset_rises_and_repeats(lite0, demo, name):
    def run(seed=0):
        return maximize(
            lite0, Channel("_blocks.1", 2), (33, 38), recipe=name, steps=8, seed=seed,
            mean=demo.mean, std=demo.std,
        )  # fmt: skip

    found = run()
    assert found.values > found.history[0]
    assert torch.equal(found.images, run().images)
    assert not torch.equal(found.images, run(1).images)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert found.recipe.name == name


def test_the_networks_mean_and_deviation_are_the_models_not_the_images(net):
    start = torch.rand(1, *SIZE, dtype=torch.float64)
    mean, std = [0.3, 0.6], [0.5, 0.25]
    found = small(net, Target(2), start, parameterization=Pixels, mean=mean, std=std)
    shape = (1, 2, 1, 1)
    normal = (found.images - torch.tensor(mean).reshape(shape)) / torch.tensor(std).reshape(shape)
    torch.testing.assert_close(found.values, net(normal)[:, 2].detach(), rtol=1e-6, atol=1e-6)
    assert small(net, Target(2), start, mean=[0.5]).images.shape == start.shape
    with pytest.raises(ValueError, match="std: got 3 values for 2 channels"):
        small(net, Target(2), std=[1, 1, 1])


def test_the_forward_stops_at_the_deepest_layer_looked_at(net):
    calls = counted(net, "stem", "block", "relu", "head")
    small(net, Channel("stem", 1) + Channel("block", 1), steps=5)
    assert calls == {"stem": 6, "block": 6, "relu": 0, "head": 0}  # 5 steps, and the end
    small(net, Target(1), steps=5)
    assert calls == {"stem": 12, "block": 12, "relu": 6, "head": 6}
    small(net, ActivationDifference("block", PHOTO), steps=5)
    assert calls["block"] == 24  # the photo too
    assert calls["head"] == 6


def test_no_gradient_of_a_weight_is_computed(net):
    asked = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.convolution_backward.default:
                asked.append(args[-1])
            return func(*args, **(kwargs or {}))

    with Watch():
        small(net, Channel("block", 1), steps=2)
    assert asked == [[True, False, False]] * 4  # of input, weight, bias; two convolutions
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_two_networks_at_once(net):
    net, other = net.float(), models.build(models.Net).float()
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(0.5).add_(0.01)

    def both(x):
        return (net(x) + other(x)) / 2

    with nothing_left_behind(net), nothing_left_behind(other):
        found = small(both, Target(1))
    value = (net(found.images) + other(found.images))[:, 1].detach() / 2
    assert torch.allclose(found.values, value)
    assert not torch.allclose(found.images, small(net, Target(1)).images, atol=1e-4)


@pytest.mark.parametrize("error", [ArithmeticError, KeyboardInterrupt])
@pytest.mark.parametrize("where", ["model", "callback", "objective", "transform"])
def test_an_interrupted_ascent_leaves_the_model_as_it_was(net, error, where):
    def fail(*_):
        raise error("in the middle")

    next(net.parameters()).grad = torch.ones_like(next(net.parameters()))
    net.norm.weight.requires_grad_(False)
    if where == "model":
        net.relu.register_forward_hook(fail)
    options = {"callbacks": [fail]} if where == "callback" else {}
    options = {"transforms": [fail]} if where == "transform" else options
    objective = Custom("block", fail) if where == "objective" else Target(1)
    with nothing_left_behind(net), pytest.raises(error, match="in the middle"):
        small(net, objective, **options)


@pytest.mark.parametrize("kind", [models.Residual, models.CalledTwice, models.WritesIntoInput,
                                  models.Functional, models.GoesOnAnyway])  # fmt: skip
def test_any_network_is_left_as_it_was(kind):
    model = models.build(kind)
    model.train()
    with nothing_left_behind(model):
        first = small(model, Channel("block", 1))
    with nothing_left_behind(model):
        assert torch.equal(first.images, small(model, Channel("block", 1)).images)
    with torch.inference_mode():
        assert torch.equal(first.images, small(model, Channel("block", 1)).images)
    with torch.no_grad():
        assert torch.equal(first.images, small(model, Channel("block", 1)).images)


def test_the_seed_is_the_only_source_of_chance(net):
    noisy = {"transforms": [t.jitter(1), t.noise(0.1), t.affine((0.9, 1.1), 5)]}
    first = small(net, Target(1), seed=3, **noisy)
    torch.rand(100)
    torch.manual_seed(77)
    assert torch.equal(first.images, small(net, Target(1), seed=3, **noisy).images)
    assert not torch.equal(first.images, small(net, Target(1), seed=4, **noisy).images)


def test_a_broken_head_is_an_error_when_it_is_asked_and_not_run_when_it_is_not():
    broken = models.build(models.Net)
    broken.head = nn.Linear(7, 5).double()
    assert small(broken, Channel("block", 1)).history.shape == (4, 1)
    with pytest.raises(ArgumentError, match=r"layer .head. \(Linear\), which takes 7"):
        small(broken, Target(1))


def test_hooks_do_not_gather(net):
    for _ in range(3):
        small(net, Channel("block", 1) + Target(2), steps=2)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize("channels", [1, 7])
@pytest.mark.parametrize("size", [(32, 32), (31, 17)])
def test_other_bands_odd_sizes_and_small_pictures(channels, size):
    model = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    model.append(nn.Flatten())
    model.append(nn.Linear(4, 3))
    with torch.no_grad():
        model[0].bias.fill_(1.0)
    for name in presets.PRESETS:
        found = maximize(model, Target(1), (channels, *size), recipe=name, steps=3, alpha=True)
        assert found.images.shape == (1, channels, *size)
        assert found.alpha.shape == (1, 1, *size)


@pytest.mark.parametrize("shape", [(1, 1, 28, 28), (1, 1, 40, 20), (1, 1, 256), (1, 1, 8, 24, 24)])
def test_the_default_recipe_moves_pixels_as_far_at_every_size(shape):
    """Of 224 pixels the amplitudes are untouched: the benchmarks were measured with them."""
    make = presets.transferable().parameterization
    large, plain = make((1, 1, 224, 224)), Fourier((1, 1, 224, 224), decay=2.2, lowest=6.0)
    assert large.scale.equal(plain.scale)

    def moved(param):
        draws = torch.Generator().manual_seed(0)
        with torch.no_grad():
            param.spectrum.copy_(torch.randn(param.spectrum.shape, generator=draws) * 1e-4)
            return float(param().logit().std(correction=0))

    assert moved(make(shape)) == pytest.approx(moved(large), rel=0.4)


def test_digits_are_recognised_by_the_network_they_were_made_for():
    model, classes = trained(), list(range(10))
    found = maximize(model, Target(classes, margin=0.5), (1, 28, 28))
    with torch.no_grad():
        seen = model(found.images).argmax(1)
    assert int((seen == torch.tensor(classes)).sum()) >= 8  # 5 where steps were those of 224 pixels


def test_mnist_sized_ascent_draws_no_border(lite0, demo):
    found = maximize(
        lite0, Channel("_blocks.2", 3), 32, recipe="lucid", steps=24, mean=demo.mean, std=demo.std
    )
    edge = torch.cat([found.images[..., 0, :].flatten(), found.images[..., :, 0].flatten()])
    assert edge.mean() > 0.15  # a black border would teach the image its own


def test_half_precision_and_autocast(net):
    model = models.build(models.Net).to(torch.bfloat16)
    found = small(model, Target(1), recipe="lucid")
    assert found.images.dtype == torch.float32
    single = models.build(models.Net).float()
    with torch.autocast("cpu", torch.bfloat16):
        found = small(single, Target(1), steps=12)
    assert found.images.dtype == torch.float32
    assert found.values > found.history[0]


def test_lbfgs_and_other_optimisers(net):
    for make in (
        functools.partial(torch.optim.LBFGS, lr=0.2, max_iter=4),
        functools.partial(torch.optim.SGD, lr=1.0, momentum=0.9),
        functools.partial(torch.optim.NAdam, lr=0.1),
    ):
        found = small(net, Channel("block", 1), optimizer=make)
        assert found.history.shape == (4, 1)
        assert found.values > found.history[0]


def test_going_on_where_it_ended(net):
    objective = Channel("block", 1)
    first = small(net, objective)
    more = small(net, objective, first.parameterization)
    torch.testing.assert_close(more.history[0], first.values)
    assert more.parameterization is first.parameterization
    assert all(p.grad is None for p in more.parameterization.parameters())
    with pytest.raises(ValueError, match=r"holds 1 image\(s\), but the objective is about 2"):
        small(net, Channel("block", [1, 2]), first.parameterization)


def test_callbacks(net):
    shots, best = Snapshots(steps=[0, 3]), Best()
    values, images = [], []

    def keep(step):
        values.append(step.values)
        images.append(step.images)
        assert step.total == 30
        return step.index == 9

    noisy = [t.noise(2.0)]
    found = small(net, Target([1, 2]), steps=30, callbacks=[shots, best, keep], transforms=noisy)
    assert torch.equal(found.history, torch.stack(values))
    assert len(values) == 10
    assert shots.steps == [0, 3]
    assert torch.equal(shots.images[1], images[3])
    assert torch.equal(best.values, found.history.amax(0))
    assert torch.equal(best.steps, found.history.argmax(0))
    for n, step in enumerate(best.steps.tolist()):
        assert torch.equal(best.images[n], images[step][n])


def test_a_plateau_ends_the_ascent():
    flat = models.build(models.Net)
    objective = Custom("stem", lambda a: a.flatten(1).mean(1).clamp_max(-0.3))
    found = small(flat, objective, steps=300, callbacks=[Plateau(window=5, gain=0.001)])
    assert 10 <= len(found.history) < 100
    rising = small(flat, Channel("stem", 1), steps=20, callbacks=[Plateau(window=5, gain=1e-9)])
    assert len(rising.history) == 20


def test_opacity_shows_what_is_needed():
    """A unit that looks at the left half only: the right half becomes transparent."""
    conv = nn.Conv2d(3, 1, 1)
    with torch.no_grad():
        conv.weight.fill_(1.0)
        conv.bias.zero_()
    model = nn.Sequential(conv)
    left = Custom("0", lambda a: a[..., :8].flatten(1).mean(1))
    found = maximize(model, left, 16, alpha=True, recipe="lucid", transforms=[], steps=150)
    opacity = found.alpha[0, 0]
    assert opacity[:, :7].mean() > opacity[:, 9:].mean() + 0.3


def test_a_dead_unit_is_said(net):
    with torch.no_grad():
        net.block.weight[1] = 0
        net.block.bias[1] = -1
    with pytest.warns(UserWarning, match=r"never changed for image\(s\) \[1\]. A rectifier"):
        small(net, Channel("relu", [0, 1]))


def test_photos_get_the_same_draws_as_the_images(net):
    """Under the same transforms a photo differs from itself in nothing, whatever the draw."""
    objective = ActivationDifference("block", PHOTO)
    with pytest.warns(UserWarning, match="never changed"):
        found = small(
            net,
            objective,
            PHOTO.double(),
            parameterization=functools.partial(Pixels, clip=False),
            optimizer=functools.partial(torch.optim.SGD, lr=0.0),
            transforms=[t.jitter(2), t.affine((0.8, 1.2), 20)],
        )
    assert found.history.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: small(m, Channel("blokc", 1)), "layer='blokc': .* nearest: 'block'"),
        (lambda m: small(m, Channel(nn.ReLU(), 1)), "not reached in the forward pass"),
        (lambda m: small(m, Target(9)), "target=9"),
        (lambda m: small(m, Target(1), recipe="lucyd"), "recipe='lucyd': .* nearest: 'lucid'"),
        (lambda m: small(m, Target(1), steps=0), "steps=0: expected an integer of at least 1"),
        (
            lambda m: small(m, Target(1), (1, 2, 3, 4, 5)),
            r"image=\(1, 2, 3, 4, 5\): expected an int",
        ),
        (lambda m: small(m, Target(1), torch.ones(3)), r"image: got \(3,\)"),
        (lambda m: small(m, Target([1, 2]), torch.zeros(3, *SIZE)), "got 3 photos, but"),
        (
            lambda m: small(m, Target(1), regularizers=[regularizers.Decay(0.1)]),
            "Decay changes pixels; expected parameterization=Pixels, got Fourier",
        ),
    ],
)
def test_wrong_arguments_are_named(net, call, message):
    with nothing_left_behind(net), pytest.raises(ValueError, match=message):
        call(net)


def test_an_objective_without_a_gradient_is_named(net):
    with pytest.raises(ValueError, match="has no gradient at the image"):
        small(net, Custom("block", lambda a: a.detach().flatten(1).sum(1)))
    with pytest.raises(TypeError, match="objective: expected an Objective such as"):
        small(net, "block")
    with pytest.raises(FloatingPointError, match="infinite or not a number at step 0"):
        small(net, Custom("block", lambda a: a.flatten(1).sum(1) / 0))


def test_an_atlas_ranks_the_same_images_that_one_by_one_gives(net):
    calls = counted(net, "stem", "head")
    options = {"size": SIZE, "steps": 5, "recipe": "lucid"}
    recipe = replace(presets.lucid(), transforms=())
    atlas = filter_atlas(net, "block", best=3, **{**options, "recipe": recipe})
    assert calls == {"stem": 7, "head": 0}  # a look, 5 steps, and the end, for all channels
    assert (atlas.values[:-1] >= atlas.values[1:]).all()
    assert atlas.layer == "block"
    assert len(atlas.images) == 3
    start = Fourier((4, *SIZE), sd=0.0025, generator=torch.Generator().manual_seed(0),
                    dtype=torch.float64)().detach()  # fmt: skip
    alone = [maximize(net, Channel("block", c), start[c], recipe=recipe, steps=5) for c in range(4)]
    order = sorted(range(4), key=lambda c: -float(alone[c].values))[:3]
    assert atlas.channels.tolist() == order
    for image, c in zip(atlas.images, order, strict=True):
        torch.testing.assert_close(image, alone[c].images[0], rtol=1e-5, atol=1e-6)
    assert atlas.stitched(margin=1).shape == (2, 11, 13)
    chunks = filter_atlas(net, "block", [3, 1], size=(2, 32, 32), steps=2, internal_batch_size=1)
    assert sorted(chunks.channels.tolist()) == [1, 3]


def test_an_atlas_names_dead_channels_and_wrong_ones(net):
    with torch.no_grad():
        net.block.weight[2] = 0
        net.block.bias[2] = -1
    with pytest.warns(UserWarning, match="never changed"):
        assert 2 in filter_atlas(net, "relu", size=SIZE, steps=2).dead
    for call, message in (
        (lambda: filter_atlas(net, "block", [4], size=SIZE, steps=2), "channel=4"),
        (lambda: filter_atlas(net, "block", [], size=SIZE), r"channels=\[\]: expected an index"),
        (lambda: filter_atlas(net, "block", best=0), "best=0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_dream_raises_its_layers_and_keeps_the_photo(lite0, demo):
    from captum_cnn_ext.photos import demo_photos

    picture = demo.preprocess(demo_photos()["coffee"])[:, :96, :80]
    photo = (picture * demo.std[0] + demo.mean[0]).clamp(0, 1)
    before = photo.clone()
    calls = counted(lite0, "_blocks.2", "_blocks.5")
    try:
        dream = deep_dream(
            lite0, photo, {"_blocks.2": 1.0}, octaves=2, steps=4, mean=demo.mean, std=demo.std
        )
    finally:
        for module in lite0.modules():
            module._forward_pre_hooks.clear()
    assert calls == {"_blocks.2": 10, "_blocks.5": 0}
    assert torch.equal(photo, before)
    assert [o.shape[-2:] for o in dream.octaves] == [(69, 57), (96, 80)]

    def excitation(image):
        found = maximize(
            lite0, Layer("_blocks.2", margin=2), image, parameterization=Pixels, transforms=[],
            optimizer=functools.partial(torch.optim.SGD, lr=0.0), steps=1,
            mean=demo.mean, std=demo.std,
        )  # fmt: skip
        return float(found.history)

    assert excitation(dream.images) > 1.3 * excitation(photo)
    moved = (dream.images[0] - photo).abs()
    assert 0.005 < moved.mean() < 0.15  # the photo is still there


def test_octaves_put_lost_detail_back(net):
    """Without a step the dream is the photo, but for what the last size could not hold."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    photo = torch.rand(1, 3, 40, 30)
    with pytest.raises(
        TypeError, match=r"image: got str 'cat.jpg', expected a tensor .*load_photos"
    ):
        deep_dream(model, "cat.jpg", "0")
    still = deep_dream(model, photo, "0", steps=1, step_size=0.0, jitter=0)
    torch.testing.assert_close(still.images, photo, rtol=0, atol=1e-5)
    early = deep_dream(model, photo, ["0"], steps=50, step_size=0.01, most=-1.0, octaves=1)
    once = deep_dream(model, photo, Layer("0", margin=2), steps=1, step_size=0.01, octaves=1)
    assert torch.equal(early.images, once.images)
    for options, message in (({"octaves": 0}, "octaves=0"), ({"octave_scale": 1.0}, "=1.0")):
        with pytest.raises(ValueError, match=message):
            deep_dream(model, photo, "0", **options)
    with pytest.raises(ValueError, match="layers: got none"):
        deep_dream(model, photo, [])
