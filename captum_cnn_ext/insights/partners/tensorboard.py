"""Parts of a result for TensorBoard's ``SummaryWriter``, PyTorch's own or tensorboardX's."""

from typing import Any

import numpy as np

from captum_cnn_ext.insights.partners.loggable import Loggable


def write(writer: Any, tag: str, parts: Loggable, step: int | None) -> None:
    """The picture and the words under ``tag``, each number under a name below it."""
    if parts.picture is not None:
        writer.add_image(tag, np.array(parts.picture), step, dataformats="HWC")
    for name, value in parts.numbers.items():
        writer.add_scalar(f"{tag}/{name}", value, step)
    writer.add_text(tag, parts.words, step)
