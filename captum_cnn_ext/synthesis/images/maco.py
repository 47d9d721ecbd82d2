"""Images that differ from natural ones in the phases of their spectrum only."""

import torch
from torch import Tensor, nn

from captum_cnn_ext._numbers import as_number
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.images.parameterizations import ImageParam, Shape
from captum_cnn_ext.synthesis.images.spectrum import falloff, from_unit, to_unit

# Standard deviations of brightness and the two opponent colours before the sigmoid, of the four
# photos that scikit-image packages (0.5 1/f with these looks as contrasted as they do).
_SPREAD = (2.4, 0.9, 1.2)


class MacoPhase(ImageParam):
    r"""Only the phases are optimised; the magnitudes are those of natural images.

    .. math:: x = \sigma\!\left(M \, \mathcal{F}^{-1}(r \, e^{i \varphi})\right)

    r is the mean magnitude of the photos given (in decorrelated colours, before the sigmoid), or
    falls as 1/f with the contrast of photos. Nothing is downloaded. The image keeps exactly this
    spectrum.

    Reference: Fel, Boissin, Boutin, Picard, Novello, Colin, Linsley, Rousseau, Cadène,
    Goetschalckx, Gardes, Serre, *Unlocking Feature Visualization for Deep Networks
    with MAgnitude Constrained Optimization*, 2023, arXiv:2306.06805.

    Args:
        shape: (N, C, H, W).
        photos: (K, C, H, W) in [0, 1], whose magnitudes are taken; of the image's size.
        decay: of the analytic magnitudes.
        generator, device, dtype: as in :class:`ImageParam`.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.synthesis import MacoPhase
        >>> photos = torch.rand(4, 3, 32, 32)
        >>> MacoPhase((1, 3, 32, 32), photos=photos)().shape
        torch.Size([1, 3, 32, 32])
    """

    images_only = True
    magnitude: Tensor
    own: Tensor

    def __init__(
        self,
        shape: Shape,
        *,
        photos: Tensor | None = None,
        decay: float = 1.0,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(shape)
        n, c, h, w = self.shape
        decay = as_number("decay", decay)
        phase = (
            torch.rand(n, c, h, w // 2 + 1, generator=generator, device="cpu", dtype=dtype) * 2 - 1
        )
        self.phase = nn.Parameter((torch.pi * phase).to(device))
        like = self.phase.detach()
        magnitude = _analytic(self.shape, decay, like) if photos is None else None
        if photos is not None:
            if photos.ndim != 4 or photos.shape[1:] != self.shape[1:]:
                raise ArgumentError(
                    f"photos: got shape {tuple(photos.shape)}; expected (K, {c}, {h}, {w})"
                )
            spectra = torch.fft.rfft2(from_unit(photos.detach().to(like)), norm="ortho")
            # frequencies that are their own opposite have a sign and no phase; their mean colour
            # is the first of them
            own = _own_opposites(h, w, like)
            magnitude = torch.where(own, spectra.real.mean(0), spectra.abs().mean(0))
        self.register_buffer("magnitude", magnitude)
        self.register_buffer("own", _own_opposites(h, w, like), persistent=False)

    def forward(self) -> Tensor:
        phase = torch.where(self.own, 0.0, _odd(self.phase, self.shape[-1]))
        spectrum = torch.polar(torch.ones_like(phase), phase) * self.magnitude
        return to_unit(torch.fft.irfft2(spectrum, s=self.shape[-2:], norm="ortho"))

    def _take(self, photo: Tensor) -> None:
        self.phase.copy_(torch.fft.rfft2(from_unit(photo)).angle())


def _analytic(shape: torch.Size, decay: float, like: Tensor) -> Tensor:
    _, c, h, w = shape
    fall = falloff((h, w), decay, like).expand(c, -1, -1).clone()
    fall[:, 0, 0] = 0  # grey on the whole
    spread = like.new_tensor(_SPREAD if c == 3 else (1.0,) * c)
    power = torch.fft.irfft2(fall.square(), s=(h, w), norm="forward")[:, 0, 0]
    power = torch.where(power > 0, power, 1.0)  # a single pixel has no contrast
    scaled: Tensor = fall * (spread * (h * w) ** 0.5 / power.sqrt())[:, None, None]
    return scaled


def _own_opposites(height: int, width: int, like: Tensor) -> Tensor:
    """(H, W // 2 + 1): the frequencies that are the negative of themselves."""
    rows, columns = torch.arange(height), torch.arange(width // 2 + 1)
    own = ((2 * rows) % height == 0)[:, None] & ((2 * columns) % width == 0)[None]
    return own.to(like.device)


def _odd(phase: Tensor, width: int) -> Tensor:
    """Opposite phases at opposite frequencies, where ``rfft2`` stores both."""
    both = [0, width // 2] if width % 2 == 0 and width > 1 else [0]
    column = phase[..., both]
    opposite = column.flip(-2).roll(1, -2)
    result = phase.clone()
    result[..., both] = (column - opposite) / 2
    return result
