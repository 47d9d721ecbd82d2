"""What is optimised: modules whose forward is the image, (N, C, H, W) in [0, 1].

A signal (N, C, L), a volume or a video (N, C, D, H, W) is an image of one or three axes here.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captum_cnn_ext._engine.wide_numbers import wide_dtype
from captum_cnn_ext._numbers import as_count, as_count_or_none, as_indices, as_number
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.images.spectrum import falloff, from_unit, pixels_moved, to_unit
from captum_cnn_ext.synthesis.spatial_axes import LINEAR, images_only

Shape = Sequence[int]
MakeImage = Callable[..., "ImageParam"]


class ImageParam(nn.Module, ABC):
    """The base of all: a module without inputs whose forward is the image.

    Subclasses take ``(shape, *, generator, device, dtype)`` first, shape being (N, C, H, W), and
    draw their noise from the generator, so that a seed gives the same image on every device.
    ``images_only`` refuses the shapes of signals and volumes. With ``grey`` what is optimised has
    one channel, of the shape ``painted``, and ``repeated`` gives it to every channel.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import Fourier
        >>> image = Fourier((1, 3, 9, 7), generator=torch.Generator().manual_seed(0))
        >>> image().shape, bool((image() > 0).all())
        (torch.Size([1, 3, 9, 7]), True)
        >>> photo = torch.rand(1, 3, 9, 7)
        >>> image.start_from(photo)
        >>> torch.allclose(image(), photo, atol=1e-3)
        True
    """

    images_only = False

    def __init__(self, shape: Shape, grey: bool = False) -> None:
        super().__init__()
        sizes = as_indices("shape", shape)
        if not 3 <= len(sizes) <= 5 or min(sizes) < 1:
            raise ArgumentError(
                f"shape={shape!r}: expected (N, C, H, W), or (N, C, L) of signals, or "
                "(N, C, D, H, W) of volumes, each 1 or more"
            )
        if self.images_only:
            images_only(type(self).__name__, shape)
        self.shape, self.grey = torch.Size(sizes), grey

    @property
    def painted(self) -> torch.Size:
        """The shape of what is optimised: of one channel where it is grey."""
        return torch.Size((self.shape[0], 1, *self.shape[2:])) if self.grey else self.shape

    def repeated(self, painted: Tensor) -> Tensor:
        """The image from what is painted."""
        return painted.expand(self.shape).clone() if self.grey else painted

    @abstractmethod
    def forward(self) -> Tensor:
        """The image, (N, C, H, W) in [0, 1]."""

    def start_from(self, photo: Tensor) -> None:
        """Take a photo's values, exactly where the parameterisation can hold them.

        Args:
            photo: (C, H, W) or (N, C, H, W) in [0, 1], of this image's size. A grey image takes
                the mean of its channels.

        Raises:
            ArgumentError: another shape.
        """
        with torch.no_grad():
            self._take(self._fitting(photo))

    @abstractmethod
    def _take(self, photo: Tensor) -> None:
        """Set the parameters so that what is painted is ``photo``, of its shape."""

    def _fitting(self, photo: Tensor) -> Tensor:
        wanted = (*self.shape[1:],)
        if tuple(photo.shape[-len(wanted) :]) != wanted or photo.ndim > len(self.shape):
            raise ArgumentError(
                f"image: a photo of shape {tuple(photo.shape)}; expected {wanted}, or (N, ...)"
            )
        like = next(self.parameters())
        values = photo.detach().to(like.device, wide_dtype(like.dtype))
        values = values.expand(self.shape)
        return values.mean(1, keepdim=True) if self.grey else values.clone()


class Pixels(ImageParam):
    """The pixels themselves: grey with a little uniform noise, as most old recipes begin.

    Ascent on bare pixels ends in high-frequency noise that excites this network and no other.

    Args:
        shape: (N, C, H, W), or that of signals or volumes.
        grey: one channel of pixels, repeated to all C.
        spread: width of the uniform noise around ``mean``.
        mean: of the noise.
        clip: keep pixels within [0, 1] after every step; without it they may leave.
        generator, device, dtype: as in :class:`ImageParam`.

    Example::

        >>> from captum_cnn_ext.synthesis import Pixels
        >>> Pixels((1, 3, 8, 8), spread=0)().unique()
        tensor([0.5000], grad_fn=<Unique2Backward0>)
        >>> signals, grey = Pixels((4, 12, 256)), Pixels((1, 3, 8, 8), grey=True)
        >>> signals().shape, grey.pixels.shape
        (torch.Size([4, 12, 256]), torch.Size([1, 1, 8, 8]))
    """

    def __init__(
        self,
        shape: Shape,
        *,
        grey: bool = False,
        spread: float = 0.1,
        mean: float = 0.5,
        clip: bool = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape, grey)
        spread, mean = as_number("spread", spread, 0), as_number("mean", mean)
        noise = torch.rand(self.painted, generator=generator, device="cpu", dtype=dtype)
        self.pixels = nn.Parameter(((noise - 0.5) * spread + mean).to(device))
        self.clip = clip

    def forward(self) -> Tensor:
        # never the parameter itself: results must not move with it
        return self.repeated(self.pixels if self.grey else self.pixels.clone())

    def _take(self, photo: Tensor) -> None:
        self.pixels.copy_(photo)


class Fourier(ImageParam):
    r"""The image's spectrum in decorrelated colours, high frequencies held back as in photos.

    .. math:: x = \sigma\!\left(M \, \mathcal{F}^{-1}(z \, s)\right), \quad
        s = 1 / \max(f, l/\max(H, W))^{\mathrm{decay}}

    with an orthonormal transform over all axes and M the colours of natural images, where the
    image or the video has three channels.

    Reference: Olah, Mordvintsev, Schubert, *Feature Visualization*, 2017, Distill.

    Args:
        shape: (N, C, H, W), any C and odd sizes too, or that of signals or volumes.
        grey: one channel's spectrum, its image repeated to all C.
        decay: 1 is the amplitude of natural images; larger is smoother.
        lowest: l, cycles per image below which the spectrum rises no more.
        sd: standard deviation of the noise z begins with.
        tuned_at: the side of the square image that ``sd`` and the optimiser's step were chosen
            for; s is multiplied so that a change of z changes pixels as much at every size. None
            leaves s as it is: unless ``decay`` is half the number of axes, small images then move
            less or more than large ones.
        generator, device, dtype: as in :class:`ImageParam`.

    Example::

        >>> from captum_cnn_ext.synthesis import Fourier
        >>> Fourier((2, 1, 28, 28))().shape, Fourier((1, 3, 8, 56, 56))().shape
        (torch.Size([2, 1, 28, 28]), torch.Size([1, 3, 8, 56, 56]))
    """

    scale: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        grey: bool = False,
        decay: float = 1.0,
        lowest: float = 1.0,
        sd: float = 0.01,
        tuned_at: int | None = None,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape, grey)
        *first, last = self.painted
        decay, sd = as_number("decay", decay), as_number("sd", sd, 0)
        lowest = as_number("lowest", lowest, above=0)
        tuned_at = as_count_or_none("tuned_at", tuned_at)
        form = (*first, last // 2 + 1, 2)
        noise = torch.randn(form, generator=generator, device="cpu", dtype=dtype)
        self.spectrum = nn.Parameter((noise * sd).to(device))
        scale = falloff(self.shape[2:], decay, self.spectrum.detach(), lowest)
        if tuned_at is not None:
            own, tuned = (
                pixels_moved(sizes, decay, lowest) for sizes in (self.shape[2:], (tuned_at,) * 2)
            )
            scale = scale * (tuned / own)
        self.register_buffer("scale", scale[..., None], persistent=False)

    def forward(self) -> Tensor:
        spectrum = torch.view_as_complex(self.spectrum * self.scale)
        axes = range(2, len(self.shape))
        plain = torch.fft.irfftn(spectrum, s=self.shape[2:], dim=tuple(axes), norm="ortho")
        return self.repeated(to_unit(plain))

    def _take(self, photo: Tensor) -> None:
        axes = tuple(range(2, len(self.shape)))
        spectrum = torch.fft.rfftn(from_unit(photo), dim=axes, norm="ortho")
        self.spectrum.copy_(torch.view_as_real(spectrum) / self.scale)


class Laplacian(ImageParam):
    r"""A pyramid: :math:`x = \sigma\!\left(M \sum_l U_l(z_l)\right)`, U enlarging a level that is
    2^l times smaller.

    Reference: Burt, Adelson, *The Laplacian Pyramid as a Compact Image Code*, 1983; as an image
    prior: Mordvintsev, *DeepDreaming with TensorFlow*, 2016.

    Args:
        shape: (N, C, H, W), or that of signals or volumes.
        grey: one channel's pyramid, its image repeated to all C.
        levels: how many at most; a level is never smaller than 4 pixels.
        sd: standard deviation of the noise every level begins with.
        generator, device, dtype: as in :class:`ImageParam`.

    Example::

        >>> from captum_cnn_ext.synthesis import Laplacian
        >>> len(Laplacian((1, 3, 64, 64), levels=3).levels)
        3
    """

    def __init__(
        self,
        shape: Shape,
        *,
        grey: bool = False,
        levels: int = 5,
        sd: float = 0.05,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape, grey)
        n, c, *sides = self.painted
        levels, sd = as_count("levels", levels), as_number("sd", sd, 0)
        count = min(levels, max(1, int(math.log2(max(1, min(sides) / 4))) + 1))
        sizes = [[math.ceil(side / 2**level) for side in sides] for level in range(count)]
        noise = [
            torch.randn(n, c, *size, generator=generator, device="cpu", dtype=dtype)
            for size in sizes
        ]
        self.levels = nn.ParameterList([(sd * level).to(device) for level in noise])

    def forward(self) -> Tensor:
        finest, *others = self.levels
        return self.repeated(to_unit(finest + sum((self._enlarged(one) for one in others), 0.0)))

    def _enlarged(self, level: Tensor) -> Tensor:
        size, mode = self.shape[2:], LINEAR[len(self.shape) - 2]
        return F.interpolate(level, size=size, mode=mode, align_corners=False)

    def _take(self, photo: Tensor) -> None:
        rest = from_unit(photo)
        for level in reversed(list(self.levels)):  # each takes what the coarser ones left
            smaller = level.shape != rest.shape
            level.copy_(F.interpolate(rest, level.shape[2:], mode="area") if smaller else rest)
            rest = rest - (self._enlarged(level) if smaller else level)
