"""More photos from a few: crops and mirror images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from captum_cnn_ext._numbers import as_count

if TYPE_CHECKING:
    from PIL import Image

CROP = 0.8  # of each side
PLACES = {"whole": None, "top left": (0, 0), "top right": (1, 0), "bottom left": (0, 1),
          "bottom right": (1, 1)}  # fmt: skip


def variants(photos: Mapping[str, Image.Image], each: int = 10) -> dict[str, Image.Image]:
    """Up to ten pictures of each photo: whole and four crops of 0.8, then all of them mirrored.

    Raises:
        ArgumentError: ``each`` is not from 1 to 10.

    Example::

        >>> from PIL import Image
        >>> from captum_cnn_ext.bench import variants
        >>> {name: p.size for name, p in variants({"cat": Image.new("RGB", (100, 50))}, 2).items()}
        {'cat/whole': (100, 50), 'cat/top left': (80, 40)}
    """
    from PIL import ImageOps

    each = as_count("each", each, 1, 2 * len(PLACES))
    found: dict[str, Image.Image] = {}
    for name, photo in photos.items():
        kinds = [(place, mirrored) for mirrored in (False, True) for place in PLACES]
        for place, mirrored in kinds[:each]:
            corner, picture = PLACES[place], photo
            if corner is not None:
                width, height = round(CROP * photo.width), round(CROP * photo.height)
                left, top = corner[0] * (photo.width - width), corner[1] * (photo.height - height)
                picture = photo.crop((left, top, left + width, top + height))
            if mirrored:
                picture = ImageOps.mirror(picture)
            found[f"{name}/{place}{', mirrored' if mirrored else ''}"] = picture
    return found


def photo_of(image: str) -> str:
    """The photo that a variant was made from."""
    return image.rsplit("/", 1)[0]
