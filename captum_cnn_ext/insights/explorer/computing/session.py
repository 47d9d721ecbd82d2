"""What the explorer computes, without the page: predictions, maps, units, explanations."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.rules import RULES
from captum_cnn_ext._engine.running.streaming import home_of
from captum_cnn_ext.attr import suggest_layers
from captum_cnn_ext.attr.layers.reshape_transform import channel_maps
from captum_cnn_ext.errors import ArgumentError, choose, nearest
from captum_cnn_ext.evidence import TopPatches
from captum_cnn_ext.insights.audited_model import AuditedModel, ClassNames, audited_model
from captum_cnn_ext.insights.comparison import Comparison
from captum_cnn_ext.insights.explorer.computing import library_calls, what_it_says
from captum_cnn_ext.insights.explorer.computing.answer_cache import AnswerCache
from captum_cnn_ext.insights.explorer.computing.listing import ExploredLayer, explored_layers
from captum_cnn_ext.insights.explorer.computing.questions_and_answers import (
    Patch,
    Photo,
    Reconstruction,
    Unit,
    UnitFacts,
)
from captum_cnn_ext.insights.explorer.computing.synthesized_units import PatternStore
from captum_cnn_ext.insights.explorer.computing.unit_patches import UnitPatches
from captum_cnn_ext.insights.inputs import Preprocess, read_photos
from captum_cnn_ext.insights.reconstructing import saturates
from captum_cnn_ext.methods import CONTROL, NO_MAP, known_methods
from captum_cnn_ext.methods.expression import Expression, evaluate, variable
from captum_cnn_ext.models import LoadedModel

SORTS = ("max", "index")
SEEDS = ("max", "map")
PER_PAGE = 60  # units of a grid
KEPT = 16  # activations of so many images and layers


class ExplorerSession:
    """A model and images, asked one thing after another; several threads may ask at once.

    Nothing here knows of a page. What is asked again soon is kept.

    Args:
        model: a network in evaluation mode that gives class scores (N, classes), boxes or maps of
            classes; or what `captum_cnn_ext.models.load_model` returns.
        images: a dict of names and PIL images, or a list of PIL images.
        preprocess: from a PIL image to a tensor (C, H, W); None takes the loaded model's.
        class_names: the name of each class.
        top_patches: what `evidence.top_patches` found for a layer, or several of these; at other
            layers the patches are those of ``images``.
        patch_images: the data set or folder that was ranked.
        cache: a folder for synthesised images; None keeps them as long as the session.
        sources: for each name a Python expression that reads the image, for copied code.

    Raises:
        ArgumentError: no image, or a model that gives none of these for them.
        TypeError: arguments of a wrong type.

    Example::

        >>> from PIL import Image
        >>> from torchvision.models import ResNet18_Weights, resnet18
        >>> from captum_cnn_ext.insights.explorer import ExplorerSession
        >>> model, transform = resnet18().eval(), ResNet18_Weights.DEFAULT.transforms()
        >>> session = ExplorerSession(model, [Image.new("RGB", (64, 64))], preprocess=transform)
        >>> session.maps(next(iter(session.photos.values())), "layer3").shape
        torch.Size([256, 14, 14])
    """

    def __init__(
        self,
        model: nn.Module | LoadedModel,
        images: Mapping[str, Image.Image] | Sequence[Image.Image],
        *,
        preprocess: Preprocess | None = None,
        class_names: ClassNames | None = None,
        top_patches: TopPatches | Sequence[TopPatches] = (),
        patch_images: Any = None,
        cache: str | Path | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.subject: AuditedModel = audited_model(
            model,
            tensors=False,
            pictures=images,
            preprocess=preprocess,
            class_names=class_names,
        )
        self._kept = AnswerCache(KEPT)
        ranked = [top_patches] if isinstance(top_patches, TopPatches) else list(top_patches)
        read = read_photos(images, self.subject.preprocess, self.model)  # judges them
        origins = sources or {}
        self.photos = {
            name: Photo(name, picture.convert("RGB"), origins.get(name, f"images[{name!r}]"))
            for name, picture in zip(read.names, read.pictures, strict=True)
        }
        self.unit_patches = UnitPatches(
            self.model, self.subject.preprocess, self.photos, ranked, patch_images
        )
        first, _ = what_it_says.output_for(self.model, read.inputs[:1])
        self.kind, self.classes = what_it_says.kind_of(first)
        self.subject = self.subject.of_outputs(self.classes)
        self.layers: dict[str, ExploredLayer] = {
            layer.name: layer for layer in explored_layers(self.model, read.inputs[:1])
        }
        self.patterns = PatternStore(self.model, self.subject.mean, self.subject.std, cache)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.subject.model

    @cached_property
    def suggested(self) -> list[str]:
        """The layers worth looking at first, the usual choice for maps of a class at the front."""
        try:
            found = suggest_layers(self.model, self.inputs(next(iter(self.photos.values()))))
        except ArgumentError:
            return [list(self.layers)[-1]]
        return [layer.name for layer in found if layer.name in self.layers]

    @cached_property
    def methods(self) -> list[str]:
        """The methods that give a map for a class; none that draws from threads' random state."""
        known = known_methods().values()
        return [m.name for m in known if m.at != NO_MAP and not m.noisy and m.origin != CONTROL]

    def layer(self, name: str) -> ExploredLayer:
        """A row of the table.

        Raises:
            ArgumentError: there is none of this name.
        """
        if name not in self.layers:
            raise ArgumentError(
                f"layer={name!r}: not among the layers to look at{nearest(name, list(self.layers))}"
            )
        return self.layers[name]

    def inputs(self, photo: Photo) -> Tensor:
        """The network input of an image, (1, C, H, W).

        Raises:
            ArgumentError, TypeError: the preprocessing gives something else.
        """
        seen, preprocess = {photo.name: photo.seen}, self.subject.preprocess
        return self._kept.once(
            ("inputs", photo, photo.whole), lambda: read_photos(seen, preprocess, self.model).inputs
        )

    def top_classes(self, photo: Photo, count: int = 5) -> list[tuple[int, float]]:
        """The most probable classes of an image, with their probabilities."""
        return [(one.label, one.share) for one in self.says(photo, count)]

    def says(self, photo: Photo, count: int = 5) -> list[what_it_says.Said]:
        """What the network says of an image, the surest first: classes, boxes or areas."""

        def ask() -> list[what_it_says.Said]:
            found = what_it_says.output_for(self.model, self.inputs(photo))
            return what_it_says.everything_said(self.kind, *found)

        return self._kept.once(("says", photo), ask)[:count]

    def maps(self, photo: Photo, layer: str) -> Tensor:
        """The feature maps of a layer for an image, (C, H, W), or (C,) of single units."""
        call = library_calls.feature_maps(self.layer(layer))

        def read() -> Tensor:
            inputs = self.inputs(photo)
            found: Tensor = evaluate(call, model=self.model, x=inputs)
            return channel_maps(found, (inputs,), layer, None)[0]

        return self._kept.once(("maps", photo, layer), read)

    def gradients(self, photo: Photo, layer: str, origin: Unit) -> Tensor:
        """The gradient of a frozen unit at a layer before it, (C, H, W) or (C,)."""
        ends = self.layer(layer), self.layer(origin.layer)
        call = library_calls.gradients(*ends, origin.channel)

        def read() -> Tensor:
            found: Tensor = evaluate(call, model=self.model, x=self.inputs(photo))
            return found[0]

        return self._kept.once(("gradients", photo, layer, origin), read)

    def reconstruction_call(self, unit: Unit, rule: str, seed: str) -> Expression:
        """The call that takes a unit back to pixels."""
        at_input = saturates(self.model, unit.layer)
        at = self.layer(unit.layer)
        return library_calls.reconstructions(at, unit.channel, rule, seed, at_input)

    def sign(self, photo: Photo, unit: Unit) -> str:
        """Which values of a unit's map a picture of it shows."""
        own = self._checked(self.maps(photo, unit.layer), unit)[unit.channel]
        return "all" if bool((own < 0).any()) else "positive"

    def order(self, maps: Tensor, sort: str) -> list[int]:
        """Channels of maps (C, ...) in the order in which a grid shows them.

        Args:
            sort: "index", or "max", the largest maximum first.

        Raises:
            ArgumentError: another order.
        """
        if choose("sort", sort, SORTS) == "index":
            return list(range(len(maps)))
        values = torch.where(maps.isfinite(), maps, torch.zeros_like(maps)).flatten(1)
        return list(map(int, values.amax(1).argsort(descending=True, stable=True)))

    def facts(self, photo: Photo, unit: Unit) -> UnitFacts:
        """Numbers of a unit.

        Raises:
            ArgumentError: the layer has no such channel.
        """
        maps = self._checked(self.maps(photo, unit.layer), unit)
        return UnitFacts.of(maps, unit.channel)

    def reconstruction(
        self, photo: Photo, unit: Unit, rule: str = "guided", seed: str = "max"
    ) -> Reconstruction:
        """A unit taken back to the pixels of an image by a backward rule.

        Of an activation with a ceiling the maps before it are taken: at the ceiling it passes
        nothing back.

        Args:
            rule: "guided", "deconvnet" or "gradient".
            seed: "max" begins at the strongest position, "map" at the whole map.

        Raises:
            ArgumentError: no such channel, rule or seed.
        """
        self._checked(self.maps(photo, unit.layer), unit)
        how = choose("rule", rule, RULES), choose("seed", seed, SEEDS)
        call = self.reconstruction_call(unit, *how)
        found = evaluate(call, model=self.model, x=self.inputs(photo))
        remark = ""
        if rule == "deconvnet" and not found.coverage.switches:
            remark = (
                "No max-pooling lies before this layer: a deconvnet picture shows the weights, "
                "and is the same for every image. Guided shows what is in this one."
            )
        return Reconstruction(found.attributions[0, 0], remark)

    def patches(self, unit: Unit, rule: str = "guided") -> list[Patch]:
        """The patches that excite a unit most, strongest first, with the pixels that drive it.

        Raises:
            ArgumentError: no such rule; the images that were ranked are not where they were.
        """
        call = self.reconstruction_call(unit, choose("rule", rule, RULES), "max")

        def back(inputs: Tensor) -> Tensor:
            x = inputs.to(*home_of(self.model))
            pictures: Tensor = evaluate(call, model=self.model, x=x).attributions[:, 0]
            return pictures

        return self.unit_patches.of(self.layer(unit.layer), unit.channel, back)

    def explain(
        self,
        photos: Sequence[Photo],
        methods: Sequence[str],
        *,
        layer: str | None = None,
        target: int | str | None = None,
    ) -> Iterator[tuple[str, Comparison | ArgumentError]]:
        """Maps of a class by one method after another: its name and what it gave.

        A method that does not fit the layer gives its error, and the others go on.

        Args:
            photos: one or more images.
            methods: names as in `known_methods`.
            layer: for methods that explain a layer; None is the suggested one.
            target: the class, or what a command line says, such as ``box:0``; None is each image's
                most probable class.
        """
        pictures = {photo.name: photo.seen for photo in photos}
        if len(pictures) < len(photos):
            raise ArgumentError("photos: two have one name")
        names = variable("class_names")
        for name in methods:
            try:
                call = library_calls.explanation([name], layer, target, class_names=names)
                found = evaluate(
                    call,
                    model=self.model,
                    pictures=pictures,
                    preprocess=self.subject.preprocess,
                    class_names=self.subject.class_names,
                )
            except ArgumentError as error:
                yield name, error
            else:
                yield name, found

    def differences(self, first: Photo, second: Photo, layer: str) -> list[tuple[int, float]]:
        """Channels that two images excite most differently: number, distance of their maps."""
        both = library_calls.apart(variable("one"), variable("other"))
        distance = evaluate(both, one=self.maps(first, layer), other=self.maps(second, layer))
        best = distance.sort(descending=True, stable=True)
        return list(zip(best.indices.tolist(), best.values.tolist(), strict=True))

    def _checked(self, maps: Tensor, unit: Unit) -> Tensor:
        if not 0 <= unit.channel < len(maps):
            raise ArgumentError(
                f"unit={unit.channel}: expected 0 to {len(maps) - 1}, the channels of "
                f"{unit.layer!r}"
            )
        return maps
