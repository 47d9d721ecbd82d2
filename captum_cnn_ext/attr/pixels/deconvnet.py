"""Feature maps of a layer back to pixels, as Zeiler and Fergus drew them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from captum.attr import GradientAttribution, NeuronAttribution
from torch import Tensor

from captum_cnn_ext._engine.backward.autograd_graph import connected
from captum_cnn_ext._engine.backward.coverage import is_rectified
from captum_cnn_ext._engine.backward.rules import RULES, SMOOTH_OPTIONS
from captum_cnn_ext._engine.backward.units_to_pixels import Pass, through_cuts, through_the_graph
from captum_cnn_ext._engine.judging.arguments import Layer, find_layer
from captum_cnn_ext._engine.judging.captum_compat import format_additional_forward_args, log_usage
from captum_cnn_ext._engine.judging.inputs import as_tensors, check_examples
from captum_cnn_ext._engine.receptive_fields.crops import box, crops
from captum_cnn_ext._engine.running.batching import choices_of, in_chunks, rows_of
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site, layer_sites
from captum_cnn_ext._engine.warn_user import warn_user
from captum_cnn_ext._numbers import as_count_or_none
from captum_cnn_ext._renamed import renamed
from captum_cnn_ext.attr.argument_docs import Documented
from captum_cnn_ext.attr.layers.reshape_transform import ReshapeTransform, channel_maps
from captum_cnn_ext.attr.pixels.reconstructions import (
    Reconstructions,
    Seed,
    choose_channels,
    joined,
    seeded_units,
)
from captum_cnn_ext.errors import ArgumentError, choose

# A cut is worth its own forward pass when it is smaller than this part of the image: a cut goes
# forward and back, the whole image only back.
_WORTH_CUTTING = 0.5


class DeconvNet(Documented, NeuronAttribution, GradientAttribution):
    r"""What in the image each feature map responds to: K maps of a layer taken back to pixels.

    From the layer down: poolings put values back where their maxima were, convolutions are
    transposed, and every rectifier passes

    .. math::
        R_x = \mathrm{relu}(R_{f(x)}) \;\text{(deconvnet)}, \qquad
        R_x = 1[x > 0]\, \mathrm{relu}(R_{f(x)}) \;\text{(guided)}, \qquad
        R_x = f'(x)\, R_{f(x)} \;\text{(gradient)}

    The way starts from the activation itself: of the strongest unit of each map (``seed="max"``,
    as in the paper's figures), of the whole map, or of one position.

    Without max-pooling between the input and the layer, a deconvnet picture shows the weights and
    not what is in this image; a warning says so, and ``rule="guided"`` is the one to use. From a
    class score the pictures hardly depend on the class; see :func:`class_blindness`.

    Cost: one forward pass up to the layer and K backward passes from it. Where a unit's field is
    much smaller than the image (read off the forward pass), each unit goes forward and back on its
    own cut of the image instead, many at once, with the same values.

    Reference: Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, 2014,
    arXiv:1311.2901; guided: Springenberg, Dosovitskiy, Brox, Riedmiller, *Striving for Simplicity:
    The All Convolutional Net*, 2015, arXiv:1412.6806.

    Args:
        layer: a module of the model, or its dotted name; usually a rectifier or a pooling.

    Example::

        >>> import torch
        >>> from torchvision.models import vgg11
        >>> from captum_cnn_ext.attr import DeconvNet
        >>> deconvnet = DeconvNet(vgg11().eval(), "features.7")
        >>> x = torch.randn(2, 3, 64, 64)
        >>> deconvnet.attribute(x, channels=[3, 14, 15]).shape
        torch.Size([2, 3, 3, 64, 64])
        >>> strongest = deconvnet.reconstruct(x, top=4)
        >>> strongest.attributions.shape, strongest.channels.shape, strongest.positions.shape
        (torch.Size([2, 4, 3, 64, 64]), torch.Size([2, 4]), torch.Size([2, 4, 2]))
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        device_ids: list[int] | None = None,
    ) -> None:
        NeuronAttribution.__init__(self, forward_func, find_layer(forward_func, layer), device_ids)
        GradientAttribution.__init__(self, forward_func)

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        channels: int | Sequence[int] | Tensor | None = None,
        seed: Seed = "max",
        top: int | None = None,
        rule: str = "deconvnet",
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        **options: Any,
    ) -> Tensor:
        """The pictures alone: ``reconstruct(...).attributions``, (N, K, C, H, W).

        Args:
            options: further arguments of :meth:`reconstruct`.
        """
        return self.reconstruct(
            inputs,
            channels,
            seed,
            top,
            rule,
            additional_forward_args,
            attribute_to_neuron_input,
            **options,
        ).attributions

    @renamed(units_at_once="internal_batch_size")
    def reconstruct(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        channels: int | Sequence[int] | Tensor | None = None,
        seed: Seed = "max",
        top: int | None = None,
        rule: str = "deconvnet",
        additional_forward_args: Any = None,
        attribute_to_neuron_input: bool = False,
        *,
        smooth: str = "gate",
        call: int | None = None,
        crop: bool = True,
        reshape_transform: ReshapeTransform | None = None,
        internal_batch_size: int | None = None,
        show_progress: bool = False,
    ) -> Reconstructions:
        """The pictures with their channels, positions, activations, fields, and the coverage.

        Args:
            inputs: one tensor (N, C, H, W); not modified.
            channels: which feature maps: an int, a list for all examples, a tensor (K,) or (N, K);
                None is all of them, or all that ``top`` chooses from.
            seed: ``"max"`` (each map's strongest unit), ``"map"`` (the whole map), a position
                such as (3, 5), each with the activations as values, also where they are negative
                (before a rectifier); or a tensor of values broadcast to ``(N, K, *positions)``.
            top: only each example's so many channels with the largest maxima, strongest first.
            rule: ``"deconvnet"``, ``"guided"`` or ``"gradient"``.
            attribute_to_neuron_input: take the maps from the layer's input.
            crop: reconstruct units on cuts of the image where that is exact and saves work.
            internal_batch_size: process at most this many examples per forward pass, and this many
                units per backward pass; by default all examples, and as many units as fit.
            show_progress: draw a progress bar over the units.

        Raises:
            ArgumentError: a channel, position or seed that the layer does not have; the layer is
                not reached, or a compiled part hides its operations.
        """
        tensors = as_tensors(inputs)
        if len(tensors) > 1:
            raise ArgumentError(
                "inputs: expected one tensor of images (N, C, H, W), got "
                f"{', '.join(str(tuple(t.shape)) for t in tensors)}; other inputs of the model go "
                "into additional_forward_args"
            )
        image = tensors[0]
        check_examples(tensors)
        choose("rule", rule, RULES)
        choose("smooth", smooth, SMOOTH_OPTIONS)
        extra = format_additional_forward_args(additional_forward_args)
        (site,) = layer_sites(self.forward_func, self.layer, attribute_to_neuron_input, call)
        chunk = as_count_or_none("internal_batch_size", internal_batch_size)
        how = Pass(rule, smooth, chunk, show_progress, self.get_name())

        def run(rows: slice) -> tuple[Reconstructions, bool]:
            part = tuple(rows_of(value, rows, len(image)) for value in extra)
            several = isinstance(channels, Tensor) and channels.ndim > 1
            chosen = choices_of(channels, rows, len(image)) if several else channels
            start = rows_of(seed, rows, len(image)) if isinstance(seed, Tensor) else seed
            return self._run(
                image[rows], part, site, chosen, start, top, how, crop, reshape_transform
            )

        parts = in_chunks(run, len(image), chunk)
        found = joined([part for part, _ in parts])
        found.coverage.warn_of_unknown("DeconvNet")
        _warn_of_pictures_without_the_photo(found, rule, site.name, parts[0][1])
        return found

    def _run(
        self,
        image: Tensor,
        extra: tuple[Any, ...],
        site: Site,
        channels: int | Sequence[int] | Tensor | None,
        seed: Seed,
        top: int | None,
        how: Pass,
        crop: bool,
        reshape_transform: ReshapeTransform | None,
    ) -> tuple[Reconstructions, bool]:
        """The result, and whether the layer itself rectifies, which every rule sees alike."""
        one_place = not isinstance(seed, Tensor) and seed != "map"  # else there is no field to know
        with record(
            self.forward_func,
            [site],
            (image,),
            extra,
            from_inputs=True,
            device_ids=self.device_ids,
            follow=one_place,
        ) as recording:
            outputs = recording.outputs(0)
            if not image.is_floating_point():
                raise ArgumentError(recording.why_no_gradient(None, outputs[0]))
            if len(outputs) > 1 or not outputs[0].requires_grad:
                raise ArgumentError(
                    f"layer {site.name!r}: expected one tensor that depends on the inputs, got "
                    f"{', '.join(str(tuple(t.shape)) for t in outputs)}"
                )
            if not connected(recording.inputs, outputs[0]):
                end = recording.find_end(None)
                raise ArgumentError(
                    f"layer {site.name!r}: has no gradient at the inputs, "
                    + (f"because {end}." if end else "on which it does not depend.")
                )
            layer = channel_maps(outputs[0], (image,), site.name, reshape_transform)
            rectified = is_rectified(layer)
            field = recording.cut_field(layer) if one_place else None
            chosen = choose_channels(layer.detach(), channels, top)
            units = seeded_units(layer.detach(), chosen, seed)
            size = (image.shape[-2], image.shape[-1])
            cuts = crops(field, size) if field and units.positions is not None else None
            alone = not any(isinstance(value, Tensor) for value in extra)
            if not (crop and cuts and alone and cuts.share < _WORTH_CUTTING):
                found = through_the_graph(recording.inputs[0], layer, units, how)
                boxes = _boxes(field, units.positions, size)
                return Reconstructions.of(units, *found, boxes), rectified
        # the graph of the whole images is gone before the cuts build theirs
        del recording, outputs, layer
        on_cuts = through_cuts(self.forward_func, site, extra, image.detach(), cuts, units, how)
        if on_cuts is None:
            return self._run(image, extra, site, channels, seed, top, how, False, reshape_transform)
        boxes = _boxes(field, units.positions, size)
        return Reconstructions.of(units, *on_cuts, boxes), rectified


def _boxes(field: Any, positions: Tensor | None, size: tuple[int, int]) -> Tensor | None:
    """(N, K, 2, 2): [[top, bottom], [left, right]) of each unit's field in the image."""
    if field is None or positions is None:
        return None
    flat = [box(field, position, size) for position in positions.flatten(0, 1).tolist()]
    return torch.tensor(flat, device=positions.device).reshape(*positions.shape[:2], 2, 2)


def _warn_of_pictures_without_the_photo(
    found: Reconstructions, rule: str, layer: str, rectified: bool
) -> None:
    below = sum(found.coverage.rectifiers.values()) - rectified
    if rule == "deconvnet" and found.coverage.switches == 0 and below > 0:
        warn_user(
            f"DeconvNet: there is no max-pooling between the input and layer {layer!r}, so nothing "
            "tells the way back where in this photo the maxima were. A deconvnet picture then "
            "shows the network's weights and is much the same for every photo; use rule='guided'."
        )
    if rule != "gradient" and found.spatial == 0:
        warn_user(
            f"DeconvNet: layer {layer!r} has no positions, like a class score. From a class score "
            f"a {rule} picture hardly depends on the class; class_blindness(model, inputs) "
            "measures it. Choose a layer of feature maps, or a CAM to explain a class."
        )
