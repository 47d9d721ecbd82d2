"""Score-based CAMs and layer methods against peers that run the whole network for each change.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/bench_perturbation_cam.py
    python benchmarks/bench_perturbation_cam.py --only AblationCam ScoreCam

One 224 px image. A peer that would take minutes is timed on a part of the channels and
multiplied; the table says so. Times are process CPU time, medians of alternating rounds; passive
waiting keeps idle threads out of it.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from captum.attr import LayerFeatureAblation as CaptumLayerFeatureAblation
from captum.attr import LayerIntegratedGradients as CaptumLayerIntegratedGradients
from measure import RESULTS, machine, seconds
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam import ScoreCAM as GradCamScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torchcam.methods import ScoreCAM
from torchvision import models

from captum_cnn_ext import attr

TARGET = 281


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model = getattr(models, name)(weights=None).eval()
    return model, torch.randn(1, 3, 224, 224)


def median(run: Callable[[], Any], rounds: int) -> float:
    return statistics.median(seconds(run, "cpu") for _ in range(rounds))


def forward(model: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    def run() -> Any:
        with torch.no_grad():
            return model(x)

    return run


def ablation_cam(name: str, layer: str, channels: int, rounds: int) -> Iterator[dict[str, Any]]:
    """grad-cam's loop is timed on ``ratio_channels_to_ablate`` of the channels."""
    model, x = network(name)
    module = model.get_submodule(layer)
    cam = attr.LayerAblationCam(model, layer)
    count = cam.attribute(x, TARGET, attr_dim_summation=False).shape[1]
    batch = min(32, channels)
    images = x.repeat(batch, 1, 1, 1)

    def peer() -> Any:
        # AblationCAM's inner loop, without its first and last passes: batches of a repeated
        # image through the whole network, an ablated channel for each
        with torch.no_grad():

            def ablate(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
                out = out.clone()
                for i in range(batch):
                    out[i, i] = 0
                return out

            handle = module.register_forward_hook(ablate)
            try:
                for _ in range(channels // batch):
                    for score in model(images)[:, TARGET]:
                        score.cpu().item()
            finally:
                handle.remove()

    ours, peers, limit = [], [], []
    for _ in range(rounds):
        limit.append(seconds(forward(model, x), "cpu"))
        ours.append(seconds(lambda: cam.attribute(x, TARGET), "cpu"))
        peers.append(seconds(peer, "cpu") * count / channels)
    yield row(
        f"LayerAblationCam, {name} {layer}, {count} channels",
        f"grad-cam's loop ({channels} of {count} channels, extrapolated)",
        ours,
        peers,
        limit,
    )


def whole_peer(rounds: int) -> Iterator[dict[str, Any]]:
    """The peer's own class from beginning to end, once, so that the extrapolation can be judged."""
    model, x = network("resnet18")
    cam = attr.LayerAblationCam(model, "layer4")
    ours, peers, limit = [], [], []
    for _ in range(max(1, rounds // 3)):
        limit.append(seconds(forward(model, x), "cpu"))
        ours.append(seconds(lambda: cam.attribute(x, TARGET), "cpu"))

        def peer() -> Any:
            with AblationCAM(model=model, target_layers=[model.layer4]) as theirs:
                return theirs(input_tensor=x, targets=[ClassifierOutputTarget(TARGET)])

        peers.append(seconds(peer, "cpu"))
    yield row(
        "LayerAblationCam, resnet18 layer4, 512 channels", "grad-cam, whole", ours, peers, limit
    )


def layer_methods(rounds: int) -> Iterator[dict[str, Any]]:
    model, x = network("resnet50")
    part = 64  # Captum takes about 0.17 s a channel
    mask = torch.arange(2048).clamp(max=part).reshape(1, 2048, 1, 1)
    for ours, captums, kwargs, note in (
        (
            attr.LayerFeatureAblation(model, "layer4"),
            CaptumLayerFeatureAblation(model, model.layer4),
            {"layer_mask": mask, "perturbations_per_eval": 16},
            f"{part + 1} groups of channels",
        ),
        (
            attr.LayerIntegratedGradients(model, "layer4"),
            CaptumLayerIntegratedGradients(model, model.layer4),
            {"n_steps": 50, "internal_batch_size": 10},
            "50 steps",
        ),
    ):
        expected = captums.attribute(x, target=TARGET, **kwargs).detach()
        found = ours.attribute(x, target=TARGET, **kwargs)
        off = float((found - expected).abs().max() / expected.abs().max())
        mine, theirs, limit = [], [], []
        for _ in range(rounds):
            limit.append(seconds(forward(model, x), "cpu"))
            mine.append(seconds(lambda m=ours, k=kwargs: m.attribute(x, target=TARGET, **k), "cpu"))
            theirs.append(
                seconds(lambda m=captums, k=kwargs: m.attribute(x, target=TARGET, **k), "cpu")
            )
        title = f"{type(ours).__name__}, resnet50 layer4, {note} (values equal to {off:.0e})"
        yield row(title, "Captum", mine, theirs, limit)


def recipro_cam(rounds: int) -> Iterator[dict[str, Any]]:
    """Beside one forward pass: the whole call, and what it costs beyond its recording pass."""
    model, x = network("resnet50")
    cam = attr.LayerReciproCam(model, "layer4")
    cam.attribute(x, TARGET)
    tail = attr.TailForward(model, "layer4", x)
    ours, records, limit = [], [], []
    for _ in range(2 * rounds):
        limit.append(seconds(forward(model, x), "cpu"))
        ours.append(seconds(lambda: cam.attribute(x, TARGET), "cpu"))
        records.append(seconds(lambda: attr.TailForward(model, "layer4", x), "cpu"))
    del tail
    yield row("LayerReciproCam, resnet50 layer4, 49 positions", "its recording pass", ours,
              records, limit)  # fmt: skip


def score_cam(rounds: int) -> Iterator[dict[str, Any]]:
    """All three score every channel once (random weights: none is constant)."""
    model, x = network("resnet18")
    cam = attr.LayerScoreCam(model, "layer4")
    theirs = ScoreCAM(model, "layer4")

    def torchcam() -> Any:
        with torch.no_grad():
            return theirs(TARGET, model(x))

    def grad_cam() -> Any:
        with GradCamScoreCAM(model=model, target_layers=[model.layer4]) as peer:
            return peer(input_tensor=x, targets=[ClassifierOutputTarget(TARGET)])

    ours, first, second, limit = [], [], [], []
    for _ in range(max(1, rounds // 3)):
        limit.append(seconds(forward(model, x), "cpu"))
        ours.append(seconds(lambda: cam.attribute(x, TARGET), "cpu"))
        first.append(seconds(torchcam, "cpu"))
        second.append(seconds(grad_cam, "cpu"))
    theirs.remove_hooks()
    yield row("LayerScoreCam, resnet18 layer4, 512 masks", "torchcam", ours, first, limit)
    yield row("LayerScoreCam, resnet18 layer4, 512 masks", "grad-cam", ours, second, limit)


def row(
    title: str, peer: str, ours: list[float], peers: list[float], limit: list[float]
) -> dict[str, Any]:
    own, other, one = map(statistics.median, (ours, peers, limit))
    found = {
        "case": title,
        "peer": peer,
        "seconds": own,
        "peer_seconds": other,
        "forward_seconds": one,
        "ratio": other / own,
        "forward_passes": own / one,
    }
    print(line(found), flush=True)
    return found


def line(r: dict[str, Any]) -> str:
    return (
        f"| {r['case']} | {1000 * r['seconds']:.0f} | {r['forward_passes']:.2f} | {r['peer']} | "
        f"{1000 * r['peer_seconds']:.0f} | {r['ratio']:.1f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="parts of a case's name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    r = options.rounds
    cases: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "AblationCam resnet50 layer4": lambda: ablation_cam("resnet50", "layer4", 32, r),
        "AblationCam efficientnet_b0": lambda: ablation_cam("efficientnet_b0", "features.8", 32, r),
        "AblationCam convnext_tiny": lambda: ablation_cam("convnext_tiny", "features.7.2", 32, r),
        "ReciproCam": lambda: recipro_cam(r),
        "Layer methods": lambda: layer_methods(r),
        "AblationCam resnet50 layer3": lambda: ablation_cam("resnet50", "layer3", 32, 1),
        "ScoreCam": lambda: score_cam(r),
        "AblationCam resnet18 whole": lambda: whole_peer(r),
    }
    rows = []
    for name, case in cases.items():
        if not options.only or any(part in name for part in options.only):
            rows += list(case())
    about = machine("cpu")
    head = [
        "# perturbation_cam on cpu",
        "",
        f"{about['threads']} threads, {about['versions']}, commit {about['commit']}. Process CPU "
        "time, medians; random weights. A ratio under 1 is a loss.",
        "",
        "| ours | ms | in forward passes | peer | ms | peer / ours |",
        "|---|---|---|---|---|---|",
    ]
    if not options.only:
        path = RESULTS / "perturbation_cam--cpu.json"
        path.write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
        path.with_suffix(".md").write_text("\n".join(head + [line(r) for r in rows]) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
