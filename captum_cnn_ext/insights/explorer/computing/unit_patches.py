"""What excites a unit most: patches of a data set ranked before, or of the page's images."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import TopPatches
from captum_cnn_ext.evidence.streams.job_files import cut
from captum_cnn_ext.insights.explorer.computing import library_calls
from captum_cnn_ext.insights.explorer.computing.answer_cache import AnswerCache
from captum_cnn_ext.insights.explorer.computing.listing import ExploredLayer
from captum_cnn_ext.insights.explorer.computing.questions_and_answers import Patch, Photo
from captum_cnn_ext.methods.expression import Expression, evaluate

MOST = 9  # patches of a unit
LAYERS_KEPT = 16


class UnitPatches:
    """Finds patches.

    Args:
        model, preprocess: what is explored.
        photos: the page's images, ranked where nothing else was: one pass a layer.
        ranked: what `evidence.top_patches` found before, each for a layer.
        images: the data set or folder that was ranked then.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Any,
        photos: Mapping[str, Photo],
        ranked: Sequence[TopPatches],
        images: Any,
    ) -> None:
        self.model, self.preprocess, self.photos = model, preprocess, photos
        self.ranked = {found.layer: found for found in ranked} if images is not None else {}
        self.images = images
        self._kept = AnswerCache(LAYERS_KEPT)

    def prepared(self, layer: str) -> bool:
        """Whether a data set was ranked for this layer."""
        return layer in self.ranked

    def call(self, layer: ExploredLayer) -> Expression:
        """The call that ranks the page's images."""
        return library_calls.top_patches(layer, min(MOST, len(self.photos)))

    def of(
        self, layer: ExploredLayer, channel: int, back: Callable[[Tensor], Tensor]
    ) -> list[Patch]:
        """The patches of a channel, strongest first, each with the pixels that drive it.

        Args:
            back: takes inputs (N, C, H, W) to the channel's reconstructions of the same shape.

        Raises:
            ArgumentError: the images that were ranked are not where they were.
        """
        found, images, names = self._found(layer)
        if channel not in found.channels:
            return []
        row = found.row(channel)
        try:
            (cut,) = found.patches(images, channel, self._prepared)
            inputs = found.inputs(images, channel, self._prepared)
        except OSError as error:
            raise ArgumentError(f"top patches: an image cannot be read ({error})") from error
        driving: Sequence[Tensor | None] = [None] * len(cut)
        if found.unit == "max":  # of other units the reconstruction begins elsewhere
            driving = self._driving(inputs, found.boxes[row].tolist(), back)
        values, numbers = found.values[row].tolist(), found.images[row].tolist()
        kept = [(v, n) for v, n in zip(values, numbers, strict=True) if n >= 0]
        return [
            Patch(picture, value, names.get(number, f"image {number}"), pixels)
            for picture, pixels, (value, number) in zip(cut, driving, kept, strict=True)
        ]

    def _prepared(self, image: Any) -> Tensor:
        """What the network was given: a data set may hold tensors beside the page's pictures."""
        given: Tensor = image if isinstance(image, Tensor) else self.preprocess(image)
        return given

    def _found(self, layer: ExploredLayer) -> tuple[TopPatches, Any, dict[int, str]]:
        """The ranking of a layer, the images that it is of, and their names."""
        if self.prepared(layer.name):
            ranked = self.ranked[layer.name]
            return ranked, self.images, ranked.names
        pictures = [photo.picture for photo in self.photos.values()]
        given = {"model": self.model, "pictures": pictures, "preprocess": self.preprocess}
        found = self._kept.once(layer.name, lambda: evaluate(self.call(layer), **given))
        return found, pictures, dict(enumerate(self.photos))

    @staticmethod
    def _driving(
        inputs: list[Tensor], boxes: list[Any], back: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """Reconstructions, cut like the patches; inputs of one size in one batch."""
        alike = len({image.shape for image in inputs}) == 1
        batches = [torch.stack(inputs)] if alike else [image[None] for image in inputs]
        pictures = [picture for batch in batches for picture in back(batch)]
        return [cut(picture, box) for picture, box in zip(pictures, boxes, strict=False)]
