"""Synthesised images of units, each made once and kept in a folder."""

import hashlib
import io
import json
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import nn

from captum_cnn_ext._engine.fingerprints import fingerprint
from captum_cnn_ext._engine.whole_files import write_whole
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.explorer.computing.library_calls import synthesis
from captum_cnn_ext.methods.expression import Expression, evaluate, variable
from captum_cnn_ext.synthesis import Step

RECIPES = ("transferable", "lucid", "yosinski", "chollet", "maco")
VERSION = 1


@dataclass(frozen=True)
class PatternSettings:
    """What an image depends on, besides the weights.

    Args:
        layer, channel: the unit.
        recipe: one of `RECIPES`.
        steps: how many; None is the recipe's.
        size: height and width in pixels.
        seed: for random numbers.
    """

    layer: str
    channel: int
    recipe: str = "transferable"
    steps: int | None = 64
    size: int = 128
    seed: int = 0

    def call(self, **more: Any) -> Expression:
        """The call that makes the image."""
        return synthesis(**asdict(self), **more)


class PatternStore:
    """Makes images that units want to see, and finds them again.

    A file's name is a hash of the weights and the settings, so that another network's or other
    settings' images are never taken; a folder may serve several.

    Args:
        model, mean, std: the network and its normalisation.
        folder: where the files lie; None is a temporary folder that goes with the store.

    Raises:
        ArgumentError: the folder is none.
    """

    def __init__(
        self,
        model: nn.Module,
        mean: Sequence[float] | None,
        std: Sequence[float] | None,
        folder: str | Path | None = None,
    ) -> None:
        self.model, self.mean, self.std = model, mean, std
        if folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="captum-cnn-ext-")
            self._end = weakref.finalize(self, temporary.cleanup)
            folder = temporary.name
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise ArgumentError(f"cache={str(folder)!r}: expected a folder that exists")

    @cached_property
    def _weights(self) -> str:
        return fingerprint(self.model.state_dict())

    def path(self, settings: PatternSettings) -> Path:
        """Where the image of these settings lies, or would."""
        about = {
            "version": VERSION,
            "weights": self._weights,
            "mean": self.mean,
            "std": self.std,
            **asdict(settings),
        }
        digest = hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=12)
        return self.folder / f"{digest.hexdigest()}.png"

    def find(self, settings: PatternSettings) -> tuple[Image.Image, float] | None:
        """An image made before and what it reached, or None; a damaged file counts as none."""
        try:
            with Image.open(self.path(settings), formats=("PNG",)) as opened:
                opened.load()
                return opened.convert("RGB"), float(opened.info["value"])
        except (OSError, SyntaxError, KeyError, ValueError):
            return None

    def make(
        self,
        settings: PatternSettings,
        on_step: Callable[[int, int], object] = lambda done, total: None,
    ) -> tuple[Image.Image, float]:
        """Optimise an image for a unit, write it, and return it with what it reached.

        Cost: a forward pass to the layer and a backward pass, for each step.

        Args:
            on_step: gets how many steps are done, and of how many; may raise to end the work.

        Raises:
            ArgumentError: a layer, channel or recipe that there is not.
        """

        def tell(step: Step) -> None:
            on_step(step.index + 1, step.total)

        call = settings.call(callbacks=[variable("tell")])
        found = evaluate(call, model=self.model, mean=self.mean, std=self.std, tell=tell)
        values = found.images[0].clamp(0, 1).mul(255).round().to(torch.uint8)
        pixels = values.expand(3, -1, -1).movedim(0, -1).cpu().numpy()
        picture, value = Image.fromarray(np.ascontiguousarray(pixels)), float(found.values[0])
        about = PngInfo()
        about.add_text("value", repr(value))
        about.add_text("settings", json.dumps(asdict(settings)))
        file = io.BytesIO()
        picture.save(file, format="png", pnginfo=about)
        write_whole(self.path(settings), file.getvalue())
        return picture, value
