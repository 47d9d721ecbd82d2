"""Score-based CAMs and layer methods against peers that run the whole network for each change.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/bench_perturbation_cam.py
    python benchmarks/bench_perturbation_cam.py --only "ScoreCam"

One 224 px image, random weights; peers are their own classes from beginning to end, once where
they take minutes. Times are process CPU time (passive waiting keeps idle threads out of it), ours
the median of three runs. The limit is what the definition asks for in multiply-adds, as forward
passes. Rows are written as they come; a case that runs again replaces its rows.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from captum.attr import LayerConductance as CaptumLayerConductance
from captum.attr import LayerFeatureAblation as CaptumLayerFeatureAblation
from captum.attr import LayerIntegratedGradients as CaptumLayerIntegratedGradients
from measure import RESULTS, machine, peak_bytes, seconds
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam import ScoreCAM as GradCamScoreCAM
from pytorch_grad_cam.ablation_layer import AblationLayer
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchcam.methods import ScoreCAM
from torchvision import models

from captum_cnn_ext import attr

TARGET = 281
Run = Callable[[], Any]
Row = dict[str, Any]


def network(name: str) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    return getattr(models, name)(weights=None).eval(), torch.randn(1, 3, 224, 224)


def multiply_adds(run: Run) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return float(counter.get_total_flops())


def compared(
    title: str, ours: Run, peers: dict[str, Run], forward: Run, limit: float, peer_runs: int = 1
) -> Iterator[Row]:
    """Ours (after a warm-up) and each peer, with a forward pass timed around them."""
    ours()
    forwards = [seconds(forward, "cpu") for _ in range(3)]
    own = [seconds(ours, "cpu") for _ in range(3)]
    forwards += [seconds(forward, "cpu") for _ in range(3)]
    one = statistics.median(forwards)
    for name, peer in peers.items():
        taken = statistics.median(seconds(peer, "cpu") for _ in range(peer_runs))
        mine = statistics.median(own)
        yield {
            "case": title,
            "peer": name,
            "seconds": mine,
            "forward_passes": mine / one,
            "limit_passes": limit,
            "peer_seconds": taken,
            "ratio": taken / mine,
        }


def bare(model: nn.Module, x: torch.Tensor) -> Run:
    def run() -> Any:
        with torch.no_grad():
            return model(x)

    return run


def tail_share(model: nn.Module, layer: str, x: torch.Tensor) -> float:
    """The multiply-adds after the layer as a part of the network's."""
    tail = attr.TailForward(model, layer, x)
    return multiply_adds(lambda: tail(tail.activation, tail.rows)) / multiply_adds(bare(model, x))


def ablation_cam(name: str, layer: str) -> Iterator[Row]:
    model, x = network(name)
    cam = attr.LayerAblationCam(model, layer)
    count = cam.attribute(x, TARGET, attr_dim_summation=False).shape[1]

    def grad_cam() -> Any:
        options = {"model": model, "target_layers": [model.get_submodule(layer)]}
        with AblationCAM(**options, ablation_layer=AblationLayer()) as peer:
            return peer(input_tensor=x, targets=[ClassifierOutputTarget(TARGET)])

    yield from compared(
        f"LayerAblationCam, {name} {layer}, {count} channels",
        lambda: cam.attribute(x, TARGET),
        {"grad-cam": grad_cam},
        bare(model, x),
        1 + count * tail_share(model, layer, x),
    )


def recipro_cam() -> Iterator[Row]:
    """Beside its own recording pass: what it adds is the difference."""
    model, x = network("resnet50")
    cam = attr.LayerReciproCam(model, "layer4")
    yield from compared(
        "LayerReciproCam, resnet50 layer4, 49 positions",
        lambda: cam.attribute(x, TARGET),
        {"(its recording pass alone)": lambda: attr.TailForward(model, "layer4", x)},
        bare(model, x),
        1 + 49 * tail_share(model, "layer4", x),
        peer_runs=5,
    )


def layer_methods() -> Iterator[Row]:
    model, x = network("resnet50")
    groups, steps = 65, 50
    mask = torch.arange(2048).clamp(max=groups - 1).reshape(1, 2048, 1, 1)
    tail = tail_share(model, "layer4", x)
    for ours, captums, options, note, limit in (
        (
            attr.LayerFeatureAblation(model, "layer4"),
            CaptumLayerFeatureAblation(model, model.layer4),
            {"layer_mask": mask, "perturbations_per_eval": 16},
            f"{groups} groups of channels",
            1 + groups * tail,
        ),
        (
            attr.LayerIntegratedGradients(model, "layer4"),
            CaptumLayerIntegratedGradients(model, model.layer4),
            {"n_steps": steps, "internal_batch_size": 10},
            f"{steps} steps, 10 at once",
            2 + 3 * steps * tail,
        ),
        (
            attr.LayerIntegratedGradients(model, "layer4"),
            CaptumLayerIntegratedGradients(model, model.layer4),
            {"n_steps": steps},
            f"{steps} steps at once",
            2 + 3 * steps * tail,
        ),
        (
            attr.LayerConductance(model, "layer4"),
            CaptumLayerConductance(model, model.layer4),
            {"n_steps": 20, "internal_batch_size": 10},
            "20 steps, 10 at once",
            21 + 2 * 21 * tail,
        ),
    ):
        expected = captums.attribute(x, target=TARGET, **options).detach()
        found = ours.attribute(x, target=TARGET, **options)
        off = float((found - expected).abs().max() / expected.abs().max())
        yield from compared(
            f"{type(ours).__name__}, resnet50 layer4, {note} (values equal to {off:.0e})",
            lambda method=ours, options=options: method.attribute(x, target=TARGET, **options),
            {
                "Captum": lambda method=captums, options=options: method.attribute(
                    x, target=TARGET, **options
                )
            },
            bare(model, x),
            limit,
        )


def score_cam(name: str, layer: str) -> Iterator[Row]:
    """Every channel is scored by all three (random weights: none is constant)."""
    model, x = network(name)
    cam, module = attr.LayerScoreCam(model, layer), model.get_submodule(layer)
    count = cam.attribute(x, TARGET, attr_dim_summation=False).shape[1]
    theirs = ScoreCAM(model, layer)

    def torchcam() -> Any:
        with torch.no_grad():
            return theirs(TARGET, model(x))

    def grad_cam() -> Any:
        with GradCamScoreCAM(model=model, target_layers=[module]) as peer:
            return peer(input_tensor=x, targets=[ClassifierOutputTarget(TARGET)])

    def half() -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return cam.attribute(x, TARGET)

    peers = {"torchcam": torchcam, "grad-cam": grad_cam}
    for note, ours in (("", lambda: cam.attribute(x, TARGET)), (", bfloat16 autocast", half)):
        for row in compared(
            f"LayerScoreCam{note}, {name} {layer}, {count} masks",
            ours,
            peers,
            bare(model, x),
            1 + count,
        ):
            row["peak_megabytes"] = peak_bytes(ours, "cpu") / 1e6
            row["peer_peak_megabytes"] = peak_bytes(peers[row["peer"]], "cpu") / 1e6
            yield row
    theirs.remove_hooks()


CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "ReciproCam": recipro_cam,
    "Layer methods": layer_methods,
    "AblationCam resnet50 layer3": lambda: ablation_cam("resnet50", "layer3"),
    "AblationCam efficientnet_b0": lambda: ablation_cam("efficientnet_b0", "features.8"),
    "AblationCam convnext_tiny": lambda: ablation_cam("convnext_tiny", "features.7.2"),
    "AblationCam resnet50 layer4": lambda: ablation_cam("resnet50", "layer4"),
    "ScoreCam resnet50": lambda: score_cam("resnet50", "layer1.0.conv2"),
    "ScoreCam resnet18": lambda: score_cam("resnet18", "layer2"),
}
PATH = RESULTS / "perturbation_cam--cpu.json"


def line(row: Row) -> str:
    memory = "peak_megabytes" in row
    peaks = f"{row['peak_megabytes']:.0f} / {row['peer_peak_megabytes']:.0f}" if memory else ""
    return (
        f"| {row['case']} | {1000 * row['seconds']:.0f} | {row['forward_passes']:.2f} | "
        f"{row['limit_passes']:.2f} | {row['peer']} | {1000 * row['peer_seconds']:.0f} | "
        f"{row['ratio']:.1f} | {peaks} |"
    )


def write(rows: list[Row]) -> None:
    about = machine("cpu")
    head = f"""# perturbation_cam on cpu

{about["threads"]} threads, {about["versions"]}, commit {about["commit"]}. Process CPU time; peers
are their own classes, run once. The limit counts multiply-adds. A ratio under 1 is a loss.

| ours | ms | in forward passes | limit | peer | ms | peer / ours | peak MB, ours / peer |
|---|---|---|---|---|---|---|---|
"""
    PATH.write_text(json.dumps({"machine": about, "rows": rows}, indent=1))
    PATH.with_suffix(".md").write_text(head + "\n".join(map(line, rows)) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="parts of a case's name")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = json.loads(PATH.read_text())["rows"] if PATH.exists() else []
    for name, case in CASES.items():
        if options.only and not any(part in name for part in options.only):
            continue
        for row in case():
            key = (row["case"], row["peer"])
            rows = [old for old in rows if (old["case"], old["peer"]) != key] + [row]
            print(line(row), flush=True)
            write(rows)


if __name__ == "__main__":
    main()
