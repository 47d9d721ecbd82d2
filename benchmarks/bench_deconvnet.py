"""The strongest unit of 64 channels back to pixels, against looping Captum's NeuronDeconvolution.

Every contender gives the same 64 pictures of one 224 px image; that is checked before timing. The
limit is one early-stopped forward pass and 64 backward passes from the layer, in plain torch.
"""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import NeuronDeconvolution
from measure import compare, write
from torch import Tensor, nn
from torchvision import models

from captum_cnn_ext.attr import DeconvNet

LIMIT = "1 forward to the layer + 64 backwards"
CASES = {
    f"{name}.{layer}, 64 channels, 224 px": (name, layer)
    for name, layer in (
        ("vgg16", "features.14"),
        ("vgg16", "features.21"),
        ("resnet50", "layer3"),
    )
}


class _Reached(Exception):
    """The layer has run: the rest of the forward pass is not needed."""


def contenders(
    model: nn.Module, layer: nn.Module, x: Tensor, channels: list[int]
) -> dict[str, Callable[[], Any]]:
    """Each gives (K, 3, H, W); the first is the limit, without a rule on its rectifiers."""
    deconvnet = DeconvNet(model, layer)
    units = deconvnet.reconstruct(x, channels)
    places = [(c, *p) for c, p in zip(channels, units.positions[0].tolist(), strict=True)]
    values = units.values[0]

    def limit() -> Tensor:
        seen = []

        def stop(_: Any, __: Any, output: Tensor) -> None:
            seen.append(output)
            raise _Reached

        leaf, handle = x.clone().requires_grad_(), layer.register_forward_hook(stop)
        try:
            model(leaf)
        except _Reached:
            pass
        finally:
            handle.remove()
        rows = [
            torch.autograd.grad(seen[0][(0, *place)], leaf, retain_graph=True)[0]
            for place in places
        ]
        return torch.cat(rows)

    def captum() -> Tensor:
        neuron = NeuronDeconvolution(model, layer)
        rows = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for place, value in zip(places, values, strict=True):
                # valued by the activation, as in the paper: for Captum, a function
                unit = lambda t, place=place, value=value: t[(slice(None), *place)] * value  # noqa: E731
                rows.append(neuron.attribute(x, unit))
        return torch.cat(rows).detach()

    ours = {
        "ours DeconvNet": lambda: deconvnet.attribute(x, channels)[0],
        "ours DeconvNet, no cuts": lambda: deconvnet.reconstruct(
            x, channels, crop=False
        ).attributions[0],
    }
    expected = captum()
    for run in ours.values():
        torch.testing.assert_close(run(), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    return {LIMIT: limit, **ours, "captum NeuronDeconvolution in a loop": captum}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", type=int, default=len(CASES))
    options = parser.parse_args()
    tables = {}
    for title, (name, layer) in list(CASES.items())[: options.cases]:
        torch.manual_seed(0)
        model = getattr(models, name)().to(options.device).eval()
        x = torch.randn(1, 3, 224, 224, device=options.device)
        runs = contenders(model, model.get_submodule(layer), x, list(range(64)))
        tables[title] = compare(runs, options.device, options.rounds)
        rows = tables[title]
        speedup = rows["captum NeuronDeconvolution in a loop"]["seconds"]
        print(f"{title}: {speedup / rows['ours DeconvNet']['seconds']:.2f} times Captum's speed")
    write("deconvnet", options.device, tables, LIMIT)


if __name__ == "__main__":
    main()
