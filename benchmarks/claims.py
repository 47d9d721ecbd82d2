"""The README's claims in one short run on one device: ours, a peer, and what cannot be saved.

Each claim is measured in this process, in turn with its peer and its limit; a claim that the time
left does not allow, or that fails, is written down as such. The suites of their own
(``bench_*.py``) say more about each.

    python benchmarks/claims.py --device cpu --rounds 3 --only "gradient CAM"
    python benchmarks/claims.py --device cuda --minutes 4
"""

import argparse
import copy
import json
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from captum.attr import LayerGradCam, LayerIntegratedGradients, NeuronDeconvolution, Occlusion
from contenders import gradient_cams
from measure import RESULTS, compare, machine
from torch import Tensor, nn
from torchvision.models import resnet18, resnet50

from captum_cnn_ext import attr, evidence
from captum_cnn_ext.synthesis import Channel, filter_atlas, maximize

LAYER, TARGET = "layer4", 7
Runs = dict[str, Callable[[], Any]]  # the first is what the ratios are to


def forward(model: nn.Module, x: Tensor, times: int = 1) -> Callable[[], Any]:
    def run() -> None:
        with torch.no_grad():
            for _ in range(times):
                model(x)

    return run


def gradient_cam(model: nn.Module, x: Tensor) -> Runs:
    return gradient_cams(model, model.get_submodule(LAYER), x, TARGET)


def ten_targets(model: nn.Module, x: Tensor) -> Runs:
    ours, captum = attr.LayerHiResCam(model, LAYER), LayerGradCam(model, model.layer4)
    targets = list(range(10))
    return {
        "bare forward": forward(model, x),
        "ours, ten targets at once": lambda: ours.attribute_targets(x, targets),
        "captum LayerGradCam, ten times": lambda: [captum.attribute(x, t) for t in targets],
    }


def ablation_cam(model: nn.Module, x: Tensor) -> Runs:
    channels = 256
    ours = attr.LayerAblationCam(model, "layer3")
    return {
        f"{channels} bare forwards": forward(model, x[:1], channels),
        f"ours, layer3 of {channels} channels": lambda: ours.attribute(x[:1], TARGET),
    }


def integrated_gradients(model: nn.Module, x: Tensor) -> Runs:
    ours = attr.LayerIntegratedGradients(model, "layer3")
    captum, steps = LayerIntegratedGradients(model, model.layer3), {"n_steps": 20}
    return {
        "20 bare forwards": forward(model, x[:1], 20),
        "ours": lambda: ours.attribute(x[:1], target=TARGET, **steps),
        "captum": lambda: captum.attribute(x[:1], target=TARGET, **steps),
    }


def occlusion(model: nn.Module, x: Tensor) -> Runs:
    windows: dict[str, Any] = {"sliding_window_shapes": (3, 32, 32), "strides": (3, 16, 16)}
    ours, captum = attr.Occlusion(model), Occlusion(model)
    count = (1 + -(-(x.shape[2] - 32) // 16)) ** 2
    return {
        f"{count} bare forwards": forward(model, x[:1], count),
        "ours": lambda: ours.attribute(x[:1], **windows, target=TARGET),
        "captum, 16 windows a pass": lambda: captum.attribute(
            x[:1], **windows, target=TARGET, perturbations_per_eval=16
        ),
    }


def deconvnet(model: nn.Module, x: Tensor) -> Runs:
    ours, captum = attr.DeconvNet(model, "layer2"), NeuronDeconvolution(model, model.layer2)
    places = ours.reconstruct(x[:1], list(range(16))).positions[0].tolist()
    units = [(channel, *place) for channel, place in enumerate(places)]
    return {
        "bare forward": forward(model, x[:1]),
        "ours, 16 units": lambda: ours.attribute(x[:1], list(range(16))),
        "captum NeuronDeconvolution, 16 times": lambda: [captum.attribute(x[:1], u) for u in units],
    }


def atlas(model: nn.Module, x: Tensor) -> Runs:
    draw = partial(filter_atlas, model, "layer2", best=None, size=64, steps=2)
    return {
        "ours, 16 channels, one by one": lambda: draw(list(range(16)), internal_batch_size=1),
        "ours, 16 channels at once": lambda: draw(list(range(16))),
    }


def synthesis_step(model: nn.Module, x: Tensor) -> Runs:
    objective = Channel("layer3", 3)
    size, steps = x.shape[-1], 4

    def bare() -> None:
        head = nn.Sequential(*list(model.children())[:7])  # up to layer3
        for _ in range(steps):
            leaf = x[:1].clone().requires_grad_()
            torch.autograd.grad(head(leaf)[:, 3].mean(), leaf)

    ascend = partial(maximize, model, objective, size, steps=steps)
    return {
        "bare steps": bare,
        "ours without transforms": lambda: ascend(recipe="lucid", transforms=[]),
        "ours": ascend,
    }


def compiled_step(model: nn.Module, x: Tensor) -> Runs:
    """Whether compiling what a step runs pays: what it costs once stands in the name.

    Parameters are frozen: compiled and captured backward passes would compute their gradients too.
    """

    def frozen() -> nn.Module:  # one for each run: capturing replaces its module's forward
        return copy.deepcopy(nn.Sequential(*list(model.children())[:7])).requires_grad_(False)

    leaf = x[:1].clone().requires_grad_()

    def step(run: Callable[[Tensor], Tensor]) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(run(leaf)[:, 3].mean(), leaf)

    fast, begun = torch.compile(frozen()), time.perf_counter()
    step(fast)()
    once = time.perf_counter() - begun
    runs = {"step": step(frozen()), f"step, compiled once in {once:.0f} s": step(fast)}
    if x.is_cuda:
        sample = x[:1].clone().requires_grad_()
        runs["step as a CUDA graph"] = step(torch.cuda.make_graphed_callables(frozen(), (sample,)))
    return runs


def score_cam_bf16(model: nn.Module, x: Tensor) -> Runs:
    ours = attr.LayerScoreCam(model, LAYER)

    def half() -> None:
        with torch.autocast(x.device.type, torch.bfloat16):
            ours.attribute(x[:1], TARGET)

    return {
        "512 bare forwards": forward(model, x[:1], 512),
        "ours": lambda: ours.attribute(x[:1], TARGET),
        "ours in bfloat16": half,
    }


def top_patches(model: nn.Module, x: Tensor) -> Runs:
    images = torch.utils.data.TensorDataset(x.cpu().repeat(4, 1, 1, 1))
    batches = torch.utils.data.DataLoader(images, batch_size=len(x))

    def loop() -> None:
        with torch.inference_mode():
            for (batch,) in batches:
                model(batch.to(x.device))

    return {
        "bare loop": loop,
        "ours": lambda: evidence.top_patches(
            model, "layer3", images, k=9, batch_size=len(x), show_progress=False
        ),
    }


def dataset_audit(model: nn.Module, x: Tensor) -> Runs:
    """The pass that an audit of a data set makes: predictions, maps and contributions."""
    images = [(image, number % 10) for number, image in enumerate(x.cpu().repeat(4, 1, 1, 1))]
    batches = torch.utils.data.DataLoader(images, batch_size=len(x))

    def loop() -> None:
        with torch.inference_mode():
            for batch, _ in batches:
                model(batch.to(x.device))

    return {
        "bare loop": loop,
        "ours": lambda: evidence.image_records(
            model, LAYER, images, batch_size=len(x), show_progress=False
        ),
    }


CLAIMS: dict[str, Callable[[nn.Module, Tensor], Runs]] = {
    "gradient CAM": gradient_cam,
    "ten targets": ten_targets,
    "Occlusion": occlusion,
    "DeconvNet": deconvnet,
    "LayerIntegratedGradients": integrated_gradients,
    "Ablation-CAM": ablation_cam,
    "atlas": atlas,
    "synthesis step": synthesis_step,
    "top patches": top_patches,
    "data-set audit": dataset_audit,
    "Score-CAM": score_cam_bf16,
    "compiled step": compiled_step,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--network", default="resnet50", choices=["resnet18", "resnet50"])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=30, help="no claim begins after this")
    parser.add_argument("--only", nargs="*", choices=list(CLAIMS), default=list(CLAIMS))
    given = parser.parse_args()
    torch.manual_seed(0)
    model = {"resnet18": resnet18, "resnet50": resnet50}[given.network]().eval().to(given.device)
    x = torch.rand(given.batch, 3, given.size, given.size, device=given.device)
    about, begun = machine(given.device), time.monotonic()
    path = RESULTS / f"claims--{about['device'].replace(' ', '-').lower()}.json"
    head = f"{given.network}, {given.batch} x {given.size} px, {given.rounds} rounds"
    tables: dict[str, Any] = {}
    for name in given.only:
        if time.monotonic() - begun > 60 * given.minutes:
            tables[name] = "left out: no time"
        else:
            try:
                tables[name] = compare(CLAIMS[name](model, x), given.device, given.rounds, 1)
            except Exception as error:  # the other claims are worth their time all the same
                traceback.print_exc()
                tables[name] = f"failed: {type(error).__name__}: {error}"
        print(text(name, tables[name]), flush=True)
        RESULTS.mkdir(exist_ok=True)
        path.write_text(json.dumps({"machine": about, "run": head, "tables": tables}, indent=1))
    lines = [f"# The README's claims on {about['device']}", "", f"{head}; {about}.", ""]
    path.with_suffix(".md").write_text(
        "\n".join([*lines, *(text(name, table) for name, table in tables.items())])
    )


def text(name: str, rows: dict[str, Any] | str) -> str:
    """One claim as Markdown: time and peak memory as ratios to its first row."""
    if isinstance(rows, str):
        return f"## {name}\n\n{rows}\n"
    base = next(iter(rows.values()))
    lines = [f"## {name}", "", "| | ms | time | peak memory |", "|---|---:|---:|---:|"]
    for title, row in rows.items():
        memory = row["peak_bytes"] / base["peak_bytes"] if base["peak_bytes"] else float("nan")
        lines.append(
            f"| {title} | {1000 * row['seconds']:.1f} | {row['seconds'] / base['seconds']:.2f} | "
            f"{memory:.2f} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
