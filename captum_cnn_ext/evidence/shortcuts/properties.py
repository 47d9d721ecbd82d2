"""Give images a property of other images: brightness, colour, sharpness and the like."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, interpolate

Transplant = Callable[[Tensor, Tensor], Tensor]
"""From images and donors, both (N, C, H, W), to images with a property of their donor."""

BLOCK = 8  # pixels of a block in JPEG and most video
MOST_BLUR = 200.0  # a of exp(-a f^2): a Gaussian of 3 pixels
MOST_GAIN = 4.0  # how far a frequency is raised at most
MOST_AVERAGED = 128  # images
EXCESS = 4.0  # times the power of other images, from where a frequency is part of a texture
COARSEST = 4  # cycles over the image; below it is the object and not its texture
LEAST_TINT = 0.1  # of the strength of colour: a mean colour below it points nowhere
TINY = 1e-8


def brightness(images: Tensor, donors: Tensor) -> Tensor:
    """Images with the mean of their donors over pixels and channels."""
    return images + _mean(donors) - _mean(images)


def contrast(images: Tensor, donors: Tensor) -> Tensor:
    """Images with the standard deviation of their donors, about their own mean."""
    middle = _mean(images)
    return middle + (images - middle) * _ratio(_spread(donors), _spread(images))


def colour(images: Tensor, donors: Tensor) -> Tensor:
    """Images with the cast of their donors: the mean of each channel less that of all."""
    cast = donors.mean((2, 3), keepdim=True) - _mean(donors)
    return images + cast - images.mean((2, 3), keepdim=True) + _mean(images)


def saturation(images: Tensor, donors: Tensor) -> Tensor:
    """Images with their donors' strength of colour: root mean square distance from grey."""
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * _ratio(_colourfulness(donors), _colourfulness(images))


def hue(images: Tensor, donors: Tensor) -> Tensor:
    """Images (N, 3, H, W) with colours turned about grey until the mean one is their donors'.

    Brightness and strength of every colour stay; what has next to no mean colour stays as it is.
    """
    turn = _angle(donors) - _angle(images)
    turn = torch.where(_tinted(donors) & _tinted(images), turn, torch.zeros_like(turn))
    grey = images.mean(1, keepdim=True)
    apart = images - grey
    across = (apart.roll(1, 1) - apart.roll(-1, 1)) / 3**0.5  # a quarter of a turn
    return grey + turn.cos() * apart + turn.sin() * across


def sharpness(images: Tensor, donors: Tensor) -> Tensor:
    """Images blurred or sharpened until ``fineness`` is that of their donors.

    Amplitudes are multiplied by exp(-a f^2), with f the frequency: a Gaussian blur, or its inverse
    where a < 0, which raises none more than four times. Images are continued by mirroring.
    """
    wave, wanted = torch.fft.rfft2(_mirrored(images)), fineness(donors)
    weights, squared = _second_differences(images)
    power = wave.abs().square().sum(1)
    low = torch.full_like(wanted, -MOST_BLUR)
    high = torch.full_like(wanted, MOST_BLUR)
    for _ in range(14):
        middle = (low + high) / 2
        fallen = power * _fall(middle, squared)[:, 0] ** 2
        sharper = _fineness(fallen, weights)[:, None, None, None] > wanted
        low, high = torch.where(sharper, middle, low), torch.where(sharper, high, middle)
    wave = wave * _fall((low + high) / 2, squared)
    changed = torch.fft.irfft2(wave, s=_doubled(images))
    cut: Tensor = changed[..., : images.shape[2], : images.shape[3]]
    return cut


def noise(images: Tensor, donors: Tensor) -> Tensor:
    """Images with as much white noise as their donors have; what is noisier stays as it is."""
    more = (noise_level(donors) ** 2 - noise_level(images) ** 2).clamp_min(0).sqrt()
    return images + more * _white(images)


def blockiness(images: Tensor, donors: Tensor) -> Tensor:
    """Images blended with their own means of 8 x 8 pixels until blocks show as in their donors.

    What stands out more than in its donor stays as it is.
    """
    height, width = images.shape[2:]
    if min(height, width) < 2 * BLOCK:
        return images
    blocks = interpolate(avg_pool2d(images, BLOCK, ceil_mode=True), scale_factor=float(BLOCK))
    blocks = blocks[..., :height, :width]
    wanted = block_edges(donors)
    low = torch.zeros_like(wanted)
    high = torch.full_like(wanted, 0.98)
    for _ in range(12):
        middle = (low + high) / 2
        enough = block_edges(images + middle * (blocks - images)) >= wanted
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    share = torch.where(block_edges(images) >= wanted, torch.zeros_like(high), high)
    return images + share * (blocks - images)


def texture_of(others: Tensor) -> Transplant:
    """A transplant of the texture that donors have and the images ``others`` (N, C, H, W) have not.

    What ``excess`` finds is added with random phases, the same for all channels: a texture without
    the places of what it is on.

    Reference: Galerne, Gousseau, Morel, *Random phase textures: theory and synthesis*, IEEE
    Transactions on Image Processing, 2011.
    """

    usual = usual_power(others)

    def texture(images: Tensor, donors: Tensor) -> Tensor:
        phases = torch.fft.fft2(_white(images)[:, :1])
        phases = phases / phases.abs().clamp_min(TINY)
        added: Tensor = torch.fft.ifft2(excess(donors, usual) * phases).real
        return images + added

    return texture


def usual_power(images: Tensor) -> Tensor:
    """The mean power (H, W) of frequencies, summed over channels, of at most 128 images."""
    few = images[:: 1 + len(images) // MOST_AVERAGED]
    parts = [torch.fft.fft2(part).abs().square().sum((0, 1)) for part in torch.split(few, 16)]
    return torch.stack(parts).sum(0) / len(few)


def excess(donors: Tensor, usual: Tensor) -> Tensor:
    """Donors' Fourier transforms (N, C, H, W) where their power is far above the ``usual`` (H, W).

    Far is four times; 0 elsewhere, and at less than four cycles over the image.
    """
    spectrum = torch.fft.fft2(donors)
    power = spectrum.abs().square().sum(1, keepdim=True)
    height, width = donors.shape[2:]
    y, x = (torch.fft.fftfreq(side, 1 / side, device=donors.device) for side in (height, width))
    fine = (y[:, None] ** 2 + x**2).sqrt() >= COARSEST
    part: Tensor = spectrum * ((power > EXCESS * usual + TINY) & fine)
    return part


PROPERTIES: dict[str, Transplant] = {
    "brightness": brightness,
    "contrast": contrast,
    "colour": colour,
    "saturation": saturation,
    "hue": hue,
    "sharpness": sharpness,
    "noise": noise,
    "blockiness": blockiness,
}


def noise_level(images: Tensor) -> Tensor:
    """The standard deviation (N, 1, 1, 1) of white noise, from second differences both ways.

    Reference: Immerkaer, *Fast noise variance estimation*, 1996; the median instead of the mean.
    """
    kernel = torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]).to(images)
    found = conv2d(images.flatten(0, 1)[:, None], kernel[None, None])
    median = found.abs().reshape(len(images), -1).median(1).values
    level: Tensor = median[:, None, None, None] / (0.6745 * 6)
    return level


def fineness(images: Tensor) -> Tensor:
    """Energy of second differences over that of first ones (N, 1, 1, 1): small where blurred."""
    power = torch.fft.rfft2(_mirrored(images)).abs().square().sum(1)
    return _fineness(power, _second_differences(images)[0])[:, None, None, None]


def block_edges(images: Tensor) -> Tensor:
    """Mean difference of neighbours across edges of blocks over that within (N, 1, 1, 1)."""
    across, within = torch.zeros(len(images)).to(images), torch.zeros(len(images)).to(images)
    for axis in (2, 3):
        steps = images.diff(dim=axis).abs().mean((1, 5 - axis))
        edge = torch.arange(1, images.shape[axis], device=images.device) % BLOCK == 0
        across = across + steps[:, edge].mean(1)
        within = within + steps[:, ~edge].mean(1)
    return (across / (within + TINY))[:, None, None, None]


def _mean(images: Tensor) -> Tensor:
    return images.mean((1, 2, 3), keepdim=True)


def _spread(images: Tensor) -> Tensor:
    return (images - _mean(images)).square().mean((1, 2, 3), keepdim=True).sqrt()


def _colourfulness(images: Tensor) -> Tensor:
    apart = images - images.mean(1, keepdim=True)
    return apart.square().mean((1, 2, 3), keepdim=True).sqrt()


def _angle(images: Tensor) -> Tensor:
    """Where an image's mean colour points (N, 1, 1, 1), from red by green to blue."""
    red, green, blue = images.mean((2, 3)).unbind(1)
    across, along = (green - blue) / 2**0.5, (2 * red - green - blue) / 6**0.5
    return torch.atan2(across, along)[:, None, None, None]


def _tinted(images: Tensor) -> Tensor:
    """Whether an image has a mean colour to speak of (N, 1, 1, 1)."""
    mean = (images - images.mean(1, keepdim=True)).mean((2, 3), keepdim=True)
    length = mean.square().mean(1, keepdim=True).sqrt()
    return length > LEAST_TINT * _colourfulness(images) + TINY


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """At most a hundred, and 1 where there is nothing to scale."""
    return torch.where(under > TINY, over / under.clamp_min(TINY), torch.ones_like(over)).clamp_max(
        100
    )


def _mirrored(images: Tensor) -> Tensor:
    """Twice as high and wide, without a jump where the image ends."""
    wide = torch.cat([images, images.flip(3)], 3)
    return torch.cat([wide, wide.flip(2)], 2)


def _doubled(images: Tensor) -> tuple[int, int]:
    return 2 * images.shape[2], 2 * images.shape[3]


def _second_differences(images: Tensor) -> tuple[Tensor, Tensor]:
    """By frequency the gain of the squared gradient, and the squared frequency."""
    height, width = _doubled(images)
    y = torch.fft.fftfreq(height, device=images.device)[:, None]
    x = torch.fft.rfftfreq(width, device=images.device)
    return 4 - 2 * (2 * torch.pi * y).cos() - 2 * (2 * torch.pi * x).cos(), y**2 + x**2


def _fineness(power: Tensor, weights: Tensor) -> Tensor:
    over = (power * weights**2).sum((1, 2))
    return over / (power * weights).sum((1, 2)).clamp_min(TINY)


def _fall(rate: Tensor, squared: Tensor) -> Tensor:
    return (-rate * squared).exp().clamp_max(MOST_GAIN)


def _white(images: Tensor) -> Tensor:
    """White noise of the images' shape, always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(images.shape, generator=generator, device="cpu").to(images)
