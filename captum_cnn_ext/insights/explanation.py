"""One photo explained in one call: prediction, map, picture, a check, and the code that did it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from captum_cnn_ext import metrics
from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.judging.output_targets import is_function
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._engine.whole_files import PICTURES, writable_path, write_figure
from captum_cnn_ext._numbers import as_seed
from captum_cnn_ext.attr import suggest_layers
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.audited_model import ClassNames, audited_model
from captum_cnn_ext.insights.comparison import Comparison, compared, place_in_words
from captum_cnn_ext.insights.inputs import Images, Preprocess, read_photos
from captum_cnn_ext.insights.predictions import Explained
from captum_cnn_ext.insights.report.figure_code import model_code
from captum_cnn_ext.methods import INPUT, Call, KnownMethod, find_methods
from captum_cnn_ext.models import LoadedModel
from captum_cnn_ext.models.class_names import class_index
from captum_cnn_ext.photos import read_picture

# its map sums to what the layer adds to the score, where the head is linear, and it is above every
# other CAM where several objects compete for the class (benchmarks/README.md); on photos the last
# layer is more faithful than earlier ones
METHOD = "LayerHiResCam"
STEPS = 8
MARGIN = 0.02  # of insertion minus deletion, from -1 to 1: less is no difference
Photo = str | os.PathLike[str] | Image.Image | Tensor


@dataclass(frozen=True)
class Explanation:
    """What a network says about a photo, and where the evidence for it is.

    A notebook shows it as a picture; ``print`` says it in words.

    Attributes:
        prediction: the most probable class, in words; of a target of `captum_cnn_ext.targets`
            what it is in this photo.
        probability: its probability, by the network; of such a target its score.
        target: the class that is explained, or such a target.
        attributions: (1, C, h, w), the map, signed, not scaled.
        method, layer: how and where it was made; ``layer`` is "input" for methods of pixels.
        faithfulness: insertion minus deletion of the map, of the same map moved by half the photo,
            and of a blob in the centre, from -1 to 1, more is better; empty without a check.
        code: Python that makes the map from ``model`` and the preprocessed photo ``x``.
        notes: what one has to know of the model to believe this: random weights, and which
            preprocessing was assumed.
        comparison: the same as `compare` gives it.
        why_empty: where the map is 0 everywhere: why, and what to try.
        explained: the class that is explained and its probability, where it is not the prediction.
    """

    prediction: str
    probability: float
    target: Any
    attributions: Tensor
    method: str
    layer: str
    faithfulness: dict[str, float]
    code: str
    comparison: Comparison
    notes: tuple[str, ...] = ()
    why_empty: str = ""
    explained: str = ""

    __repr__ = brief

    def __str__(self) -> str:
        where = place_in_words(self.comparison, self.layer)
        number = f"{self.probability:.0%}" if self.of_class else f"score {self.probability:.3g}"
        what = f"; explained is {self.explained}" if self.explained else ""
        said = f"{self.prediction} ({number}){what}. {self.method} at {where}. {self.check}".strip()
        guess = self.comparison.subject.guess
        first = [] if guess is None else [f"Guessed: {guess.note}. {guess.next_step}"]
        notes = [note for note in self.notes if guess is None or note != guess.note]
        return "\n".join([*first, said, *(f"Note: {note}." for note in notes)])

    @property
    def of_class(self) -> bool:
        """Whether a class is explained, and not another target."""
        return not is_function(self.target)

    @property
    def check(self) -> str:
        """In words, what this photo says about the map, and what to do next."""
        if self.why_empty:
            return f"No map: it is 0 everywhere, {self.why_empty}."
        if not self.faithfulness:
            return ""
        own, moved, blob = self.faithfulness.values()
        if own <= moved + MARGIN:
            return (
                "Check failed: moved elsewhere, the same map does as well on this photo "
                f"(insertion minus deletion {own:.2f} and {moved:.2f}). Do not rely on it; try "
                "another method or layer."
            )
        if own > blob + MARGIN:
            guess = self.comparison.subject.guess
            only = "" if guess is None else ", if the guessed preprocessing is right"
            return (
                f"Check passed{only}: the score depends on the marked places (insertion minus "
                f"deletion {own:.2f}; the same map moved elsewhere {moved:.2f}, a blob in the "
                f"centre {blob:.2f})."
            )
        how = "better" if own < blob - MARGIN else "as well"
        return (
            "Check undecided: the score depends on the marked places (insertion minus deletion "
            f"{own:.2f}; the same map moved elsewhere {moved:.2f}), but a plain blob in the "
            f"centre does {how} ({blob:.2f}), so this photo cannot tell. Try {self._other}."
        )

    @property
    def _other(self) -> str:
        """What a blob in the centre would not be right about by chance."""
        if self.comparison.boxes is not None:
            return "a box that is not in the centre of its photo"
        return "photos where what is explained is not in the centre"

    def figure(self, sign: str = "positive") -> Figure:
        """The photo, and the map over it; see `render.show_attributions`."""
        return self.comparison.figure(sign)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file, whole or not at all.

        Raises:
            ArgumentError: the name ends in no picture format, or its folder cannot be written to.
        """
        target = writable_path(path, PICTURES)
        write_figure(self.figure(), target)
        return target

    def _repr_png_(self) -> bytes:
        return self.comparison._repr_png_()


def explain(
    model: nn.Module | LoadedModel,
    image: Photo,
    target: int | str | Callable[[Any], Tensor] | None = None,
    *,
    method: str = METHOD,
    layer: Layer | None = None,
    preprocess: Preprocess | None = None,
    class_names: ClassNames | None = None,
    check: bool = True,
    seed: int = 0,
) -> Explanation:
    r"""Explain one photo: what the network sees in it, and where the evidence for that is.

    Chooses the layer (the end of the last convolution stage) and the method (HiResCAM,
    :math:`\sum_k A_k \odot \partial s / \partial A_k`). The map is then compared with itself moved
    by half the photo, which keeps its values and loses its places, and with a blob in the centre,
    where photographers put the object: how soon the score rises while the strongest pixels come
    into a blurred photo, minus how long it stays while they go.

    Reference: Draelos, Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks*, 2020, arXiv:2011.08891; Petsiuk, Das, Saenko, *RISE: Randomized
    Input Sampling for Explanation of Black-box Models*, 2018, arXiv:1806.07421 (the check).

    Cost: two forward passes and the method's; the check 54 more, a few at a time.

    Args:
        model: a network that returns class scores (N, classes), in evaluation mode, or what
            `captum_cnn_ext.models.load_model` returns; with a target of `captum_cnn_ext.targets`
            any that it can read, such as a detector.
        image: a file, a PIL image, or one preprocessed image (C, H, W) or (1, C, H, W).
        target: the class to explain, by its index or its name, or a target of
            `captum_cnn_ext.targets` such as ``Boxes(0)``, whose box the picture outlines; None is
            the most probable class.
        method: another one by name; `captum-cnn-ext list-methods` lists them.
        layer: where, for methods that explain a layer: a module or its dotted name.
        preprocess: from a PIL image to a tensor (C, H, W); None takes the loaded model's.
        class_names: the name of each class.
        check: whether to compare the map with these two.
        seed: of random numbers. The caller's random state stays as it is.

    Raises:
        ArgumentError: an unknown method, layer, class name or target; a ``ValueError``.
        OSError: the file cannot be read.
        TypeError: arguments of a wrong type.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext import explain
        >>> found = explain(resnet18().eval(), torch.rand(3, 64, 64), target=207)
        >>> found.layer, tuple(found.attributions.shape)
        ('layer4', (1, 1, 2, 2))
    """
    seed = as_seed("seed", seed)
    photos = _one_photo(image)
    subject = audited_model(
        model,
        tensors=isinstance(photos, Tensor),
        pictures=photos,
        preprocess=preprocess,
        class_names=class_names,
    )
    (known,) = find_methods([method])
    if isinstance(target, str):
        target = class_index(target, subject.class_names)
    if layer is not None:
        find_layer(subject.model, layer)
    with torch.inference_mode(False), state_as_found(subject.model, []):
        read = read_photos(photos, subject.preprocess, subject.model)
        found = compared(subject, read, [known], layer, target, seed)
        done, explained, prediction = found.comparison, found.explained, found.predicted
        (call,) = found.calls
        ((name, maps),) = done.attributions.items()
        faithfulness = _faithfulness(subject.model, done, maps) if check else {}
        why_empty = "" if maps.any() else _why_empty(done, known, done.places[name])
    said, number, other = explained.names[0], explained.scores[0], ""
    if prediction is not None:
        best = int(prediction.probabilities[0].argmax())
        if explained.of_classes and explained.targets[0] != best:
            other = f"{said} ({number:.0%})"
        said, number = done.subject.class_name(best), float(prediction.probabilities[0, best])
    return Explanation(
        prediction=said,
        probability=number,
        target=done.targets[0],
        attributions=maps,
        method=known.name,
        layer=done.places[name],
        faithfulness=faithfulness,
        code=_code(model, call, explained),
        comparison=done,
        notes=subject.notes,
        why_empty=why_empty,
        explained=other,
    )


def _why_empty(done: Comparison, method: KnownMethod, place: str) -> str:
    """Why a map is 0 everywhere, and what to try."""
    try:
        found = suggest_layers(done.subject.model, done.inputs, done.targets)
    except ArgumentError:
        return (
            "and the score has no gradient at any layer: it is 0 or 1 to within rounding, or was "
            "computed without gradients. Try method='Occlusion' or 'Rise', which need none"
        )
    names = [layer.name for layer in found]
    if method.at == INPUT or place in names:
        return (
            f"though the score has a gradient: {method.name} shows none of it. Try another method"
        )
    return f"because the score does not depend on layer {place}. Try layer={names[0]!r}"


def _one_photo(image: Photo) -> Images:
    if isinstance(image, Tensor):
        batch = image[None] if image.ndim == 3 else image
        if batch.ndim != 4 or len(batch) != 1:
            if image.ndim == 5 and len(image) == 1:
                return image  # a volume, which is refused where the model is known
            raise ArgumentError(
                f"image: expected one preprocessed image (C, H, W), got {tuple(image.shape)}; "
                "`captum_cnn_ext.insights.compare` takes several"
            )
        return batch
    if isinstance(image, (str, os.PathLike)):
        return {Path(image).stem: read_picture(Path(image))}
    if not isinstance(image, Image.Image):
        raise TypeError(
            f"image: expected a file, a PIL image or a tensor, got {type(image).__name__}"
        )
    return [image]


def _faithfulness(model: nn.Module, done: Comparison, maps: Tensor) -> dict[str, float]:
    x, target = done.inputs, done.targets[0]
    own = metrics.as_maps(maps, x)
    half = [length // 2 for length in own.shape[1:]]
    judged = {
        "this map": maps,
        "this map, moved": own.roll(half, list(range(1, own.ndim)))[:, None],
        "a blob in the centre": metrics.gaussian_map(x),
    }
    found = {}
    for name, given in judged.items():
        up, down = metrics.insertion_and_deletion(model, x, given, target, steps=STEPS)
        found[name] = float((up.area - down.area)[0])
    return found


def _code(model: nn.Module | LoadedModel, call: Call, explained: Explained) -> str:
    photo = "x = ...  # the preprocessed photo, (1, C, H, W)"
    target = f"target = {explained.targets[0]}"
    if not explained.of_classes:
        target = explained.code(slice(0, 1), call.reads_scores)
    return f"{model_code(model)}\n{photo}\n{target}\n{call.code}\n"
