"""Occlusion against Captum's, at Captum's best ``perturbations_per_eval``.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/bench_occlusion.py --device cpu
    python benchmarks/bench_occlusion.py --only vgg16 resnet18

One 224 px image, windows of 16 with stride 16: 196 passes for Captum. To keep a run short both
score the windows of a band of ``--rows`` rows of windows in the middle of the image, which ours
meets with its whole price for recording; ``--rows 14`` is the whole image. The limit is what the
multiply-adds allow: those of all windows run whole over those that are left.
"""

import argparse
import json
import statistics
import sys
from functools import partial
from pathlib import Path
from typing import Any

import captum.attr
import torch
import torchvision
from measure import RESULTS, machine, seconds
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from captum_cnn_ext.attr import Occlusion
from captum_cnn_ext.models import load_model

WINDOW, TARGET = 16, 7
NETWORKS = (
    "resnet18", "EfficientNet-Lite0", "resnet50", "vgg16", "squeezenet1_1", "mobilenet_v2",
    "densenet121", "googlenet", "efficientnet_b0", "mobilenet_v3_large",
)  # fmt: skip
FEW = (1, 4, 16)  # of Captum's perturbations in one pass


def network(name: str, device: str) -> nn.Module:
    """Seeded weights, batch norms with the statistics of a batch; real ones for the demo."""
    if name == "EfficientNet-Lite0":
        return load_model("demo", device=device).model
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **options).to(device)
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
    if norms:
        with torch.no_grad():
            model.train()(torch.randn(4, 3, 224, 224, device=device))
    return model.eval()


def multiply_adds(run: Any) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def band(x: Tensor, rows: int) -> Any:
    """A model's input whose only occludable part is a band of rows; the rest is put around it."""
    top = (14 - rows) // 2 * WINDOW
    return x[:, :, top : top + rows * WINDOW], top


class Banded(nn.Module):
    """The network as a function of the band."""

    def __init__(self, model: nn.Module, x: Tensor, top: int, height: int) -> None:
        super().__init__()
        self.model = model
        self.above, self.below = x[:, :, :top], x[:, :, top + height :]

    def forward(self, part: Tensor) -> Tensor:
        rest = (t.expand(len(part), -1, -1, -1) for t in (self.above, self.below))
        above, below = rest
        return self.model(torch.cat([above, part, below], 2))


def compare(name: str, device: str, rounds: int, rows: int) -> dict[str, Any]:
    model = network(name, device)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1)).to(device)
    if name == "EfficientNet-Lite0":
        from captum_cnn_ext.photos import demo_photos

        x = load_model("demo").preprocess(demo_photos()["chelsea"])[None].to(device)
    kwargs: dict[str, Any] = {
        "sliding_window_shapes": (3, WINDOW, WINDOW),
        "strides": (3, WINDOW, WINDOW),
        "target": 285 if name == "EfficientNet-Lite0" else TARGET,
    }
    ours = Occlusion(model)
    found = ours.attribute(x, **kwargs)

    part, top = band(x, 2)
    banded = captum.attr.Occlusion(Banded(model, x, top, part.shape[2]))
    few = {n: seconds(partial(banded.attribute, part, **kwargs, perturbations_per_eval=n), device)
           for n in FEW}  # fmt: skip
    best = min(few, key=few.__getitem__)

    part, top = band(x, rows)
    target = Banded(model, x, top, part.shape[2]).eval() if rows < 14 else model
    given = part if rows < 14 else x
    theirs = captum.attr.Occlusion(target)
    times: dict[str, list[float]] = {"captum": [], "ours": [], "whole": []}
    for _ in range(rounds):
        times["ours"].append(seconds(lambda: ours.attribute(x, **kwargs), device))
        times["captum"].append(
            seconds(lambda: theirs.attribute(given, **kwargs, perturbations_per_eval=best), device)
            * (14 / rows)
        )
        whole = seconds(
            lambda: Occlusion(target).attribute(given, **kwargs, incremental=False), device
        )
        times["whole"].append(whole * (14 / rows))
    right = theirs.attribute(given, **kwargs, perturbations_per_eval=best)
    seen = found[:, :, top : top + part.shape[2]] if rows < 14 else found
    span = float(right.max() - right.min())
    one = multiply_adds(lambda: model(x))
    spent = multiply_adds(lambda: ours.attribute(x, **kwargs))
    own, other, plain = (statistics.median(times[k]) for k in ("ours", "captum", "whole"))
    row = {
        "network": name,
        "seconds": own,
        "captum_seconds": other,
        "captum_perturbations_per_eval": best,
        "ratio": other / own,
        "without_incremental_ratio": other / plain,
        "multiply_add_limit": 197 * one / spent,
        "largest_difference_over_range": float((seen - right).abs().max()) / span,
        "rounds": rounds,
        "captum_rows": rows,
    }
    print(line(row), flush=True)
    return row


def line(r: dict[str, Any]) -> str:
    return (
        f"| {r['network']} | {r['seconds']:.2f} | {r['captum_seconds']:.2f} "
        f"({r['captum_perturbations_per_eval']}) | **{r['ratio']:.2f}** | "
        f"{r['without_incremental_ratio']:.2f} | {r['multiply_add_limit']:.2f} | "
        f"{r['largest_difference_over_range']:.0e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, default=14, help="rows of windows that Captum scores")
    parser.add_argument("--only", nargs="*", default=NETWORKS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    about = machine(options.device)
    path = RESULTS / f"occlusion--{about['device'].replace(' ', '-').lower()}.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else []
    for name in options.only:
        rows = [row for row in rows if row["network"] != name]
        rows.append({**compare(name, options.device, options.rounds, options.rows), **{}})
        path.write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    rows.sort(key=lambda row: -row["ratio"])
    head = [
        f"# Occlusion on {about['device']}",
        "",
        f"{about['threads']} thread(s), {about['versions']}, commit {about['commit']}. One image "
        "of 224 px, 196 windows of 16 px. Seconds are process CPU time (CUDA: wall time), medians "
        "in one process, in turn; Captum at its best perturbations_per_eval of 1, 4, 16, in "
        "brackets. *Ratio*: Captum's time over ours. *Whole*: the same with incremental=False. "
        "*Limit*: multiply-adds of 197 whole passes over those spent. Random weights except "
        "EfficientNet-Lite0. A ratio under 1 is a loss.",
        "",
        "| network | ours, s | Captum, s | ratio | whole | limit | difference / range |",
        "|---|---|---|---|---|---|---|",
    ]
    path.with_suffix(".md").write_text("\n".join(head + [line(row) for row in rows]) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
