"""Score-CAM with each weight averaged over variants of its mask: noisy ones, weaker ones."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._numbers import as_count, as_number, as_seed
from captum_cnn_ext.attr.cams.score_cam import MaskedInputCam


class LayerSSCam(MaskedInputCam):
    r"""SS-CAM: Score-CAM's weight averaged over noisy copies of each mask.

    .. math::
        w_k = \frac{1}{m} \sum_{i=1}^{m} p_c(x \odot (\mathrm{minmax}(U(A_k)) + \epsilon_i)), \quad
        \epsilon_i \sim N(0, \sigma^2)

    The noise depends on ``seed``, the channel and i only: not on chunks, on the batch or on
    torch's global random numbers.

    Cost: one forward pass, and m on masked images for each channel that is not constant.

    Reference: Wang, Naidu, Michael, Kundu, *SS-CAM: Smoothed Score-CAM for Sharper Visual Feature
    Localization*, 2020, arXiv:2006.14255.

    Args:
        samples: noisy copies of each mask, m in the formula.
        stdev: the noise's standard deviation, where masks are in [0, 1].
        seed: of each copy's noise.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerSSCam
        >>> model = resnet18().eval()
        >>> cam = LayerSSCam(model, "layer4", top_channels=4, samples=5)
        >>> cam.attribute(torch.randn(1, 3, 64, 64), target=3).shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        score: str = "probability",
        top_channels: int | None = None,
        samples: int = 35,
        stdev: float = 2.0,
        seed: int = 0,
    ) -> None:
        MaskedInputCam.__init__(
            self, forward_func, layer, device_ids, score=score, top_channels=top_channels
        )
        self.samples = as_count("samples", samples)
        self.stdev, self.seed = as_number("stdev", stdev, 0), as_seed("seed", seed)

    def _vary(self, masks: Tensor, channels: Tensor, part: slice) -> Tensor:
        generator = torch.Generator(masks.device)
        noisy = []
        for mask, k, i in zip(masks, channels.tolist(), range(part.start, part.stop), strict=True):
            generator.manual_seed(self.seed + 1_000_003 * k + i % self.samples)
            # float32, whatever the mask's dtype: the same noise for every precision
            noise = torch.empty(mask.shape, device=mask.device, dtype=torch.float32)
            noise.normal_(0, self.stdev, generator=generator)
            noisy.append(mask + noise.to(mask.dtype))
        return torch.stack(noisy)


class LayerISCam(MaskedInputCam):
    r"""IS-CAM: Score-CAM's weight integrated over the strength of each mask.

    .. math:: w_k = \frac{1}{m} \sum_{i=1}^{m} p_c(x \odot \tfrac{i}{m}\, \mathrm{minmax}(U(A_k)))

    Cost: one forward pass, and m on masked images for each channel that is not constant.

    Reference: Naidu, Ghosh, Maurya, K, Kundu, *IS-CAM: Integrated Score-CAM for axiomatic-based
    explanations*, 2020, arXiv:2010.03023.

    Args:
        samples: strengths of each mask, m in the formula.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.attr import LayerISCam
        >>> model = resnet18().eval()
        >>> cam = LayerISCam(model, "layer4", top_channels=4, samples=5)
        >>> cam.attribute(torch.randn(1, 3, 64, 64), target=3).shape
        torch.Size([1, 1, 2, 2])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer | Sequence[Layer],
        device_ids: list[int] | None = None,
        *,
        score: str = "probability",
        top_channels: int | None = None,
        samples: int = 10,
    ) -> None:
        MaskedInputCam.__init__(
            self, forward_func, layer, device_ids, score=score, top_channels=top_channels
        )
        self.samples = as_count("samples", samples)

    def _vary(self, masks: Tensor, channels: Tensor, part: slice) -> Tensor:
        steps = torch.arange(part.start, part.stop, device=masks.device) % self.samples + 1
        return masks * (steps / self.samples).to(masks.dtype).reshape(-1, *[1] * (masks.ndim - 1))
