"""Maps that know nothing of the network: what every method must beat."""

from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._numbers import as_number, as_seed
from captum_cnn_ext.metrics.maps import as_image


def random_map(inputs: Any, seed: int = 0) -> Tensor:
    """Independent uniform numbers, (N, 1, H, W), on the inputs' device.

    Image n gets the same map whatever the batch it comes in.

    Cost: no pass of the model.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import random_map
        >>> x = torch.zeros(3, 3, 8, 8)
        >>> torch.equal(random_map(x)[:2], random_map(x[:2]))
        True
    """
    image, seed = as_image(inputs), as_seed("seed", seed)
    maps = []
    for n in range(len(image)):
        generator = torch.Generator().manual_seed(seed + n)
        maps.append(torch.rand(1, *image.shape[2:], generator=generator, device="cpu"))
    return torch.stack(maps).to(image)


def gaussian_map(inputs: Any, sigma: float = 0.25) -> Tensor:
    """A round blob in the centre, (N, 1, H, W): photographers put the object there.

    Cost: no pass of the model.

    Args:
        inputs: images (N, C, H, W).
        sigma: standard deviation as a share of each side.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.metrics import gaussian_map
        >>> blob = gaussian_map(torch.zeros(1, 3, 9, 9))
        >>> int(blob.argmax()), float(blob.max())
        (40, 1.0)
    """
    image, sigma = as_image(inputs), as_number("sigma", sigma, above=0)
    hill = image.new_ones(1, 1)
    for size, shape in zip(image.shape[2:], ((-1, 1), (1, -1)), strict=True):
        place = (torch.arange(size, dtype=image.dtype, device=image.device) + 0.5) / size - 0.5
        hill = hill * torch.exp(-0.5 * (place / sigma) ** 2).reshape(shape)
    return hill.expand(len(image), 1, *image.shape[2:])
