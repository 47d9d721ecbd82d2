"""A method at its place, ready to run, which prints itself as Python."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.backward.batch_norm_of_one_image import one_image_norms
from captum_cnn_ext._engine.judging.arguments import find_layer
from captum_cnn_ext._engine.judging.output_targets import ScoredModel, is_function
from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.running.graph_nodes import NodeLayer
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.methods import settings
from captum_cnn_ext.methods.expression import Expression, evaluate, imported, source, variable
from captum_cnn_ext.methods.known import CAPTUM, CONTROL, INPUT, LAYER, LAYERS, KnownMethod

AT_ONCE = 8  # images that go through the network together
MODEL, X, TARGET = variable("model"), variable("x"), variable("target")


@dataclass(frozen=True)
class Call:
    """One method of one model at one place, with its settings: it runs, and it prints itself."""

    known: KnownMethod
    model: nn.Module
    expression: Expression
    parameters: str
    seed: int = 0

    __repr__ = brief

    @property
    def name(self) -> str:
        """The method's name."""
        return self.known.name

    @property
    def origin(self) -> str:
        """The library it comes from."""
        return self.known.origin

    @property
    def reads_scores(self) -> bool:
        """Whether Captum's code reads the model's output, which takes class indices only."""
        return self.known.noisy or self.known.origin == CAPTUM

    @property
    def code(self) -> str:
        """The same as Python, giving ``heat`` from ``model``, ``x`` and ``target``."""
        seeded = f"import torch\n\ntorch.manual_seed({self.seed})\n" if self.known.noisy else ""
        return seeded + source(self.expression, "heat")

    def attribute(self, inputs: Tensor, targets: Any) -> Tensor:
        """The map of each input for its target. The caller's random state stays as it is."""
        model = self.model
        if is_function(targets) and self.reads_scores:
            each = targets if isinstance(targets, list) else [targets] * len(inputs)
            alone = [
                replace(self, model=ScoredModel(model, [one])).attribute(x, None)
                for x, one in zip(torch.split(inputs, 1), each, strict=True)
            ]
            return torch.cat(alone)
        if self.reads_scores:
            model = _ForCaptum(model, inputs.dtype)
        with state_as_found(None, [inputs]), one_image_norms([inputs]):
            torch.manual_seed(self.seed)
            found: Tensor = evaluate(self.expression, model=model, x=inputs.clone(), target=targets)
        return found.detach()

    def maps(self, inputs: Tensor, targets: Sequence[Any]) -> Tensor:
        """As `attribute` for any number of images, a few at once: maps (N, C, H, W).

        Raises:
            ArgumentError: what the method gives has another shape.
        """
        own: Any = list(targets)
        own = own if is_function(own) else torch.tensor(own, device=inputs.device)
        starts = range(0, len(inputs), AT_ONCE)
        parts = [(inputs[i : i + AT_ONCE], own[i : i + AT_ONCE]) for i in starts]
        return as_maps(torch.cat([self.attribute(*part) for part in parts]), len(inputs))


class _ForCaptum(nn.Module):
    """A model as Captum's classes need it.

    It takes single precision where it has half, because NoiseTunnel's noise makes the inputs so,
    and it returns a tensor.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype

    def forward(self, inputs: Tensor) -> Tensor:
        return output_tensor(self.model(inputs.to(self.dtype)))

    def get_submodule(self, target: str) -> nn.Module:
        return self.model.get_submodule(target)


def call_of(
    known: KnownMethod,
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str] = (),
    seed: int = 0,
    scores: str = "",
) -> Call:
    """The call of a method for such inputs, at these layers if it explains layers.

    ``scores`` is what takes the scores out of the model's output, where that is no tensor: the
    code of Captum's classes needs it.

    Raises:
        ArgumentError: there is no such layer.
    """
    options = getattr(settings, known.settings)(inputs, seed) if known.settings else {}
    kind = imported(known.path)
    if known.origin == CONTROL:
        expression = kind(X, **options)
    else:
        # the layers of an exported program have names only
        inlined = [isinstance(find_layer(model, layer), NodeLayer) for layer in layers]
        modules = [
            layer if named else MODEL.get_submodule(layer)
            for layer, named in zip(layers, inlined, strict=True)
        ]
        places: dict[str, list[Any]] = {INPUT: [], LAYER: modules[:1], LAYERS: [modules]}
        reads = scores and known.origin == CAPTUM
        forward = variable("model", f"lambda x: model(x){scores}") if reads else MODEL
        method = kind(forward, *places[known.at], **known.creation)
        if known.noisy:
            method = imported("captum.attr.NoiseTunnel")(method)
        x = X.requires_grad_() if known.at == INPUT else X
        expression = method.attribute(x, target=TARGET, **options)
        expression = expression.abs() if known.absolute else expression
    words = [f"{name}={value!r}" for name, value in {**known.creation, **options}.items()]
    return Call(known, model, expression, ", ".join(words) or "defaults", seed)


def calls_at(
    model: nn.Module,
    inputs: Tensor,
    layers: Sequence[str],
    joined: Sequence[str],
    chosen: Sequence[KnownMethod],
    seed: int = 0,
    scores: str = "",
) -> dict[str, list[Call]]:
    """The chosen methods by the place they explain: the input, each layer, some layers joined."""

    def at(where: str, place: Sequence[str]) -> list[Call]:
        return [call_of(m, model, inputs, place, seed, scores) for m in chosen if m.at == where]

    places = {INPUT: at(INPUT, ()), **{layer: at(LAYER, (layer,)) for layer in layers}}
    places.setdefault(joined_name(joined), []).extend(at(LAYERS, joined))
    return {place: calls for place, calls in places.items() if calls}


def joined_name(layers: Sequence[str]) -> str:
    """The place of methods that join several layers."""
    return " + ".join(layers)


def as_maps(attribution: Tensor, photos: int) -> Tensor:
    """An attribution that can be drawn: (N, C, H, W).

    Raises:
        ArgumentError: it has another shape.
    """
    if attribution.ndim != 4 or len(attribution) != photos:
        shape = tuple(attribution.shape)
        raise ArgumentError(f"gives shape {shape}, which is no map for each photo")
    return attribution
