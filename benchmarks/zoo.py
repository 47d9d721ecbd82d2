"""Every public attribution class on every network of the zoo: right by its values, or refused.

A cell (float32; float64 where rounding decided) is *ok* when its answer is finite, at the layer's
resolution, not all zero, equal to a literal reference where there is one, the second example's map
equal to the map of it alone, and the network afterwards as before (weights, buffers, flags, hooks,
gradients, random state).
It is *refused* when the package raised its own error, which a footnote quotes. Anything else,
another exception too, is WRONG. Random weights: this is about networks, not about pictures.

    python benchmarks/zoo.py                     # what results/zoo.json does not hold yet
    python benchmarks/zoo.py timm segmentation   # these sources only
    python benchmarks/zoo.py torchvision:resnet18          # again, this one
    python benchmarks/zoo.py --only=LayerFem,Occlusion     # again, these cells of what is there
"""

import fcntl
import inspect
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from captum.attr import Attribution
from torch import Tensor
from zoo_cells import (
    CHECKS,
    MASKS,
    REFERENCES,
    TARGETS,
    Sight,
    Wrong,
    check_field,
    check_suggestion,
    check_table,
    same,
    windows,
)
from zoo_networks import names, network
from zoo_table import write_table

from captum_cnn_ext import attr
from captum_cnn_ext.errors import ArgumentError

RESULTS = Path(__file__).parent / "results"
PATH = RESULTS / "zoo.json"
SOURCES = ["segmentation", "detection", "timm", "torchvision"]
# few passes for each: what is tested is the network, the formulas have tests of their own
OPTIONS = {
    "LayerScoreCam": {"top_channels": 2},
    "LayerSSCam": {"top_channels": 1, "samples": 2, "score": "logit"},
    "LayerISCam": {"top_channels": 1, "samples": 2},
    "LayerPolyCam": {"top_channels": 1},
    "LayerSmoothGradCamPlusPlus": {"samples": 2},
    "LayerOptiCam": {"steps": 2},
    "LayerDeepFeatureFactorization": {"components": 2},
}
STEPS = {"n_steps": 3, "method": "gausslegendre"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    name: STEPS for name in ("InternalInfluence", "LayerConductance", "LayerIntegratedGradients")
}
SEVERAL = ["LayerPolyCam", "LayerRefineCam"]  # one map of several layers
WHOLE_BATCH = ["LayerDeepFeatureFactorization"]  # one factorization for all examples
MAY_BE_ZERO = [
    "Deconvolution", "NeuronDeconvolution", "NeuronGuidedBackprop", "DeconvNet", "GuidedCam",
    "GuidedBackprop", "LayerRefineCam", "LayerPolyCam", "LayerFem",
    "LayerScoreCam", "LayerISCam",  # random weights: probabilities that no mask changes
]  # fmt: skip
CLASSES = [
    name
    for name in attr.__all__
    if inspect.isclass(value := getattr(attr, name))
    and issubclass(value, Attribution)
    and name != "DRise"  # detectors give no score
]
OTHERS: dict[str, Callable[[Sight], str]] = {
    "TailForward": lambda s: check_tail(s),
    "receptive_field": check_field,
    "layer_table": check_table,
    "suggest_layers": check_suggestion,
}
COLUMNS = [*CLASSES, *OTHERS]


def check_tail(s: Sight) -> str:
    tail = attr.TailForward(s.model, s.layer, s.x)
    same(tail(tail.activation, tail.rows), s.output, "the tail of the recorded activation")
    return ""


def attribute(name: str, s: Sight, x: Tensor, targets: list[int]) -> Tensor:
    """One class on one batch, called as a user calls it."""
    cls, model, layer = getattr(attr, name), s.model, s.layer
    reshape = s.net.reshape
    if name in ("Deconvolution", "GuidedBackprop", "FullGrad"):
        return cls(model).attribute(x, target=targets)
    if name == "Occlusion":
        return cls(model).attribute(x, target=targets, **windows(s))
    if name == "Rise":
        return cls(model).attribute(x, target=targets, n_samples=MASKS)
    if name == "ActivationMaximization":
        images = cls(model).attribute(x, target=targets, steps=2, transforms=[])
        return images
    if name == "DeconvNet":
        options = {"rule": "guided", "reshape_transform": reshape}
        return cls(model, layer).attribute(x, channels=[0, 1], **options)
    if name == "GuidedCam":
        cam = attr.LayerHiResCam(model, layer)
        return cls(cam).attribute(x, target=targets, reshape_transform=reshape)
    if name.startswith("Neuron"):
        return cls(model, layer).attribute(x, lambda a: a.flatten(1).sum(1))
    arguments = dict(ARGUMENTS.get(name, {}))
    if "target" in inspect.signature(cls.attribute).parameters:
        arguments["target"] = targets
    if "reshape_transform" in inspect.signature(cls.attribute).parameters:
        arguments["reshape_transform"] = reshape
    if name == "LayerFeatureAblation":
        one = torch.zeros_like(s.a[:1], dtype=torch.long)
        one[:, s.a.shape[1] // 2 :] = 1
        arguments["layer_mask"] = one if reshape is None else mask_of_tokens(s)
    if name == "LayerAblationCam":
        arguments["attr_dim_summation"] = False  # each channel's part is checked
    place = s.net.layers if name in SEVERAL else layer
    return cls(model, place, **OPTIONS.get(name, {})).attribute(x, **arguments)


def mask_of_tokens(s: Sight) -> Tensor:
    """Channels of tokens and channels-last layers are the last dimension."""
    shape = REFERENCES["LayerFeatureMaps"](s).shape
    mask = torch.zeros((1, *shape[1:]), dtype=torch.long)
    mask[..., shape[-1] // 2 :] = 1
    return mask


def judge(name: str, s: Sight) -> str:
    """Run a cell; a note, or ``Wrong``."""
    if name in OTHERS:
        return OTHERS[name](s)
    found = attribute(name, s, s.x, TARGETS)
    if not bool(found.isfinite().all()) or found.requires_grad:
        raise Wrong(f"{int((~found.isfinite()).sum())} values not finite")
    if name.startswith("Layer") and name not in SEVERAL and s.net.reshape is None:
        if found.shape[2:] != s.a.shape[2:]:
            raise Wrong(f"shape {tuple(found.shape)} at a layer of {tuple(s.a.shape)}")
    note = ""
    if not bool(found.any()):
        if name not in MAY_BE_ZERO:
            raise Wrong("all zero")
        note = "all zero"
    if name in WHOLE_BATCH or name == "ActivationMaximization":
        same(attribute(name, s, s.x, TARGETS), found, "the same call again")
    else:
        same(attribute(name, s, s.x[1:], TARGETS[1:]), found[1:], "the second example alone")
    if name in REFERENCES:
        expect(name, s, found)
    if name in CHECKS:
        CHECKS[name](s, found)
    return note


def judge_again(name: str, s: Sight, wrong: Wrong) -> tuple[str, str]:
    """In float64: what remains is no rounding."""
    try:
        judge(name, s.in_float64())
    except Wrong as again:
        return "WRONG", f"{wrong}; in float64: {again}"
    return "ok", f"in float64; in float32 {wrong}"


def expect(name: str, s: Sight, found: Tensor) -> None:
    try:
        expected = REFERENCES[name](s)
    except NotImplementedError:
        return
    if name == "LayerSmoothGradCamPlusPlus":  # without noise it is Grad-CAM++
        cam = attr.LayerSmoothGradCamPlusPlus(s.model, s.layer, samples=2, noise=0.0)
        found = cam.attribute(s.x, TARGETS, reshape_transform=s.net.reshape)
    same(found, expected, "the literal reference")


def fingerprint(s: Sight) -> Any:
    """What a call must not change, without copies of the weights."""
    tensors = [*s.model.parameters(), *s.model.buffers(), s.x]
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks),
              m.training, sorted(vars(m))) for m in s.model.modules()]  # fmt: skip
    return (
        [(id(t), t._version, t.requires_grad, t.grad is None) for t in tensors],
        hooks,
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
    )


def cell(name: str, s: Sight) -> dict[str, Any]:
    start, before = time.perf_counter(), fingerprint(s)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            status, note = "ok", judge(name, s)
        except Wrong as wrong:
            status, note = judge_again(name, s, wrong)
        except ArgumentError as error:
            status, note = "refused", str(error)
        except Exception as error:
            own = "captum_cnn_ext" in str(inspect.trace()[-1].filename)
            kind = isinstance(error, (TypeError, ValueError)) and own
            status = "refused" if kind else "WRONG"
            note = str(error) if kind else f"{type(error).__name__}: {error}"
    if fingerprint(s) != before:
        status, note = "WRONG", f"left something behind; {note}"
    said = sorted({str(w.message) for w in warned if issubclass(w.category, UserWarning)})
    return {"status": status, "note": note, "warned": said,
            "seconds": round(time.perf_counter() - start, 2)}  # fmt: skip


def run(source: str, name: str, columns: list[str] | None = None) -> dict[str, Any]:
    """All cells of one network."""
    start = time.perf_counter()
    net = network(source, name)
    s = Sight(net)
    weights = {k: v.clone() for k, v in net.model.state_dict().items()}
    cells = {column: cell(column, s) for column in columns or COLUMNS}
    for key, value in net.model.state_dict().items():
        if not torch.equal(value, weights[key]):
            raise AssertionError(f"{name}: {key} changed")
    return {"source": source, "layer": s.layer, "chosen": net.why, "pixels": net.x.shape[-1],
            "shape": list(s.a.shape[1:]), "seconds": round(time.perf_counter() - start, 1),
            "torch": torch.__version__, "cells": cells}  # fmt: skip


def main() -> None:
    torch.set_num_threads(1)
    wanted = [w for w in sys.argv[1:] if not w.startswith("--")] or SOURCES
    columns = [c for w in sys.argv[1:] if w.startswith("--only=") for c in w[7:].split(",")]
    for item in wanted:
        source, _, name = item.partition(":")
        for each in [name] if name else names(source):
            key, known = f"{source}:{each}", read()
            if key in known and not columns and not name:
                continue
            if columns and key not in known:
                continue
            found = run(source, each, columns or None)
            wrong = {k: v["note"] for k, v in found["cells"].items() if v["status"] == "WRONG"}
            print(key, f"{found['seconds']:.0f} s", wrong or "nothing wrong", flush=True)
            store(key, found)


def read() -> dict[str, Any]:
    return json.loads(PATH.read_text()) if PATH.exists() else {}


def store(key: str, found: dict[str, Any]) -> None:
    """Add a network's cells to the results; other processes may do so too."""
    with open(PATH.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = read()
        if key in results and len(found["cells"]) < len(COLUMNS):
            found = {**results[key], "cells": {**results[key]["cells"], **found["cells"]}}
        results[key] = found
        ordered = {k: results[k] for k in sorted(results)}
        temporary = PATH.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(ordered, indent=1) + "\n")
        temporary.replace(PATH)
        write_table(ordered, COLUMNS, RESULTS / "zoo.md")


if __name__ == "__main__":
    main()
