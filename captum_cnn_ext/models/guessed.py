"""A network that came without its preprocessing: what is guessed, from it and from the pictures."""

import dataclasses
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.input_sizes import input_axes, input_channels
from captum_cnn_ext._engine.running.forward import run_model
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext.models.loaded import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LoadedModel,
    imagenet_transform,
)
from captum_cnn_ext.photos.pictures import picture_sizes

if TYPE_CHECKING:
    from PIL import Image

ASSUMED = "no preprocessing was given"  # how a note begins that says so
LARGEST = 224  # pixels: smaller pictures of one size are not enlarged
REMEDY = (
    "pass preprocess=, from a PIL image to what the model takes (to a command, a factory that "
    "returns the module and it, or a LoadedModel)"
)


@dataclass(frozen=True)
class Guess:
    """A guessed preprocessing: ImageNet's, or of a network of one channel a grey one in [0, 1].

    ``size`` is (height, width) of pictures that are taken in their own size, and others are brought
    to it; None cuts 224 × 224 pixels out of any picture. ``settled`` says whether the pictures were
    looked at, ``enlarged`` the size of theirs that the network does not take.
    """

    grey: bool
    size: tuple[int, int] | None = None
    settled: bool = False
    enlarged: tuple[int, int] | None = None

    def __call__(self, picture: "Image.Image") -> Tensor:
        """The network's input (C, H, W)."""
        from PIL import Image, ImageOps
        from torchvision import transforms

        mean, std = ((0.0,), (1.0,)) if self.grey else (IMAGENET_MEAN, IMAGENET_STD)
        picture = picture.convert("L") if self.grey else picture
        if self.size is None:
            return imagenet_transform(mean, std)(picture)
        size = self.size[::-1]
        if picture.size != size:
            picture = ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
        as_it_is: Tensor = transforms.Compose(
            [transforms.ToTensor(), transforms.Normalize(mean, std)]
        )(picture)
        return as_it_is

    @property
    def words(self) -> str:
        """What was guessed."""
        size = f"{_pixels((LARGEST, LARGEST) if self.size is None else self.size)} pixels"
        size += ", their own size" if self.size is not None else ""
        size += f", enlarged from {_pixels(self.enlarged)}" if self.enlarged is not None else ""
        return f"grey pictures ({size}) in [0, 1]" if self.grey else f"ImageNet's ({size})"

    @property
    def note(self) -> str:
        """The same as a note on the model."""
        return f"{ASSUMED}; {self.words} {'were' if self.grey else 'was'} assumed"

    @property
    def doubt(self) -> str:
        """The same as a finding."""
        return (
            f"How the model wants its pictures is a guess: {self.note}. If it was trained on "
            "others, its predictions and all that is said of them are wrong."
        )

    @property
    def next_step(self) -> str:
        """What to do about it."""
        return f"To be sure, {REMEDY}."


def assumed(model: nn.Module) -> LoadedModel:
    """A model that came without preprocessing, with a guess that no picture was looked at for.

    A detector of torchvision gets the whole photo: it resizes and normalises by itself.
    """
    from torchvision import transforms

    if type(getattr(model, "transform", None)).__name__ == "GeneralizedRCNNTransform":
        note = f"{ASSUMED}; the whole photo in [0, 1] was assumed, as for any detector"
        black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        return LoadedModel(model, transforms.ToTensor(), mean=black, std=white, notes=(note,))
    guess = Guess(grey=input_channels(model) == 1)
    scale: dict[str, Any] = {"mean": (0.0,), "std": (1.0,)} if guess.grey else {}
    return LoadedModel(model, guess, notes=(guess.note,), **scale)


def settled(loaded: LoadedModel, pictures: Any) -> LoadedModel:
    """Where its preprocessing is a guess, the model with one for these pictures, and a warning.

    Pictures that all have one size, of at most 224 × 224 pixels, are taken in that size if the
    network runs on it; of others 224 × 224 pixels, as for ImageNet.

    Cost: one forward pass where there is such a size; the pictures are read as far as needed.

    Args:
        loaded: the model; returned as it is where its preprocessing is known, or was settled.
        pictures: a mapping or a sequence of pictures or files, or a data set of them.
    """
    guess = loaded.preprocess
    if not isinstance(guess, Guess) or guess.settled or input_axes(loaded.model) != 2:
        return loaded
    size, some = None, False
    for width, height in picture_sizes(pictures):
        one = max(width, height) <= LARGEST and (not some or size == (height, width))
        size, some = ((height, width) if one else None), True
        if not one:
            break
    if not some:
        return loaded  # which whoever reads the pictures says
    found = dataclasses.replace(guess, size=size, settled=True)
    if size is not None and not _runs(loaded.model, found, size):
        found = dataclasses.replace(found, size=None, enlarged=size)
    warn_user(f"{found.note}: {REMEDY}")
    notes = tuple(found.note if note == guess.note else note for note in loaded.notes)
    shape = found.size or loaded.input_size
    return dataclasses.replace(loaded, preprocess=found, notes=notes, input_size=shape)


def _runs(model: nn.Module, guess: Guess, size: tuple[int, int]) -> bool:
    from PIL import Image

    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    image = guess(Image.new("RGB", size[::-1]))[None].to(like.device, like.dtype)
    try:
        with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run_model(model, (image,))
    except Exception:  # a user's network can raise anything
        return False
    return True


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[1]} × {size[0]}"
