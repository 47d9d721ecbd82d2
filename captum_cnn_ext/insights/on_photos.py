"""Maps on the photos that they explain: at the photos' own size, not on the model's crop."""

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from captum_cnn_ext._engine.whole_files import write_together
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.inputs import Photos, Preprocess
from captum_cnn_ext.insights.pictures import QUALITY
from captum_cnn_ext.photos import PhotoGeometry, photo_geometry
from captum_cnn_ext.render import outlined, overlay_pixels


@dataclass(frozen=True)
class OnPhotos:
    """Photos, and where their network's inputs lie on them.

    Args:
        photos: network inputs with the pictures that they were made from.
        preprocess: what made them.
        boxes: of each input the box that is explained, or None; overlays outline it.
    """

    photos: Photos
    preprocess: Preprocess | None
    boxes: Sequence[Any] | None = None

    @cached_property
    def geometries(self) -> list[PhotoGeometry]:
        """Where each input lies on its photo.

        Raises:
            ArgumentError: there are no photos, because the images were given as tensors; or the
                preprocessing is not one that can be told.
        """
        if not self.photos.pictures or self.preprocess is None:
            raise ArgumentError(
                "images: they were given as tensors, so it is not known on which photos they lie; "
                "pass the pictures themselves"
            )
        known: dict[tuple[int, int], PhotoGeometry] = {}
        for picture in self.photos.pictures:
            if picture.size not in known:
                known[picture.size] = photo_geometry(self.preprocess, picture)
        return [known[picture.size] for picture in self.photos.pictures]

    def overlay(self, photo: int, attribution: Tensor, sign: str = "positive") -> Image.Image:
        """One map (C, h, w) over its grey photo, at its size; what the model's crop left out keeps
        its colours.
        """
        geometry, picture = self.geometries[photo], self.photos.pictures[photo]
        colours = np.asarray(picture.convert("RGB"))
        heat = geometry.to_photo(attribution.detach().float().sum(0).cpu())
        image = torch.from_numpy(np.array(colours)).movedim(-1, 0)
        blended = (overlay_pixels(image, heat, sign=sign) * 255).round().astype(np.uint8)
        found = Image.fromarray(np.where(geometry.seen.numpy()[..., None], blended, colours))
        box = None if self.boxes is None else self.boxes[photo]
        return found if box is None else outlined(found, geometry.box_to_photo(box))

    def save(
        self,
        folder: str | os.PathLike[str],
        attributions: Mapping[str, Any],
        sign: str = "positive",
    ) -> list[Path]:
        """Write every map over its photo, ``<photo>--<method>.jpg``, into a folder.

        The folder is made where it is not there; all files are written, or none.

        Raises:
            ArgumentError: where the inputs lie on the photos is not known.
            OSError: a file cannot be written.
        """
        files: dict[Path, bytes] = {}
        for name, picture in self._overlays(attributions, sign):
            target = Path(folder, f"{name}.jpg")
            if target in files:
                raise ArgumentError(f"images: two photos would be written as {target.name!r}")
            data = io.BytesIO()
            picture.save(data, "jpeg", quality=QUALITY)
            files[target] = data.getvalue()
        Path(folder).mkdir(parents=True, exist_ok=True)
        write_together(files)
        return list(files)

    def _overlays(
        self, attributions: Mapping[str, Any], sign: str
    ) -> Iterator[tuple[str, Image.Image]]:
        for photo, name in enumerate(self.photos.names):
            for method, maps in attributions.items():
                one = torch.as_tensor(maps[photo])
                yield (
                    f"{_plain(Path(name).with_suffix(''))}--{_plain(method)}",
                    self.overlay(photo, one, sign),
                )


def _plain(name: object) -> str:
    """As a file's name: folders and blanks joined by a hyphen."""
    return re.sub(r"[^\w.+()=]+", "-", str(name)).strip("-.") or "photo"
