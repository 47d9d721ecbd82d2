"""What is transplanted: values of every operation, on images made by hand."""

import math

import pytest
import torch

from captum_cnn_ext.evidence.shortcuts.places import (
    bars,
    best,
    constancy,
    evidence,
    frames,
    named,
    often,
    padding,
    pasted,
    sameness_of_padding,
    window,
)
from captum_cnn_ext.evidence.shortcuts.properties import (
    PROPERTIES,
    block_edges,
    blockiness,
    brightness,
    colour,
    contrast,
    excess,
    fineness,
    hue,
    noise,
    noise_level,
    saturation,
    sharpness,
    texture_of,
    usual_power,
)
from captum_cnn_ext.evidence.shortcuts.same_picture import (
    sameness_anywhere,
    sameness_at,
    sameness_of_texture,
)

CPU = torch.device("cpu")


def images(count=4, side=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, side, side, generator=generator)


def test_brightness_and_contrast_by_hand():
    image, donor = torch.tensor([[[[0.0, 2.0]]]]), torch.tensor([[[[4.0, 10.0]]]])
    assert brightness(image, donor).tolist() == [[[[6.0, 8.0]]]]
    assert contrast(image, donor).tolist() == [[[[-2.0, 4.0]]]]


def test_contrast_of_a_plain_image_stays():
    plain = torch.full((1, 1, 2, 2), 0.5)
    assert torch.equal(contrast(plain, images(1)[:, :1, :2, :2]), plain)


def test_colour_by_hand_leaves_the_brightness():
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    donor = torch.tensor([9.0, 6.0, 6.0]).view(1, 3, 1, 1).repeat(1, 1, 2, 2)
    assert colour(image, donor)[0, :, 0, 0].tolist() == [4.0, 1.0, 1.0]


def test_saturation_by_hand():
    image = torch.tensor([1.0, 2.0, 3.0]).view(1, 3, 1, 1)
    donor = torch.tensor([3.0, 5.0, 7.0]).view(1, 3, 1, 1)
    assert torch.allclose(saturation(image, donor).flatten(), torch.tensor([0.0, 2.0, 4.0]))


def test_hue_by_hand_turns_every_colour_and_keeps_its_strength():
    def plain(*colour):
        return torch.tensor(colour).view(1, 3, 1, 1).expand(1, 3, 2, 2)

    assert torch.allclose(hue(plain(0.8, 0.2, 0.2), plain(0.0, 0.0, 0.3)), plain(0.2, 0.2, 0.8))
    assert torch.allclose(hue(plain(0.2, 0.6, 0.2), plain(0.9, 0.1, 0.1)), plain(0.6, 0.2, 0.2))
    # two colours: the mean one is turned from red to green, and each by as much
    image = torch.cat([plain(1.0, 0.0, 0.0), plain(0.6, 0.4, 0.2)], 3)
    donor = image.roll(1, 1)
    assert torch.allclose(hue(image, donor), donor, atol=1e-6)
    given = hue(images(2), images(2, seed=5) + torch.tensor([0.3, 0, 0])[:, None, None])
    assert torch.allclose(given.mean(1), images(2).mean(1), atol=1e-6)
    apart = (given - given.mean(1, keepdim=True)).square().sum(1)
    own = (images(2) - images(2).mean(1, keepdim=True)).square().sum(1)
    assert torch.allclose(apart, own, atol=1e-5)


def test_what_has_no_hue_stays():
    grey = torch.full((1, 3, 2, 2), 0.4)
    assert torch.equal(hue(grey, images(1)[..., :2, :2]), grey)
    red = grey + torch.tensor([0.2, 0.0, 0.0]).view(1, 3, 1, 1)
    assert torch.allclose(hue(red, grey), red)


def boxed(top, bottom, left, right, seed=0, side=32, value=0.0):
    """A random image between plain bars."""
    image = images(1, side, seed)
    inner = torch.full_like(image, value)
    inner[..., top : side - bottom, left : side - right] = image[
        ..., top : side - bottom, left : side - right
    ]
    return inner


def test_bars_are_plain_and_at_both_sides():
    given = [(4, 4, 0, 0), (0, 0, 6, 6), (4, 5, 0, 0), (5, 0, 0, 0), (9, 3, 0, 0), (0, 0, 0, 0)]
    given.append((4, 4, 4, 4))  # a frame
    found = bars(torch.cat([boxed(*one, seed=n) for n, one in enumerate(given)])).tolist()
    assert found == [[4, 4, 0, 0], [0, 0, 6, 6], [4, 5, 0, 0], [0] * 4, [0] * 4, [0] * 4, [0] * 4]
    assert bars(torch.full((1, 3, 32, 32), 0.5)).tolist() == [[0] * 4]
    noisy = boxed(6, 6, 0, 0) + 0.1 * images(1, seed=9)
    assert bars(noisy).tolist() == [[0] * 4]
    assert often(torch.cat([boxed(4, 4, 0, 0), images(3)]))
    assert not often(torch.cat([boxed(4, 4, 0, 0), images(4)]))


def test_padding_squeezes_between_the_donors_bars_and_takes_them_away():
    image = torch.linspace(0, 1, 32).view(1, 1, 32, 1).expand(1, 3, 32, 32).contiguous()
    donor = boxed(8, 8, 0, 0, value=0.7)
    given = padding(image, donor)
    assert torch.equal(given[:, :, :8], donor[:, :, :8])
    assert torch.equal(given[:, :, 24:], donor[:, :, 24:])
    inner = given[0, 0, 8:24, 5]
    assert torch.allclose(inner, image[0, 0, :, 5].view(16, 2).mean(1), atol=0.01)
    back = padding(given, images(1))
    assert torch.allclose(back, image, atol=0.06)
    assert torch.equal(padding(image, images(1)), image)
    assert torch.equal(padding(boxed(8, 8, 0, 0), donor), boxed(8, 8, 0, 0))


def test_sameness_of_padding():
    others = images(4)
    same = torch.cat([boxed(6, 6, 0, 0, seed=n) for n in range(5)])
    assert sameness_of_padding(same, others) < 0.05
    mixed = torch.cat([boxed(2 * n, 2 * n, 0, 0, seed=n) for n in range(1, 6)])
    assert sameness_of_padding(mixed, others) > 0.5


def test_sharpness_undoes_and_redoes_a_known_blur():
    """Cosines that mirroring continues, with amplitudes that a Gaussian takes off."""
    at = torch.arange(32) + 0.5
    waves = {k: torch.cos(math.pi * k * at / 32) for k in (2, 5, 9, 14)}
    sharp = sum(wave for wave in waves.values()).expand(1, 1, 32, 32)
    soft = sum(w * math.exp(-6 * (k / 64) ** 2) for k, w in waves.items()).expand(1, 1, 32, 32)
    assert torch.allclose(sharpness(sharp, soft), soft, atol=2e-2)
    assert torch.allclose(sharpness(soft, sharp), sharp, atol=2e-2)
    assert float(fineness(sharp)) > 1.05 * float(fineness(soft))


def test_sharpness_raises_nothing_without_bound():
    soft, hard = torch.zeros(1, 1, 16, 16), images(1, 16)[:, :1]
    soft[..., 8:] = 1.0
    assert sharpness(soft, hard).abs().max() < 5


def test_noise_has_the_level_of_its_donor():
    generator = torch.Generator().manual_seed(3)
    white = torch.randn(2, 3, 64, 64, generator=generator)
    assert torch.allclose(noise_level(0.3 * white).flatten(), torch.tensor([0.3, 0.3]), rtol=0.05)
    given = noise(torch.zeros(2, 3, 64, 64), 0.3 * white)
    assert torch.allclose(given.std((1, 2, 3)), torch.tensor([0.3, 0.3]), rtol=0.05)
    assert torch.equal(noise(white, 0.3 * white), white)


def test_blockiness_reaches_that_of_its_donor_and_takes_none_away():
    smooth = torch.linspace(0, 1, 32).expand(1, 3, 32, 32) + 0.05 * images(1)
    blocks = smooth.unfold(2, 8, 8).unfold(3, 8, 8).mean((4, 5))
    blocks = blocks.repeat_interleave(8, 2).repeat_interleave(8, 3)
    donor = 0.5 * smooth + 0.5 * blocks
    assert torch.allclose(block_edges(blockiness(smooth, donor)), block_edges(donor), rtol=0.02)
    assert torch.equal(blockiness(donor, smooth), donor)
    edges = torch.zeros(1, 1, 16, 16)
    edges[..., 8:] = 1.0  # one step along x of 15, at the edge of a block
    assert torch.allclose(block_edges(edges + 1e-12).flatten(), torch.tensor([1.0 / 1e-8]))


def test_texture_adds_the_donors_wave_and_nothing_else():
    wave = torch.cos(2 * math.pi * 8 * torch.arange(32) / 32).expand(1, 1, 32, 32)
    given = texture_of(1e-6 * images(5)[:, :1])(torch.zeros(1, 1, 32, 32), 0.5 + wave)
    spectrum = torch.fft.fft2(given).abs()[0, 0]
    assert torch.allclose(spectrum[0, 8], torch.tensor(512.0), rtol=1e-4)
    spectrum[0, 8] = spectrum[0, 24] = 0
    assert spectrum.max() < 1e-2


def test_nothing_coarse_is_texture():
    wave = torch.cos(2 * math.pi * 3 * torch.arange(32) / 32).expand(1, 1, 32, 32)
    assert not excess(wave, usual_power(1e-6 * images(3)[:, :1])).any()


def test_usual_power_is_the_mean():
    given = images(40, 8)
    power = torch.fft.fft2(given).abs().square().sum(1).mean(0)
    assert torch.allclose(usual_power(given), power, rtol=1e-4)


@pytest.mark.parametrize("name", PROPERTIES)
def test_an_image_given_its_own_property_stays(name):
    image = images(3)
    assert torch.allclose(PROPERTIES[name](image, image), image, atol=2e-3)


def test_windows_frames_and_their_names():
    corner = window(0, 6, (32, 64), CPU)
    assert corner.box == (0, 48, 8, 64)
    assert int(corner.mask.sum()) == 8 * 16
    assert str(corner) == "the top right corner (rows 0-7, columns 48-63)"
    assert named((12, 12, 20, 20), (32, 32)).startswith("the middle")
    thin, wide, down, across = frames((32, 32), CPU)
    assert int(thin.mask.sum()) == 32 * 32 - 28 * 28
    assert str(wide) == "the border (4 pixels wide)"
    assert str(down) == "the top and bottom edge (4 pixels wide)"
    assert str(across) == "the left and right edge (4 pixels wide)"


def test_evidence_is_the_positive_share_of_a_window():
    maps = torch.zeros(1, 8, 8)
    maps[0, 0, 0], maps[0, 7, 7], maps[0, 4, 4] = 3.0, 1.0, -5.0
    shares = evidence(maps)[0]
    assert shares.shape == (7, 7)
    assert float(shares[0, 0]) == pytest.approx(0.75, abs=0.01)
    assert float(shares[6, 6]) == pytest.approx(0.25, abs=0.01)
    assert float(shares[3, 3]) == pytest.approx(0, abs=0.01)


def test_best_windows_are_no_neighbours():
    scores = torch.zeros(7, 7)
    scores[2, 2], scores[2, 3], scores[5, 5] = 3.0, 2.0, 1.0
    assert best(scores, 2) == [(2, 2), (5, 5)]


def test_constancy_sees_what_is_always_there():
    own, others = images(12, seed=1), images(12, seed=2)
    own[:, :, :8, 24:] = 0.9
    found = constancy(own, others)
    assert float(found[0, 6]) < 0.01
    assert float(found[3, 3]) > 0.8


def test_pasted_takes_the_donor_where_the_mask_is():
    mask = torch.tensor([[True, False]])
    given = pasted(torch.zeros(2, 1, 1, 2), torch.ones(2, 1, 1, 2), mask)
    assert given.tolist() == [[[[1.0, 0.0]]], [[[1.0, 0.0]]]]


def test_sameness_of_a_tag_and_of_chance():
    own, others = images(6, seed=1), images(12, seed=2)
    mask = window(0, 6, (32, 32), CPU).mask
    assert sameness_at(own, others, mask)[0] > 0.7
    own[:, :, 1:6, 26:31] = images(1, 5, seed=9) + 0.5
    value, pixels = sameness_at(own, others, mask)
    assert value < 0.3
    assert float(pixels[3, 28]) < 0.15
    assert float(pixels[20, 20]) == 1.0


def test_sameness_of_a_picture_that_moves():
    own, others = images(6, seed=1), images(12, seed=2)
    masks = torch.zeros(6, 1, 32, 32, dtype=torch.bool)
    logo = images(1, 7, seed=9)[0] + 0.5
    for n in range(6):
        masks[n, :, 3 * n : 3 * n + 12, 2 * n : 2 * n + 12] = True
    assert sameness_anywhere(own, others, masks)[0] > 0.4
    for n in range(6):
        own[n, :, 3 * n + 2 : 3 * n + 9, 2 * n + 3 : 2 * n + 10] = logo
    value, middles = sameness_anywhere(own, others, masks)
    assert value < 0.15
    found = middles * 32 - torch.tensor([[3 * n + 5.5, 2 * n + 6.5] for n in range(6)])
    assert found.abs().max() <= 1.5


def test_sameness_of_textures():
    others, noisy = 0.01 * images(20, seed=3), 0.5 * images(6, seed=4)[:, :1].repeat(1, 3, 1, 1)
    at = torch.arange(32)
    phases = torch.linspace(0, 3, 6)[:, None, None, None]
    waves = torch.cos(2 * math.pi * 8 * at / 32 + phases).expand(6, 3, 32, 32)
    assert sameness_of_texture(waves, others) == pytest.approx(0, abs=1e-3)
    assert sameness_of_texture(noisy, others) == pytest.approx(0.5, abs=0.15)
