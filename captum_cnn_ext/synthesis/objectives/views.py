"""How an ascent shows images to the network, and what its objective sees of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from captum_cnn_ext._engine.judging.arguments import find_layer
from captum_cnn_ext._engine.running.layer_sites import layer_sites
from captum_cnn_ext._engine.running.repeated_passes import Passes, graph_passes
from captum_cnn_ext.synthesis.images.canvas import Canvas
from captum_cnn_ext.synthesis.objectives.algebra import Objective, Place, View

Look = Callable[[Tensor, Callable[[Tensor], Tensor]], View]
"""From images as transformed, and what transforms a photo in the same way, to a view."""


@contextmanager
def views(
    forward_func: Callable[..., Any],
    objective: Objective,
    canvas: Canvas,
    additional_forward_args: Any,
) -> Iterator[Look]:
    """A function that shows the network images and gives what the objective needs to see."""
    sites = [_site(forward_func, place) for place in objective.places]
    with graph_passes(
        forward_func,
        sites,
        canvas.like,
        additional_forward_args,
        need_output=objective.needs_output,
    ) as passes:

        def look(images: Tensor, same: Callable[[Tensor], Tensor]) -> View:
            photos: dict[int, View] = {}

            def of(photo: Tensor) -> View:
                if id(photo) not in photos:
                    whole = photo.to(images).expand(len(images), *photo.shape[1:])
                    photos[id(photo)] = _view(objective, passes, canvas, same(whole), of, False)
                return photos[id(photo)]

            return _view(objective, passes, canvas, images, of, True)

        yield look


def _site(forward_func: Callable[..., Any], place: Place) -> Any:
    layer = find_layer(forward_func, place.layer)
    (site,) = layer_sites(forward_func, layer, place.at_input, place.call)
    return site


def _view(
    objective: Objective,
    passes: Passes,
    canvas: Canvas,
    images: Tensor,
    of: Callable[[Tensor], View],
    graph: bool,
) -> View:
    seen = passes(canvas.normalized(images))
    tensors = [tuple(t if graph else t.detach() for t in place) for place in seen.tensors]
    return View(
        dict(zip(objective.places, tensors, strict=True)),
        seen.output if graph else None,
        len(images),
        of,
    )
