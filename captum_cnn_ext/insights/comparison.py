"""Several methods on the same photos, side by side in one picture."""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._numbers import as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.audited_model import AuditedModel, ClassNames, audited_model
from captum_cnn_ext.insights.inputs import Images, Photos, Preprocess, read_photos
from captum_cnn_ext.insights.layers import default_layers, named_layers
from captum_cnn_ext.insights.on_photos import OnPhotos
from captum_cnn_ext.insights.predictions import Explained, Predicted, explained_photos
from captum_cnn_ext.insights.report.work import CALLED_OFTEN
from captum_cnn_ext.methods import INPUT, Call, KnownMethod, calls_at, find_methods
from captum_cnn_ext.models import LoadedModel
from captum_cnn_ext.render import show_attributions


@dataclass(frozen=True)
class Comparison:
    """Maps of several methods for the same photos.

    Attributes:
        attributions: "method" or "method at layer" -> (N, C, h, w), signed, not scaled.
        targets: the class explained for each photo, or the target of `captum_cnn_ext.targets`.
        labels: a line for each photo: its name, class and probability, or target and score.
        inputs: what the network got, (N, C, H, W).
        boxes: for each photo the box that is explained, which the figure outlines.
        on_photos: where these lie on the photos, to draw maps there.
        places: the layer that each map is of, "input", or the layers joined.
        layer_reason: why the layer was chosen, such as "ends the last convolution stage"; empty
            where it was named.
    """

    attributions: dict[str, Tensor]
    targets: list[Any]
    labels: list[str]
    inputs: Tensor
    subject: AuditedModel
    boxes: list[Any] | None = None
    on_photos: OnPhotos | None = None
    places: dict[str, str] = field(default_factory=dict)
    layer_reason: str = ""

    __repr__ = brief

    def __str__(self) -> str:
        maps = [f"{name} {tuple(found.shape)}" for name, found in self.attributions.items()]
        return f"{len(self.labels)} photos of shape {tuple(self.inputs.shape)}: {', '.join(maps)}"

    def figure(self, sign: str = "positive") -> Figure:
        """One row for each photo, one column for each method; see `render.show_attributions`."""
        figure, _ = show_attributions(
            self.inputs,
            {self._heading(name): maps for name, maps in self.attributions.items()},
            mean=self.subject.mean,
            std=self.subject.std,
            row_titles=self.labels,
            boxes=self.boxes,
            sign=sign,
            use_pyplot=False,
        )
        return figure

    def _heading(self, name: str) -> str:
        place = self.places.get(name, INPUT)
        return name if place == INPUT or name.endswith(f" at {place}") else f"{name} at {place}"

    def save_overlays(
        self, folder: str | os.PathLike[str], *, sign: str = "positive"
    ) -> list[Path]:
        """Write every map over its whole photo, at the photo's size: ``<photo>--<method>.jpg``.

        What the model's crop left out of the photo keeps its colours. ``on_photos.geometries`` are
        what `captum_cnn_ext.evidence.regions` needs for boxes on the photos.

        Cost: nine calls of the preprocessing for each size of photo, and drawing.

        Raises:
            ArgumentError: images were given as tensors, or where the preprocessing puts a photo
                cannot be told.
            OSError: a file cannot be written; none is.
        """
        if self.on_photos is None:
            raise ArgumentError("folder: this comparison keeps no photos to draw on")
        return self.on_photos.save(folder, self.attributions, sign)

    def _repr_png_(self) -> bytes:
        figure: Any = self.figure()
        return figure._repr_png_()  # type: ignore[no-any-return]


def place_in_words(found: Comparison, place: str) -> str:
    """ "the input", or the layer and, where it was chosen, why."""
    if place == INPUT:
        return "the input"
    chosen = found.layer_reason and " + " not in place
    return f"layer {place}" + (f", which {found.layer_reason}" if chosen else "")


def compare(
    model: nn.Module | LoadedModel,
    images: Images,
    methods: Iterable[str],
    *,
    layers: Layer | Iterable[Layer] | None = None,
    target: int | Sequence[Any] | Tensor | Callable[[Any], Tensor] | None = None,
    preprocess: Preprocess | None = None,
    class_names: ClassNames | None = None,
    seed: int = 0,
    show_progress: bool = False,
) -> Comparison:
    """Run attribution methods by name on the same photos.

    Cost: one forward pass and what the methods cost; `known_methods` says what that is.

    Args:
        model: a network that returns class scores (N, classes), in evaluation mode, or what
            `captum_cnn_ext.models.load_model` returns; with targets of `captum_cnn_ext.targets`
            any that these can read, such as a detector.
        images: a dict of names and PIL images or files, a list of these, a file or a folder of
            pictures, or preprocessed images (N, C, H, W).
        methods: names as in `known_methods`; ``"gradcam++"`` is understood too.
        layers: for the methods that explain a layer: modules or dotted names; None takes the
            first of `captum_cnn_ext.attr.suggest_layers` for this target, and three of them for
            methods that join layers.
        target: the class to explain, or a target of `captum_cnn_ext.targets` such as ``Boxes(0)``,
            for all photos or one for each; None is the strongest class.
        preprocess: from a PIL image to a tensor (C, H, W); None takes the loaded model's.
        class_names: the name of each class.
        seed: for methods that draw random numbers. The caller's random state stays as it is.
        show_progress: draw a progress bar over the methods.

    Raises:
        OSError: a file cannot be read.
        ArgumentError: an unknown method, a layer, target or images that do not fit, a method that
            does not fit the layer; a ``ValueError``.
        TypeError: arguments of a wrong type.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.insights import compare
        >>> x = torch.rand(1, 3, 64, 64)
        >>> found = compare(resnet18().eval(), x, ["Saliency", "gradcam++"], layers="layer4")
        >>> {name: tuple(maps.shape) for name, maps in found.attributions.items()}
        {'Saliency': (1, 3, 64, 64), 'LayerGradCamPlusPlus': (1, 1, 2, 2)}
    """
    seed = as_seed("seed", seed)
    chosen = find_methods([methods] if isinstance(methods, str) else methods)
    subject = audited_model(
        model,
        tensors=isinstance(images, Tensor),
        pictures=images,
        preprocess=preprocess,
        class_names=class_names,
    )
    with torch.inference_mode(False):
        photos = read_photos(images, subject.preprocess, subject.model)
        done = compared(subject, photos, chosen, layers, target, seed, show_progress)
    return done.comparison


@dataclass(frozen=True)
class Compared:
    """A comparison, what is explained and predicted, and the calls that made the maps."""

    comparison: Comparison
    explained: Explained
    predicted: Predicted | None
    calls: list[Call]


def compared(
    subject: AuditedModel,
    photos: Photos,
    chosen: Sequence[KnownMethod],
    layers: Layer | Iterable[Layer] | None,
    target: Any,
    seed: int,
    show_progress: bool = False,
) -> Compared:
    """The work of `compare`, with what else came of it."""
    with state_as_found(subject.model, [photos.inputs]), warnings.catch_warnings():
        if layers is None:  # a suggested layer is suggested for its last call
            warnings.filterwarnings("ignore", CALLED_OFTEN)
        with subject.first_pass():
            explained, predicted = explained_photos(subject, photos, target)
        if predicted is not None:
            subject = subject.of_outputs(predicted.outputs.shape[1])
        targets = explained.targets
        names, joined, reason = _layer_names(subject.model, layers, photos, chosen, targets)
        places = calls_at(subject.model, photos.inputs, names, joined, chosen, seed)
        runs = [(place, method) for place, found in places.items() for method in found]
        several = sum(place != INPUT for place in places) > 1
        attributions, place_of = dict[str, Tensor](), dict[str, str]()
        order = {known.name: rank for rank, known in enumerate(chosen)}
        runs.sort(key=lambda run: order[run[1].name])
        for place, method in tqdm(runs, desc="methods", disable=not show_progress):
            try:
                maps = method.maps(photos.inputs, targets)
            except (ArgumentError, AssertionError) as error:
                raise ArgumentError(f"methods: {method.name} at {place}: {error}") from error
            at = f" at {place}" if several and place != INPUT else ""
            attributions[f"{method.name}{at}"] = maps
            place_of[f"{method.name}{at}"] = place
    labels = [f"{name}: {words}" for name, words in zip(photos.names, explained.words, strict=True)]
    comparison = Comparison(
        attributions=attributions,
        targets=targets,
        labels=labels,
        inputs=photos.inputs,
        subject=subject,
        boxes=explained.boxes,
        on_photos=OnPhotos(photos, subject.preprocess, explained.boxes),
        places=place_of,
        layer_reason=reason,
    )
    return Compared(comparison, explained, predicted, [method for _, method in runs])


def _layer_names(
    model: nn.Module,
    layers: Any,
    photos: Photos,
    chosen: Sequence[KnownMethod],
    targets: Sequence[Any],
) -> tuple[list[str], list[str], str]:
    """The layers for methods that take one, and for those that join several; why the first."""
    if all(method.at == INPUT for method in chosen):
        return [], [], ""
    if layers is not None:
        given = [layers] if isinstance(layers, (str, nn.Module)) else list(layers)
        names = [layer.name for layer in named_layers(model, given, photos.inputs[:1])]
        return names, names, ""
    found, _ = default_layers(model, photos.inputs, targets)
    names = [layer.name for layer in found]
    return names[-1:], names, found[-1].reason
