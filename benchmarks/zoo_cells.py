"""What is called on each network of the zoo, and how each answer is judged by its values.

A cell is a function of (network) that gives its result for a batch, with the second example's
result alone, and raises ``Wrong`` where a value differs from a literal reference.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import captum.attr
import numpy as np
import torch
from torch import Tensor
from zoo_networks import Network, network

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from references import activation_and_gradient
from references_cam_variants import eigen_cam, finer_cam
from references_scores import activation, masks_of

from captum_cnn_ext import attr, evidence
from captum_cnn_ext.attr.pixels.random_masks import RandomMasks

TARGETS = [1, 3]
CLOSE = 2e-3  # of the largest value; float32 through a hundred layers
ROUNDING = 1e-13  # what exact zeros become in float64
MASKS = 3  # of RISE
PATH = [float(p) for p in (np.polynomial.legendre.leggauss(3)[0] + 1) / 2]
WEIGHTS = [float(w) / 2 for w in np.polynomial.legendre.leggauss(3)[1]]


class Wrong(AssertionError):
    """An answer that differs from what it must be."""


def same(found: Tensor, expected: Tensor, what: str) -> None:
    scale = float(expected.abs().max())
    if found.shape != expected.shape:
        raise Wrong(f"{what}: shape {tuple(found.shape)} for {tuple(expected.shape)}")
    off = float((found.double() - expected.double()).abs().max())
    if not off <= CLOSE * scale + ROUNDING:
        raise Wrong(f"{what}: off by {off:.1e} where the largest is {scale:.1e}")


class Sight:
    """A network at its layer: the plain autograd evidence of it, computed once."""

    def __init__(self, network: Network) -> None:
        self.net, self.model, self.x = network, network.model, network.x
        self.layer = network.layers[0]
        self._wide: Sight | None = None
        self.module = self.model.get_submodule(self.layer)
        self.a, self.g = self.gradient(self.x)
        with torch.no_grad():
            self.output = self.model(self.x)

    def in_float64(self) -> "Sight":
        if self._wide is None:
            # built again: some networks cache tensors, which cannot be copied
            model = network(self.net.source, self.net.name).model.double()
            self._wide = Sight(replace(self.net, model=model, x=self.x.double()))
        return self._wide

    def gradient(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pair = activation_and_gradient(self.model, self.module, x, TARGETS)
        return self.maps(pair[0]), self.maps(pair[1])

    def maps(self, tensor: Tensor) -> Tensor:
        return tensor if self.net.reshape is None else self.net.reshape(tensor)

    @torch.no_grad()
    def with_maps(
        self, change: Callable[[Tensor], None], maps: Callable[[Tensor], Tensor] | None = None
    ) -> Tensor:
        """The targets' scores when ``change`` writes into the layer's maps."""

        def write(_, __, output):
            output = output.clone()
            change((maps or self.maps)(output))  # a view: what is written is the layer's
            return output

        calls, handle = [], None
        count = self.module.register_forward_hook(lambda *_: calls.append(1))
        self.model(self.x)
        count.remove()
        seen: list[int] = []

        def last(module, args, output):
            seen.append(1)
            return write(module, args, output) if len(seen) == len(calls) else output

        handle = self.module.register_forward_hook(last)
        try:
            return self.scores(self.model(self.x))
        finally:
            handle.remove()

    def scores(self, output: Tensor) -> Tensor:
        return torch.stack([output[n, c] for n, c in enumerate(TARGETS)])

    def total(self, parts: Tensor) -> Tensor:
        return parts.sum(1, keepdim=True)


# --- literal references of maps, from activations and gradients ---------------------------------


def mean(t: Tensor) -> Tensor:
    return t.flatten(2).mean(2).reshape(*t.shape[:2], *[1] * (t.ndim - 2))


def plus_plus(s: Sight) -> Tensor:
    a, g = s.a.double(), s.g.double()
    denominator = 2 * g**2 + a.flatten(2).sum(2).reshape(*a.shape[:2], 1, 1) * g**3
    alpha = torch.where(denominator == 0, 0, g**2 / denominator)
    return s.total((alpha * g.relu()).sum((2, 3), keepdim=True) * a)


def x_grad(s: Sight) -> Tensor:
    a, g = s.a.double(), s.g.double()
    sums, noise = a.sum((2, 3), keepdim=True), a.abs().sum((2, 3), keepdim=True) * 1.2e-7
    return s.total(
        torch.where(sums.abs() <= noise, 0, (g * a).sum((2, 3), keepdim=True) / sums) * a
    )


def finer(s: Sight) -> Tensor:
    if s.net.reshape is not None:
        raise NotImplementedError
    return finer_cam(s.model, s.module, s.x, TARGETS, gamma=1.0, references=3)


def influence(s: Sight) -> Tensor:
    parts = [w * activation_and_gradient(s.model, s.module, p * s.x, TARGETS)[1]
             for p, w in zip(PATH, WEIGHTS, strict=True)]  # fmt: skip
    return sum(parts)


REFERENCES: dict[str, Callable[[Sight], Tensor]] = {
    "LayerHiResCam": lambda s: s.total(s.a * s.g),
    "LayerLayerCam": lambda s: s.total(s.a * s.g.relu()),
    "LayerXGradCam": x_grad,
    "LayerGradCamPlusPlus": plus_plus,
    "LayerSmoothGradCamPlusPlus": plus_plus,
    "LayerEigenCam": lambda s: eigen_cam(s.a),
    "LayerEigenGradCam": lambda s: eigen_cam(s.a, s.g),
    "LayerCam": lambda s: s.total(s.a * s.g) * s.a[0, 0].numel(),  # where CAM is defined
    "LayerFinerCam": finer,
    "InternalInfluence": influence,
    "LayerFeatureMaps": lambda s: activation_and_gradient(s.model, s.module, s.x, TARGETS)[0],
}


# --- checks against passes with a hook -----------------------------------------------------------


def check_ablation(s: Sight, parts: Tensor) -> None:
    y = s.scores(s.output).double().reshape(2, 1, 1)
    for k in (0, s.a.shape[1] // 2, s.a.shape[1] - 1):
        if not bool(y.all()):
            continue  # a score of 0 (after a last ReLU): the map is 0 by definition
        fall = y - s.with_maps(lambda a, k=k: a[:, k].zero_()).double().reshape(2, 1, 1)
        # a fall is a difference of scores: it is known to the rounding of these
        allowed = 1e-5 * (1 + y.abs()) / y.abs() * s.a[:, k].abs() + CLOSE * parts.abs().max()
        if not bool(((parts[:, k] - fall / y.abs() * s.a[:, k]).abs() <= allowed).all()):
            raise Wrong(f"channel {k}: not the fall of the score without it")


def check_recipro(s: Sight, found: Tensor) -> None:
    for h, w in {(0, 0), (s.a.shape[2] - 1, 0), (0, s.a.shape[3] - 1)}:

        def alone(a: Tensor, h: int = h, w: int = w) -> None:
            kept = a[:, :, h, w].clone()
            a.zero_()
            a[:, :, h, w] = kept

        same(found[:, 0, h, w], s.with_maps(alone), f"position {h}, {w}")


def check_score(s: Sight, found: Tensor) -> None:
    expected = []
    for n, target in enumerate(TARGETS):
        a, one = s.a[n : n + 1], s.x[n : n + 1]
        masks = dict(masks_of(a, one.shape[2:]))
        spread = a[0].flatten(1).var(1)
        top = sorted(masks, key=lambda k: -float(spread[k]))[:2]
        with torch.no_grad():
            p = {k: float(s.model(one * masks[k]).softmax(1)[0, target]) for k in top}
        expected.append(sum(p[k] * a[:, k : k + 1] for k in top))
    same(found, torch.cat(expected), "the masked inputs' probabilities")


def check_occlusion(s: Sight, found: Tensor) -> None:
    same(
        found, captum.attr.Occlusion(s.model).attribute(s.x, target=TARGETS, **windows(s)), "Captum"
    )


def check_rise(s: Sight, found: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = RandomMasks.drawn(s.x.shape[2:], 7, 0.5, MASKS, generator, s.x)
    total = torch.zeros_like(s.x[:, :1])
    for mask in masks.of(slice(0, MASKS)):
        with torch.no_grad():
            p = s.model(s.x * mask).softmax(1)[range(len(TARGETS)), TARGETS]
        total += p[:, None, None, None] * mask
    same(found, total / (0.5 * MASKS), "the masked inputs' probabilities")


def check_deconvnet(s: Sight, found: Tensor) -> None:
    x = s.x.clone().requires_grad_()
    kept: list[Tensor] = []
    handle = s.module.register_forward_hook(lambda _, __, out: kept.append(out))
    s.model(x.clone())
    handle.remove()
    a = s.maps(kept[-1])
    value = a[:, 1].flatten(1).amax(1)
    (expected,) = torch.autograd.grad((value * value.detach()).sum(), x)
    kwargs = {"reshape_transform": s.net.reshape, "rule": "gradient"}
    plain = attr.DeconvNet(s.model, s.layer).attribute(s.x, channels=[1], **kwargs)
    same(plain[:, 0], expected, "rule='gradient' is autograd's")


def check_full_grad(s: Sight, found: Tensor) -> None:
    x = s.x.clone().requires_grad_()
    (g,) = torch.autograd.grad(s.scores(s.model(x.clone())).sum(), x)
    same(attr.FullGrad(s.model).decompose(s.x, TARGETS)[0][0], g * s.x, "the input's term")
    if bool((found < 0).any()):
        raise Wrong("a value below 0")


def check_integrated(s: Sight, found: Tensor) -> None:
    """The straight path from the activation of a black image."""
    total, calls = torch.zeros_like(s.a), []
    black = activation(s.model, s.module, torch.zeros_like(s.x))
    counter = s.module.register_forward_hook(lambda *_: calls.append(1))
    s.model(s.x)
    counter.remove()
    for p, w in zip(PATH, WEIGHTS, strict=True):
        seen: list[int] = []

        def between(_, __, out, p=p, seen=seen):
            seen.append(1)
            return black + p * (out - black) if len(seen) == len(calls) else out

        handle = s.module.register_forward_hook(between)
        try:
            total += w * s.gradient(s.x)[1]
        finally:
            handle.remove()
    same(s.maps(found), total * (s.a - s.maps(black)), "three points of the path")


def check_feature_ablation(s: Sight, found: Tensor) -> None:
    y, half = s.scores(s.output), s.a.shape[1] // 2

    def without_half(out: Tensor) -> None:
        (out[:, :half] if s.net.reshape is None else out[..., :half]).zero_()

    without = s.with_maps(without_half, lambda out: out)
    off = (s.maps(found)[:, 0].flatten(1)[:, 0] - (y - without)).abs()
    if not bool((off <= CLOSE * (y - without).abs() + 1e-5 * (1 + y.abs())).all()):
        raise Wrong("not the fall of the score without the first half of the channels")


CHECKS: dict[str, Callable[[Sight, Tensor], None]] = {
    "LayerAblationCam": check_ablation,
    "LayerReciproCam": check_recipro,
    "LayerScoreCam": check_score,
    "Occlusion": check_occlusion,
    "Rise": check_rise,
    "DeconvNet": check_deconvnet,
    "FullGrad": check_full_grad,
    "LayerIntegratedGradients": check_integrated,
    "LayerFeatureAblation": check_feature_ablation,
}


def windows(s: Sight) -> dict[str, tuple[int, ...]]:
    side = s.x.shape[-1] // 2
    return {"sliding_window_shapes": (3, side, side), "strides": (3, side, side)}


# --- shapes only ------------------------------------------------------------------------------


def check_field(s: Sight) -> str:
    """The pixels that a unit's gradient touches lie in its box."""
    field = evidence.receptive_field(s.model, s.layer, tuple(s.x.shape[1:]))
    x = s.x.clone().requires_grad_()
    kept: list[Tensor] = []
    handle = s.module.register_forward_hook(lambda _, __, out: kept.append(out))
    s.model(x.clone())
    handle.remove()
    a = s.maps(kept[-1])
    unit = a[:, :, 0, 0].sum()
    (g,) = torch.autograd.grad(unit, x)
    touched = g.abs().sum((0, 1)) > 0
    if s.net.reshape is None:
        (top, bottom), (left, right) = field.box(0, 0)
        touched[top:bottom, left:right] = False
        if bool(touched.any()):
            raise Wrong(f"the gradient of unit 0, 0 leaves its box {field.box(0, 0)}")
    return field.how


def check_table(s: Sight) -> str:
    table = evidence.layer_table(s.model, tuple(s.x.shape[1:]))
    if table.parameters != sum(p.numel() for p in s.model.parameters()):
        raise Wrong("parameters do not add up")
    row = next((r for r in table.rows if r.name == s.layer), None)
    layer = tuple(activation_and_gradient(s.model, s.module, s.x, TARGETS)[0].shape[1:])
    if row is not None and row.output_shapes[0][1:] != layer:
        raise Wrong(f"layer {s.layer} has shape {layer}, not {row.output_shapes}")
    return f"{len(table.rows)} rows"


def check_suggestion(s: Sight) -> str:
    found = attr.suggest_layers(s.model, s.x)
    for one in found:
        module = s.model.get_submodule(one.name)
        shape = activation(s.model, module, s.x).shape
        if tuple(shape[1:]) != tuple(one.shape[1:]) or len(shape) != s.x.ndim:
            raise Wrong(f"{one.name} gives {tuple(shape)}, not {one.shape}")
    return found[0].name
