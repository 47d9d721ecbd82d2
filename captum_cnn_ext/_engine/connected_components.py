"""Connected parts of a mask, by scikit-image, which is imported when it is needed."""

from typing import Any

import numpy as np

from captum_cnn_ext._engine.running.state import imported
from captum_cnn_ext.errors import needing


def connected_components(mask: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(H, W) with 0 outside and numbers from 1 on in each part; corners that touch connect.

    Raises:
        ImportError: scikit-image is not installed.
    """
    found: np.ndarray[Any, Any] = skimage("measure").label(mask, connectivity=2)
    return found


def skimage(module: str) -> Any:
    """A module of scikit-image.

    Raises:
        ImportError: it is not installed.
    """
    with needing("regions of a map need scikit-image, which is not installed", "regions"):
        return imported(f"skimage.{module}")


def bounds(mask: np.ndarray[Any, Any]) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is True, the last two excluded."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
