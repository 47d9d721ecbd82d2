"""Replay against the full forward on torchvision's classification models: equal, or refused.

For each model four layers are drawn; each layer's output is changed, once for the recorded batch
(must be bit-identical) and once for other rows of it (rounding only), and the model's output is
compared with the full forward in which a hook replaces the layer's output.

    python benchmarks/zoo_replay.py            # every model; benchmarks/results/zoo_replay.md
    python benchmarks/zoo_replay.py resnet18 densenet121
"""

import random
import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn
from torchvision import models

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from zoo import changed, with_replaced_layer
from zoo_networks import calibrate

from captum_cnn_ext._engine.replay.replay import Replay
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext.errors import ArgumentError

TOO_LARGE = {"vit_h_14", "vit_l_16", "vit_l_32", "regnet_y_128gf"}
SIZES = {"inception_v3": 96}


def build(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    kwargs = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model = models.get_model(name, weights=None, **kwargs).eval()
    size = SIZES.get(name, 224 if name.startswith(("vit", "maxvit")) else 64)
    x = torch.randn(2, 3, size, size)
    calibrate(model, x)
    return model, x


@torch.no_grad()
def layers_of(model: nn.Module, name: str, x: torch.Tensor, count: int = 4) -> list[str]:
    called: list[nn.Module] = []
    handles = [m.register_forward_hook(lambda m, *_: called.append(m)) for m in model.modules()]
    model(x)
    for handle in handles:
        handle.remove()
    names = [n for n, m in model.named_modules() if n and any(m is c for c in called)]
    return random.Random(name).sample(names, min(count, len(names)))


@torch.no_grad()
def check(model: nn.Module, layer: str, x: torch.Tensor) -> tuple[str, str]:
    """What happened with the recorded batch, and with other rows."""
    module = model.get_submodule(layer)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*is called .* times")
            replay = Replay(model, Site(module, layer), (x,))
    except ArgumentError as error:
        return f"refused: {str(error).split(';')[0]}", ""
    new, call = changed(replay.activation), replay.call
    expected = with_replaced_layer(model, module, (x,), new, call=call)
    same = "bit-identical" if torch.equal(replay(new), expected) else "DIFFERENT"
    if replay.full_forward:
        same += f" (full forward: {replay.full_forward})"
    rows = torch.tensor([1, 0, 1])
    try:
        by_example = all(len(t) == len(x) for t in new)
        mixed = replay([t[rows] for t in new] if by_example else new, rows)
    except ArgumentError as error:
        return same, f"refused: {str(error).split(';')[0]}"
    reference = with_replaced_layer(model, module, (x[rows],), [t[rows] for t in new], call=call)
    scale = float(reference.abs().max())
    off = float((mixed - reference).abs().max()) / scale if scale else 0.0
    # the prefix of an example in another batch differs by rounding, which depth amplifies
    return same, f"{off:.0e}" if off < 1e-3 else f"{off:.0e} of the largest output"


def main() -> None:
    torch.set_num_threads(1)
    wanted = sys.argv[1:]
    lines, start, seen, identical = [], time.perf_counter(), 0, 0
    for name in wanted or [n for n in models.list_models(models) if n not in TOO_LARGE]:
        model, x = build(name)
        for layer in layers_of(model, name, x):
            same, mixed = check(model, layer, x)
            seen += 1
            identical += same.startswith("bit-identical")
            lines.append(f"| {name} | {layer} | {same} | {mixed} |")
            print(lines[-1], flush=True)
    head = [
        "# Replay against the full forward",
        "",
        f"torch {torch.__version__}, CPU, {seen} layers, {identical} bit-identical in the recorded "
        f"batch, {time.perf_counter() - start:.0f} s. Random weights, calibrated batch norms.",
        "",
        "| model | layer | recorded batch | other rows (largest deviation / largest output) |",
        "|---|---|---|---|",
    ]
    if not wanted:
        path = Path(__file__).parent / "results" / "zoo_replay.md"
        path.write_text("\n".join(head + lines) + "\n")


if __name__ == "__main__":
    main()
