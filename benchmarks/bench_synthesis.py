"""A step of an ascent at 224 px, and an atlas of 64 channels at 128 px.

A step: one forward and backward of the bare sub-network up to the layer, on a plain tensor, with
the forward stopped and the gradient of the image alone, is the limit. Ours is the default recipe,
and the same without transforms. The atlas is measured for 64 channels and two steps: ours in
batches, ours one by one, lucent's batch, which shows the network 224 px unless told otherwise.

    python benchmarks/bench_synthesis.py --rounds 7
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from measure import RESULTS, compare, machine, write
from torch import Tensor, nn
from torchvision import models

from captum_cnn_ext.models import load_model
from captum_cnn_ext.synthesis import Channel, Objective, Target, filter_atlas, maximize

STEPS = 4


class _Reached(Exception):
    """The layer has run."""


def bare(model: nn.Module, layer: str | None, x: Tensor) -> Callable[[], Any]:
    """STEPS times the limit; the channel's mean or the logit is differentiated."""

    def run() -> None:
        for _ in range(STEPS):
            leaf, seen = x.clone().requires_grad_(), []

            def stop(_: Any, __: Any, output: Tensor, seen: list[Tensor] = seen) -> None:
                seen.append(output)
                raise _Reached

            handle = model.get_submodule(layer).register_forward_hook(stop) if layer else None
            try:
                seen.append(model(leaf))
            except _Reached:
                pass
            finally:
                if handle is not None:
                    handle.remove()
            score = seen[0][:, 3].mean()
            torch.autograd.grad(score, leaf)

    return run


def per_step(
    model: nn.Module,
    objective: Objective,
    layer: str | None,
    x: Tensor,
    rounds: int,
    **options: Any,
) -> tuple[float, float]:
    """Median CPU seconds of a step of ours and of the limit, in turn."""
    found: dict[str, list[float]] = {"ours": [], "bare": []}
    limit = bare(model, layer, x)
    for current in range(rounds + 1):
        marks: list[float] = []
        maximize(
            model,
            objective,
            224,
            steps=STEPS + 2,
            callbacks=[lambda step, marks=marks: marks.append(time.process_time())],
            **options,
        )
        start = time.process_time()
        limit()
        taken = (time.process_time() - start) / STEPS
        if current:
            found["ours"].append((marks[-1] - marks[1]) / STEPS)
            found["bare"].append(taken)
    return statistics.median(found["ours"]), statistics.median(found["bare"])


def atlas_runs(demo: Any, layer: str) -> dict[str, Callable[[], Any]]:
    """64 channels, two steps each."""
    channels = [k % 24 for k in range(64)]  # _blocks.1 has 24
    options = {"size": 128, "steps": 2, "best": None, "mean": demo.mean, "std": demo.std}
    return {
        "ours one by one": lambda: filter_atlas(
            demo.model, layer, channels, internal_batch_size=1, **options
        ),
        "ours in batches": lambda: filter_atlas(demo.model, layer, channels, **options),
    }


def lucent_runs(demo: Any, layer: str) -> dict[str, Callable[[], Any]]:
    try:
        from lucent.optvis import objectives, param, render
    except ImportError:
        return {}
    model = demo.model

    def run(seen: int | None) -> None:
        total = sum(objectives.channel(layer.replace(".", "_"), k, batch=k) for k in range(8))
        for _ in range(8):
            render.render_vis(
                model,
                total,
                lambda: param.image(128, batch=8),
                thresholds=(2,),
                preprocess=False,
                fixed_image_size=seen,
                show_image=False,
                progress=False,
            )

    return {
        "lucent in batches of 8": lambda: run(None),
        "lucent, kept at 128 px": lambda: run(128),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=["step", "atlas"])
    options = parser.parse_args()
    demo = load_model("demo")
    if options.only != "atlas":
        about = machine("cpu")
        lines = [
            "# A step of an ascent at 224 px on cpu",
            "",
            f"{about['threads']} CPU threads, Python {about['python']}, torch "
            f"{about['versions']['torch']}, commit {about['commit']}. CPU milliseconds, medians of "
            f"{options.rounds} rounds of {STEPS} steps in turn; the limit is one forward and "
            "backward of the bare sub-network.",
            "",
            "| layer | recipe | limit ms | step ms | ratio |",
            "|---|---|---|---|---|",
        ]
        torch.manual_seed(0)
        resnet = models.resnet18().eval()
        cases = [
            ("Lite0 _blocks.1", demo.model, "_blocks.1"),
            ("Lite0 _blocks.8", demo.model, "_blocks.8"),
            ("Lite0 logits", demo.model, None),
            ("resnet18 layer1", resnet, "layer1"),
            ("resnet18 layer3", resnet, "layer3"),
            ("resnet18 logits", resnet, None),
        ]
        for name, model, layer in cases:
            objective = Target(3) if layer is None else Channel(layer, 3)
            for label, changes in (("default recipe", {}), ("no transforms", {"transforms": []})):
                mine, limit = per_step(
                    model, objective, layer, torch.rand(1, 3, 224, 224), options.rounds,
                    mean=demo.mean, std=demo.std, **changes,
                )  # fmt: skip
                row = (
                    name,
                    label,
                    f"{1e3 * limit:.1f}",
                    f"{1e3 * mine:.1f}",
                    f"{mine / limit:.2f}",
                )
                lines.append(f"| {' | '.join(row)} |")
                print(lines[-1], flush=True)
        (RESULTS / "synthesis_step--cpu.md").write_text("\n".join(lines) + "\n")
    if options.only != "step":
        tables = {}
        for layer in ("_blocks.1", "_blocks.4"):
            runs = {**atlas_runs(demo, layer), **lucent_runs(demo, layer)}
            tables[f"64 channels of {layer}, 128 px, 2 steps"] = compare(
                runs, "cpu", max(3, options.rounds // 2)
            )
        write("synthesis_atlas", "cpu", tables, "ours in batches")


if __name__ == "__main__":
    main()
