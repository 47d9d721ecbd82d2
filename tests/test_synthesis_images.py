"""What is optimised, what the network sees of it, and what is held against it."""

import math
from functools import partial

import pytest
import references_synthesis as ref
import torch
from torch import nn

from captum_cnn_ext.synthesis import (
    Cppn,
    Fourier,
    Generator,
    Laplacian,
    MacoPhase,
    Pixels,
    presets,
    regularizers,
    standardized,
)
from captum_cnn_ext.synthesis import transforms as t
from captum_cnn_ext.synthesis.images import spectrum


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def smooth_photo(channels=3, height=13, width=16):
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    planes = [0.5 + 0.3 * torch.sin(3 * (c + 1) * x + 2 * y) for c in range(channels)]
    return torch.stack(planes)[None]


def network():
    layers = nn.Sequential(nn.Linear(4, 3 * 8 * 8), nn.Unflatten(1, (3, 8, 8)), nn.Sigmoid())
    with torch.no_grad():
        for parameter in layers.parameters():
            parameter.copy_(0.5 * torch.randn(parameter.shape, generator=seeded()))
    return layers


PARAMS = {
    "pixels": Pixels,
    "fourier": Fourier,
    "smooth fourier": partial(Fourier, decay=2.0),
    "laplacian": Laplacian,
    "maco": MacoPhase,
    "cppn": Cppn,
    "generator": partial(Generator, network=network(), latent=(4,)),
}
EVERY_PARAM = pytest.mark.parametrize("name", PARAMS)
SHAPES = [
    (2, 3, 13, 16), (1, 1, 9, 7), (1, 7, 8, 5), (1, 3, 1, 1), (2, 3, 41), (1, 3, 5, 9, 12),
]  # fmt: skip


@EVERY_PARAM
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_an_image_and_repeatable(name, shape):
    if name == "generator" and (shape[1] != 3 or len(shape) != 4):
        pytest.skip("this generator draws images of three channels")
    if name == "maco" and len(shape) != 4:
        with pytest.raises(ValueError, match=r"MacoPhase: is for images \(N, C, H, W\) only"):
            MacoPhase(shape)
        return
    param = PARAMS[name](shape, generator=seeded(3))
    image = param()
    assert image.shape == shape
    assert image.min() >= 0
    assert image.max() <= 1
    assert torch.equal(image, PARAMS[name](shape, generator=seeded(3))())
    if name != "cppn" and math.prod(shape) > 3:  # begins grey, whatever its hidden layers
        assert not torch.equal(image, PARAMS[name](shape, generator=seeded(4))())
    gradients = torch.autograd.grad(image.square().sum(), list(param.parameters()))
    assert any(g.abs().max() > 0 for g in gradients) or shape == (1, 3, 1, 1)


@pytest.mark.parametrize("name", ["pixels", "fourier", "smooth fourier", "laplacian"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_holds_any_photo_exactly(name, shape):
    photo = torch.rand(shape, generator=seeded(1)).double() * 0.98 + 0.01
    param = PARAMS[name](shape, dtype=torch.float64)
    param.start_from(photo)
    torch.testing.assert_close(param(), photo, rtol=0, atol=1e-6)
    param.start_from(photo[0])
    torch.testing.assert_close(param(), photo[:1].expand(shape), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(13, 16), (8, 9), (6, 6)], ids=str)
def test_maco_holds_the_photo_whose_magnitude_it_has(size):
    photo = (torch.rand(1, 3, *size, generator=seeded(1)) * 0.9 + 0.05).double()
    param = MacoPhase(photo.shape, photos=photo, dtype=torch.float64)
    assert (param() - photo).abs().max() > 0.05
    param.start_from(photo)
    torch.testing.assert_close(param(), photo, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(13, 16), (8, 9), (6, 6)], ids=str)
@pytest.mark.parametrize("given", [True, False])
def test_maco_keeps_its_magnitude_whatever_the_phase(size, given):
    photos = torch.rand(4, 3, *size, generator=seeded(1)).double() if given else None
    param = MacoPhase((2, 3, *size), photos=photos, generator=seeded(2), dtype=torch.float64)
    found = torch.fft.rfft2(spectrum.decorrelated(param().logit()), norm="ortho").abs()
    torch.testing.assert_close(
        found.detach(), param.magnitude.abs().expand_as(found), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(("name", "error"), [("cppn", 0.06), ("generator", 0.08)])
def test_a_network_comes_near_a_photo(name, error):
    photo = smooth_photo() if name == "cppn" else network()(torch.randn(1, 4, generator=seeded(5)))
    param = PARAMS[name](photo.shape, generator=seeded())
    before = float((param() - photo).detach().abs().mean())
    param.start_from(photo)
    after = float((param() - photo).detach().abs().mean())
    assert after < error
    assert after < before / 2
    assert all(p.grad is None for p in param.parameters())


def test_a_generators_network_is_no_part_of_what_is_optimised():
    param = PARAMS["generator"]((2, 3, 16, 16))
    assert [name for name, _ in param.named_parameters()] == ["latent"]
    narrow = Generator((1, 4, 8, 8), network=network(), latent=(4,))
    with pytest.raises(ValueError, match=r"network: drew \(1, 3, 8, 8\); expected \(1, 4, 8, 8\)"):
        narrow()


@pytest.mark.parametrize(
    "size", [(4, 6), (5, 4), (3, 3), (7,), (8,), (3, 4, 5), (2, 3, 4)], ids=str
)
@pytest.mark.parametrize(("decay", "lowest"), [(1.0, 1), (1.5, 2), (0.0, 1)])
def test_fourier_is_the_sum_of_its_waves(size, decay, lowest):
    options = {"generator": seeded(), "dtype": torch.float64}
    param = Fourier((1, 1, *size), decay=decay, lowest=lowest, sd=0.3, **options)
    expected = ref.fourier_picture(param.spectrum[0, 0].detach(), size, decay, lowest)
    torch.testing.assert_close(param().logit()[0, 0].detach(), expected, rtol=1e-9, atol=1e-9)


def test_colours_are_the_published_matrix():
    one = torch.eye(3).reshape(3, 3, 1, 1).double()
    matrix = torch.tensor([[0.26, 0.09, 0.02], [0.27, 0, -0.05], [0.27, -0.09, 0.03]]).double()
    found = spectrum.colored(one)[..., 0, 0].T * 0.4619
    torch.testing.assert_close(found, matrix, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (1, 0, 8, 8), (1, 3, 8, 8, 8, 8)])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        Fourier(shape)


def test_a_photo_of_another_size_is_named():
    with pytest.raises(ValueError, match=r"a photo of shape \(3, 5, 8\); expected \(3, 8, 8\)"):
        Fourier((1, 3, 8, 8)).start_from(torch.rand(3, 5, 8))
    with pytest.raises(ValueError, match=r"photos: got shape"):
        MacoPhase((1, 3, 8, 8), photos=torch.rand(3, 8, 8))


TRANSFORMS = {
    "pad": t.pad(5),
    "wide pad": t.pad(40),
    "grey pad": t.pad(5, 0.5),
    "random pad": t.pad(5, "random"),
    "edge pad": t.pad(5, "edge"),
    "trim": t.trim(2),
    "jitter": t.jitter(4),
    "crop": t.crop(6),
    "affine": t.affine((0.5, 1.5), 30, 0.2),
    "reflecting affine": t.affine((0.5, 1.5), 30, 0.2, fill="reflect"),
    "scale": t.scale(0.8, 1.2),
    "rotate": t.rotate(20),
    "resize": t.resize(0.5, 1.2, smallest=4),
    "noise": t.noise(0.1),
    "color_jitter": t.color_jitter(0.1),
}
EVERY_TRANSFORM = pytest.mark.parametrize("name", TRANSFORMS)


@EVERY_TRANSFORM
@pytest.mark.parametrize(
    "shape", [(2, 3, 13, 16), (1, 1, 7, 5), (2, 7, 32, 32), (2, 3, 31), (2, 1, 7, 9, 8)], ids=str
)
def test_transforms_are_seeded_and_carry_a_gradient(name, shape):
    image = torch.rand(shape, generator=seeded(), dtype=torch.float64).requires_grad_()
    if name == "crop" and len(shape) != 4:
        with pytest.raises(ValueError, match=r"crop: is for images .* only, got (signals|volumes)"):
            TRANSFORMS[name](image, seeded(5))
        return
    state = torch.get_rng_state()
    found = TRANSFORMS[name](image, seeded(5))
    assert found.shape[:2] == shape[:2]
    assert found.dtype == image.dtype
    assert torch.equal(found, TRANSFORMS[name](image, seeded(5)))
    (gradient,) = torch.autograd.grad(found.sum(), image)
    assert gradient.abs().sum() > 0
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    "name",
    [
        n
        for n in TRANSFORMS
        if n not in ("resize", "trim", "pad", "wide pad", "grey pad", "edge pad")
    ],
)
def test_each_image_has_its_own_draw(name):
    image = torch.rand(1, 3, 24, 24, generator=seeded()).expand(4, -1, -1, -1)
    found = TRANSFORMS[name](image, seeded(1))
    assert not torch.equal(found[0], found[1])


def test_jitter_moves_both_ways_and_loses_nothing():
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    seen = set()
    generator = seeded()
    for _ in range(200):
        moved = t.jitter(2)(image, generator)
        assert moved.flatten().sort().values.equal(image.flatten())  # no border, black or other
        place = int((moved == 0).flatten().nonzero()[0])
        seen.add(((place // 8 + 4) % 8 - 4, (place % 8 + 4) % 8 - 4))
    assert seen == {(dy, dx) for dy in range(-2, 3) for dx in range(-2, 3)}


def test_affine_turns_as_rot90_does_and_keeps_the_proportions():
    image = torch.rand(1, 2, 9, 9, generator=seeded())
    theta = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]])
    turned = t._sampled(image, theta, 0.5, seeded())
    torch.testing.assert_close(turned, image.rot90(1, (2, 3)), rtol=0, atol=1e-5)
    # a disc stays a disc in a picture that is not square
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(80.0), indexing="ij")
    disc = (((y - 19.5) ** 2 + (x - 39.5) ** 2).sqrt() < 12).float()[None, None]
    spun = t.affine(degrees=45, fill=0.0)(disc, seeded(3))
    assert (spun - disc).abs().mean() < 0.02


def test_affine_scales_by_what_it_says():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = (((y - 31.5) ** 2 + (x - 31.5) ** 2).sqrt() < 16).float()[None, None]
    for factor in (0.5, 1.5):
        area = float(t.affine((factor, factor), fill=0.0)(disc, seeded()).sum() / disc.sum())
        assert area == pytest.approx(factor**2, rel=0.05)


def test_around_a_smaller_image_is_no_black_border():
    image = torch.full((8, 3, 32, 32), 0.7)
    for fill, low in (("reflect", 0.69), ("edge", 0.69), (0.5, 0.49)):
        assert t.affine((0.5, 0.5), fill=fill)(image, seeded()).min() > low
        assert t.pad(9, fill)(image, seeded()).min() > low
    corners = t.affine((0.5, 0.5), fill="random")(image, seeded())[:, :, 0, 0]
    assert len(corners.flatten().unique()) == 24


def test_reflection_is_torchs_where_torch_has_one():
    image = torch.rand(1, 2, 7, 9, generator=seeded())
    ours = t.pad(4)(image, seeded())
    assert torch.equal(ours, nn.functional.pad(image, (4,) * 4, mode="reflect"))


def test_trim_undoes_a_pad_and_refuses_what_would_be_empty():
    image = torch.rand(2, 1, 7, 9, generator=seeded())
    assert torch.equal(t.compose([t.pad(3, 0.5), t.trim(3)])(image, seeded()), image)
    with pytest.raises(ValueError, match=r"trim\(pixels=4\): .* got 7 x 9"):
        t.trim(4)(image, seeded())
    view = t.compose(presets.lucid().transforms)(torch.rand(2, 3, 40, 31), seeded())
    assert view.shape == (2, 3, 40, 31)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: t.pad(-1), "pixels=-1: expected an integer of at least 0"),
        (lambda: t.pad(3, "reflct"), "fill='reflct': .* nearest: 'reflect'"),
        (lambda: t.pad(3, 2.0), "fill=.*: expected a finite number of at least 0 and at most 1"),
        (lambda: t.affine((1.2, 0.5)), r"scale\[0\]=1.2, scale\[1\]=0.5: expected the smaller"),
        (lambda: t.resize(0, 1), "low=0: expected a finite number above 0"),
        (lambda: t.crop(0), "height=0"),
    ],
)
def test_wrong_transforms_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


IMAGE = torch.rand(2, 3, 6, 7, generator=seeded(9)).double() * 1.6 - 0.3


@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("shape", [IMAGE.shape, (2, 3, 9), (2, 2, 3, 4, 5)], ids=str)
def test_total_variation(beta, shape):
    image = IMAGE if shape == IMAGE.shape else torch.rand(shape, generator=seeded()).double()
    found = regularizers.TotalVariation(2.0, beta).penalty(image)
    expected = [2 * v for v in ref.total_variation(image, beta)]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_penalties_by_hand():
    image = torch.tensor([0.5, 1.5, -0.5, 0.0]).reshape(1, 1, 2, 2)
    assert regularizers.LpDecay(3.0, 2).penalty(image).item() == pytest.approx(3 * 2.25 / 4)
    assert regularizers.LpDecay(1.0, 6).penalty(image).item() == pytest.approx((1 + 1 + 0.5**6) / 4)
    assert regularizers.OutOfRange(4.0).penalty(image).item() == pytest.approx(4 * 0.5 / 4)
    both = [regularizers.LpDecay(3.0), regularizers.OutOfRange(4.0), regularizers.Decay(0.1)]
    assert regularizers.penalties(both, image).item() == pytest.approx(2.25 * 0.75 + 0.5)
    assert regularizers.penalties(both[2:], image) is None


@pytest.mark.parametrize("how", regularizers.GRADIENT_NORMS)
def test_gradients_become_equally_long_for_each_image(how):
    gradient = torch.stack([torch.full((1, 2, 2), 5.0), torch.tensor([[[1.0, -1], [7, 0]]])])
    found = regularizers.NormalizeGradient(how, epsilon=0).edit_gradient(gradient)
    size = {
        "rms": lambda g: g.square().mean().sqrt(),
        "l2": lambda g: g.norm(),
        "mean": lambda g: g.abs().mean(),
    }[how]
    assert [float(size(g)) for g in found] == pytest.approx([1, 1])
    assert torch.equal(found.sign(), gradient.sign())
    with pytest.raises(ValueError, match="how='max'"):
        regularizers.NormalizeGradient("max")


def test_long_gradients_are_cut_and_short_ones_are_not():
    gradient = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    found = regularizers.ClipGradient(1.0).edit_gradient(gradient)
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8], [0.3, 0.4]]))


def test_projections_by_hand():
    pixels = torch.tensor([[0.9, 0.5], [0.6, 0.1]]).reshape(1, 1, 2, 2)
    gradient = torch.tensor([[0.1, 9.0], [5.0, -1.0]]).reshape(1, 1, 2, 2)

    def after(regularizer, step=0):
        return regularizer.project(pixels, gradient, step).flatten().tolist()

    assert after(regularizers.Decay(0.5)) == pytest.approx([0.7, 0.5, 0.55, 0.3])
    assert after(regularizers.ClipSmallNorms(50)) == pytest.approx([0.9, 0.5, 0.5, 0.1])
    # contributions: 0.04, 0, 0.5, 0.4
    assert after(regularizers.ClipSmallContributions(50)) == pytest.approx([0.5, 0.5, 0.6, 0.1])
    blur = regularizers.BlurEvery(3, 1.0)
    assert after(blur, 0) == after(blur, 1) == pixels.flatten().tolist()
    assert after(blur, 2) != pixels.flatten().tolist()
    with pytest.raises(ValueError, match="steps=0: expected an integer of at least 1"):
        regularizers.BlurEvery(0)


def test_a_blur_is_a_gaussian():
    dot = torch.zeros(1, 2, 15, 15).double()
    dot[..., 7, 7] = 1
    found = regularizers.blurred(dot, 1.5)[0, 1]
    assert float(found.sum()) == pytest.approx(1)
    assert float(found[7, 9] / found[7, 7]) == pytest.approx(math.exp(-4 / (2 * 2.25)))
    assert float(found[6, 9]) == pytest.approx(float(found[9, 8]))
    y = torch.arange(15) - 7
    assert float((found.sum(1) * y**2).sum()) == pytest.approx(2.25, rel=0.03)  # cut at 3 sigma


@pytest.mark.parametrize("axes", [1, 3])
def test_a_blur_of_a_product_is_the_product_of_blurs(axes):
    """The blur of images as the oracle: a signal is one row, a volume a product of rows."""
    rows = [torch.rand(11, generator=seeded(axis)).double() for axis in range(axes)]
    blurs = [regularizers.blurred(row.expand(1, 1, 9, -1), 1.2)[0, 0, 4] for row in rows]
    letters = "abc"[:axes]
    equation = ",".join(letters) + "->" + letters
    found = regularizers.blurred(torch.einsum(equation, *rows)[None, None], 1.2)[0, 0]
    torch.testing.assert_close(found, torch.einsum(equation, *blurs))


@pytest.mark.parametrize("name", ["pixels", "fourier", "laplacian"])
@pytest.mark.parametrize("shape", [(2, 3, 13, 16), (1, 4, 9), (1, 3, 3, 5, 6)], ids=str)
def test_grey_is_one_channel_for_all(name, shape):
    param = PARAMS[name](shape, grey=True, generator=seeded(), dtype=torch.float64)
    assert sum(p.numel() for p in param.parameters()) < math.prod(shape)
    assert torch.equal(param(), param()[:, :1].expand(shape))
    assert param()[0].std() > 0
    photo = torch.rand(shape, generator=seeded(1)).double() * 0.98 + 0.01
    param.start_from(photo)
    expected = photo.mean(1, keepdim=True).expand(shape)
    torch.testing.assert_close(param(), expected, rtol=0, atol=1e-6)


def test_contrast_is_chollets():
    image = torch.rand(1, 3, 8, 8, generator=seeded()).double()
    expected = ref.deprocess(image * 255, 0.1)
    torch.testing.assert_close(standardized(image, 0.1), expected, rtol=0, atol=1e-6)
