"""The loop: an image is changed until a network's objective is high."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.backward.activation_checkpoints import checkpoints_explained
from captum_cnn_ext._engine.backward.autograd_graph import connected
from captum_cnn_ext._engine.backward.lost_gradient import gradient_end
from captum_cnn_ext._engine.judging.arguments import observed_module
from captum_cnn_ext._engine.nested_tensors import tensors_of_output
from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._notebook import drawn_by, saved_by
from captum_cnn_ext._numbers import as_count_or_none, as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.synthesis.callbacks import Callback, Step
from captum_cnn_ext.synthesis.images.canvas import Canvas, Start, canvas_for
from captum_cnn_ext.synthesis.images.parameterizations import ImageParam, MakeImage, Pixels
from captum_cnn_ext.synthesis.objectives.algebra import Objective, View
from captum_cnn_ext.synthesis.objectives.views import Look, views
from captum_cnn_ext.synthesis.presets import find_recipe
from captum_cnn_ext.synthesis.recipe import MakeOptimizer, Recipe
from captum_cnn_ext.synthesis.regularizers import Regularizer, penalties
from captum_cnn_ext.synthesis.transforms import Transform, compose

_SHOW_EVERY = 8  # reading a value for the progress bar waits for the device


@dataclass(frozen=True)
class Synthesis:
    """What an ascent gave.

    Args:
        images: (N, C, H, W) in [0, 1].
        values: (N,), the objective of these images as they are, without transforms.
        history: (steps, N), the objective at each step, of the views that the network saw.
        alpha: (N, 1, H, W), the opacity, where it was asked for.
        parameterization: what was optimised; give it as ``image`` to go on.
        recipe: how.
    """

    images: Tensor
    values: Tensor
    history: Tensor
    alpha: Tensor | None
    parameterization: ImageParam
    recipe: Recipe

    __repr__ = brief
    _repr_png_ = drawn_by("show_images", lambda done: (done.images,))
    save = saved_by("show_images", lambda done: (done.images,))


def maximize(
    forward_func: Callable[..., Any],
    objective: Objective,
    image: Start = 224,
    *,
    recipe: str | Recipe = "transferable",
    parameterization: MakeImage | None = None,
    steps: int | None = None,
    optimizer: MakeOptimizer | None = None,
    transforms: Sequence[Transform] | None = None,
    regularizers: Sequence[Regularizer] | None = None,
    count: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    alpha: bool = False,
    grey: bool = False,
    seed: int = 0,
    additional_forward_args: Any = None,
    callbacks: Sequence[Callback] = (),
    show_progress: bool = False,
) -> Synthesis:
    r"""Images that an objective likes: :math:`\arg\max_x \mathbb{E}_t\, f(\mathrm{net}(t(x))) -
    R(x)`, by gradient ascent.

    The image is in [0, 1]; the network gets ``(t(image) - mean) / std``. For signals from a to b
    that is ``mean=[-a / (b - a)], std=[1 / (b - a)]``. The model runs in the mode it is in, and
    is left as it was, also when the ascent is interrupted.

    Cost: for each step one forward pass up to the deepest layer that the objective looks at, and
    one backward pass from there to the image; one forward pass at the end.

    Reference: Olah, Mordvintsev, Schubert, *Feature Visualization*, 2017, Distill; the presets
    name theirs.

    Args:
        forward_func: the model, or any function of the images that runs it. For what several
            networks agree on, ``lambda x: (one(x) + two(x)) / 2``; where they differ in size or
            normalisation, a function that gives each what it takes (the second example).
        objective: what to maximise, such as ``Channel("layer4", 3)`` or ``Target(285)``.
        image: a size to begin with noise: 224, (224, 224), (3, 224, 224) or (1, 3, 224, 224); a
            tensor (C, H, W) or (N, C, H, W) in [0, 1] to begin with; or an :class:`ImageParam`,
            which is optimised in place. A network of signals takes (12, 256), one of volumes or
            videos (3, 8, 56, 56).
        recipe: a :class:`Recipe`, or the name of a preset.
        parameterization, steps, optimizer, transforms, regularizers: in place of the recipe's;
            any ``regularizers`` also replace the default's ``SkipGradient``.
        count: how many images; by default as many as the objective is about.
        mean, std: the model's normalisation, one number per channel.
        alpha: optimise an opacity as well: the image stands before random backgrounds, and what
            is not needed becomes transparent.
        grey: one channel is optimised and repeated to all: a grey image for an RGB network.
        seed: for all random numbers: the start, the transforms, the backgrounds.
        additional_forward_args: further arguments of the model.
        callbacks: each gets every :class:`Step`; one that returns True ends the ascent.
        show_progress: draw a progress bar with the mean objective.

    Returns:
        the images, what they reached, and the history; everything detached.

    Raises:
        ArgumentError: a layer, channel, shape or name that does not fit; the objective does not
            depend on the image.
        FloatingPointError: the objective became infinite or not a number.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext.synthesis import Channel, Target, maximize
        >>> model = resnet18().eval()
        >>> found = maximize(model, Channel("layer1", [3, 7]), image=64, steps=4)
        >>> found.images.shape, found.history.shape
        (torch.Size([2, 3, 64, 64]), torch.Size([4, 2]))
        >>> more = maximize(model, Channel("layer1", [3, 7]), found.parameterization, steps=4)
        >>> grey = maximize(model, Channel("layer1", 3), image=64, grey=True, steps=4).images
        >>> bool((grey[:, 0] == grey[:, 2]).all())
        True
        >>> other = resnet18().eval()
        >>> def both(image):  # in [0, 1], as mean and std are not given to maximize
        ...     larger = torch.nn.functional.interpolate(image, (80, 80), mode="bilinear")
        ...     return (model((image - 0.5) / 0.2) + other((larger - 0.4) / 0.3)) / 2
        >>> found = maximize(both, Target(285), image=64, steps=4)
        >>> bool(torch.allclose(found.values, both(found.images)[:, 285], atol=1e-3))
        True
    """
    chosen = find_recipe(recipe).overridden(
        parameterization=parameterization,
        steps=steps,
        optimizer=optimizer,
        transforms=transforms,
        regularizers=regularizers,
    )
    if not isinstance(objective, Objective):
        raise TypeError(
            f"objective: expected an Objective such as Target(3), got {type(objective).__name__}"
        )
    with torch.inference_mode(False), torch.enable_grad():
        canvas = canvas_for(
            observed_module(forward_func),
            image,
            chosen.parameterization,
            images=max(objective.images, as_count_or_none("count", count) or 1),
            mean=mean,
            std=std,
            alpha=alpha,
            seed=as_seed("seed", seed),
            grey=grey,
        )
        with views(forward_func, objective, canvas, additional_forward_args) as view:
            ascent = _Ascent(objective, canvas, chosen, view, observed_module(forward_func))
            history = ascent.run(callbacks, show_progress)
            with torch.no_grad():
                shown = canvas.image().detach()
                values = ascent.judge(shown)
            finish = chosen.finish or (lambda images: images)
            return Synthesis(
                finish(shown),
                values,
                history,
                canvas.opacity(),
                canvas.param,
                chosen,
            )


class _Ascent:
    """The state of one ascent; it lives as long as the call."""

    def __init__(
        self,
        objective: Objective,
        canvas: Canvas,
        recipe: Recipe,
        look: Look,
        root: torch.nn.Module | None,
    ) -> None:
        self.objective, self.canvas, self.recipe, self.look = objective, canvas, recipe, look
        self.root = root
        self.transform = compose(recipe.transforms)
        self.parameters = canvas.parameters()
        if not self.parameters:
            raise ArgumentError("image: its parameterisation has no parameters to optimise")
        self.before = [p.grad for p in self.parameters]
        self.pixels = canvas.param if isinstance(canvas.param, Pixels) else None
        wrong = [type(r).__name__ for r in recipe.regularizers if r.on_pixels]
        if wrong and self.pixels is None:
            raise ArgumentError(
                f"regularizers: {wrong[0]} changes pixels; expected parameterization=Pixels, got "
                f"{type(canvas.param).__name__}"
            )

    def run(self, callbacks: Sequence[Callback], show_progress: bool) -> Tensor:
        optimizer = self.recipe.optimizer(self.parameters)
        history: list[Tensor] = []
        total = self.recipe.steps
        try:
            with tqdm(total=total, desc=str(self.objective), disable=not show_progress) as bar:
                for index in range(total):
                    step = self._step(optimizer, index)
                    history.append(step.values)
                    bar.update(1)
                    if show_progress and index % _SHOW_EVERY == 0:
                        bar.set_postfix(objective=f"{float(step.values.mean()):.4g}")
                    if any([callback(step) for callback in callbacks]):
                        break
        finally:
            for parameter, gradient in zip(self.parameters, self.before, strict=True):
                parameter.grad = gradient
        found = torch.stack(history)
        self._judge_history(found)
        return found

    def judge(self, images: Tensor) -> Tensor:
        """The objective of images as they are, (N,)."""
        return self.objective.score(self.look(images, lambda photo: photo)).detach()

    def _step(self, optimizer: torch.optim.Optimizer, index: int) -> Step:
        generator, state = self.canvas.generator, self.canvas.generator.get_state()
        seen: list[Step] = []

        def transformed(images: Tensor) -> Tensor:
            generator.set_state(state)  # the same draws for a photo, and for each evaluation
            return self.transform(images, generator)

        def closure() -> Tensor:
            with self.canvas.full_precision():
                image = self.canvas.image()
                before = self.canvas.on_background(image)
                images = transformed(before)
            view = self.look(images, transformed)
            if index == 0 and not seen:
                self.objective.check(view)
            values = self.objective.score(view)
            # a walk over the graph; what is known of the first step holds for the others
            fixed = index > 0 or bool(seen)
            if not (values.requires_grad if fixed else connected(self.parameters, values.sum())):
                look = partial(self.look, images, transformed)
                end = gradient_end(self.root, [images], look, self.objective.score)
                raise ArgumentError(self._no_gradient(end))
            self._edit_backward(images, view)
            against = penalties(self.recipe.regularizers, image)
            held = values if against is None else values - against.to(values)
            loss = -self.canvas.weighed(held).sum()
            self._set_gradients(loss)
            seen.append(Step(index, self.recipe.steps, image.detach(), values.detach()))
            return loss.detach()

        optimizer.step(closure)  # type: ignore[arg-type]
        self._project(index)
        return seen[0]

    def _edit_backward(self, images: Tensor, view: View) -> None:
        seen = tensors_of_output((list(view.tensors.values()), view.output))
        for regularizer in self.recipe.regularizers:
            regularizer.edit_backward(images, seen)

    def _set_gradients(self, loss: Tensor) -> None:
        with checkpoints_explained():
            gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            gradient = torch.zeros_like(parameter) if gradient is None else gradient
            for regularizer in self.recipe.regularizers:
                gradient = regularizer.edit_gradient(gradient)
            parameter.grad = gradient

    def _no_gradient(self, end: str) -> str:
        objective = f"objective {str(self.objective)!r}"
        if not end:
            return f"{objective}: does not depend on the image"
        return f"{objective}: has no gradient at the image, because {end}"

    def _project(self, index: int) -> None:
        if self.pixels is None:
            return
        with torch.no_grad():
            pixels = self.pixels.pixels
            gradient = pixels.grad if pixels.grad is not None else torch.zeros_like(pixels)
            changed = pixels.detach()
            for regularizer in self.recipe.regularizers:
                changed = regularizer.project(changed, -gradient, index)
            if self.pixels.clip:
                changed = changed.clamp(0, 1)
            if changed is not pixels:
                pixels.copy_(changed)

    def _judge_history(self, history: Tensor) -> None:
        if not bool(history.isfinite().all()):
            step = int((~history.isfinite()).any(1).nonzero()[0])
            raise FloatingPointError(
                f"objective {str(self.objective)!r}: infinite or not a number at step {step}; "
                "take a smaller learning rate, or single precision"
            )
        still = (history == history[0]).all(0).nonzero().flatten().tolist()
        if len(history) > 1 and still:
            warnings.warn(
                f"objective {str(self.objective)!r}: never changed for image(s) {still}. A "
                "rectifier that is off for this start gives no gradient; look at the layer before "
                "it, or begin with another image or seed.",
                stacklevel=4,
            )
