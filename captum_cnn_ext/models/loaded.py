"""A model with what is needed to feed it and to read its output."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.models.failures import run_users
from captum_cnn_ext.models.untrained import UNTRAINED, is_untrained
from captum_cnn_ext.photos import PhotoGeometry, photo_geometry

if TYPE_CHECKING:
    from PIL import Image

    Preprocess = Callable[[Image.Image], Tensor]

NOMINAL = "the preprocessing does not bring pictures of all shapes to one size"
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what is needed to feed it and to read its output.

    ``preprocess`` turns a PIL picture into a (C, H, W) tensor; ``mean`` and ``std`` undo its
    normalisation (pixel = value * std + mean, in [0, 1]); ``input_size`` is (H, W) after it
    (224 × 224 where that depends on the picture).
    ``name`` and ``weights`` are for people and hold no folders; so are ``notes``, which a report
    must show. Where batch norms have seen no image, a note says that the weights are random.
    """

    model: nn.Module
    preprocess: "Preprocess"
    class_names: list[str] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_size: tuple[int, int] = (224, 224)
    name: str = ""
    weights: str = ""
    notes: tuple[str, ...] = ()

    __repr__ = brief

    def __post_init__(self) -> None:
        if UNTRAINED not in self.notes and is_untrained(self.model):
            object.__setattr__(self, "notes", (UNTRAINED, *self.notes))

    def geometry(self, photo: "Image.Image | tuple[int, int]") -> PhotoGeometry:
        """How the network's input lies on a photo, to bring boxes and maps back onto it.

        Found out by test pictures, see :func:`captum_cnn_ext.photos.photo_geometry`.

        Args:
            photo: a PIL picture, or (height, width).

        Raises:
            ArgumentError: the preprocessing turns, mirrors or bends photos, or draws random
                numbers, so that it cannot be told.

        Example:
            >>> from captum_cnn_ext.models import load_model
            >>> geometry = load_model("torchvision:resnet18").geometry((512, 640))
            >>> geometry.box_to_photo((0, 0, 224, 224))
            (96.0, 32.0, 544.0, 480.0)
        """
        return photo_geometry(self.preprocess, photo)


def imagenet_transform(
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    bicubic: bool = False,
) -> "Preprocess":
    from torchvision import transforms

    mode = transforms.InterpolationMode
    steps = [
        transforms.Resize(256, interpolation=mode.BICUBIC if bicubic else mode.BILINEAR),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    composed: Preprocess = transforms.Compose(steps)
    return composed


def imagenet_names() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.DEFAULT.meta["categories"])


def measured(loaded: LoadedModel) -> LoadedModel:
    """Find mean, std and size of any preprocessing by what it makes of plain pictures."""
    from PIL import Image

    def see(level: int, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        picture = Image.new("RGB", size, (level, level, level))
        tensor = run_users(
            lambda: loaded.preprocess(picture), loaded.name, "preprocessing of a picture"
        )
        if not isinstance(tensor, Tensor) or tensor.ndim != 3:
            got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(
                f"model {loaded.name!r}: expected its preprocessing to turn a PIL picture into a "
                f"(C, H, W) tensor, got {got}"
            )
        height, width = tensor.shape[1:]
        return tensor[:, height // 2, width // 2].double(), (height, width)

    black, size = see(0, (640, 480))
    white, other_size = see(255, (480, 640))
    grey, _ = see(51, (640, 480))
    std = 1 / (white - black)
    mean = -black * std
    notes = loaded.notes
    if not (std.isfinite().all() and ((grey * std + mean - 0.2).abs() < 1e-3).all()):
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
        notes += ("the preprocessing is no fixed normalisation; drawn inputs may look different",)
    if size != other_size:
        size = (224, 224)
        notes += (NOMINAL,)
    return dataclasses.replace(
        loaded,
        mean=tuple(round(value, 6) for value in mean.tolist()),
        std=tuple(round(value, 6) for value in std.tolist()),
        input_size=size,
        notes=notes,
    )
