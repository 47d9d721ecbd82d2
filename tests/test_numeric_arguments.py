"""Every public number, given what it cannot be: refused by name and value.

The parameters are read from the signatures, so a new one is tested by existing. Listed here is how
each function is called at all, and which numbers mean something although they look wrong.
"""

import functools
import inspect
import math
import re
import tempfile
import warnings

import pytest
import torch
from PIL import Image
from torch import nn

from captum_cnn_ext import attr, bench, evidence, insights, metrics, render, synthesis
from captum_cnn_ext.errors import ArgumentError

MODULES = (attr, bench, evidence, insights, metrics, render, synthesis)
VALUES = (0, -1, 1.5, math.nan, math.inf, True, "1")
# classes and neurons, sizes and what may be a tensor have tests of their own
ELSEWHERE = {"target", "targets", "neuron_selector", "device_ids", "baselines", "boxes", "values",
             "sliding_window_shapes", "strides", "input_size", "cost", "quality", "inputs",
             "layers", "start_point", "end_point", "scores", "chance", "best"}  # fmt: skip
# what the functions give back
RESULTS = {"LayerSuggestion", "Reconstructions", "Results", "Subject", "Atlas", "Dream", "Step",
           "Synthesis", "ImageParam", "TailForward", "Trust"}  # fmt: skip
RESULTS |= {n for m in (evidence, insights, metrics) for n in m.__all__
            if inspect.isclass(getattr(m, n)) and n != "Turn"}  # fmt: skip
# integers below 1 that mean something; of other numbers the test only asks that they are judged
MEANS = {
    "call": {0}, "origin_call": {0}, "seed": {0, -1}, "class_token": {0, True}, "channel": {0, -1},
    "channels": {0, -1}, "filters": {0}, "channel_dim": {-1}, "margin": {0}, "pixels": {0},
    "jitter": {0}, "num_workers": {0}, "batch": {0}, "position": {0, -1}, "h": {0}, "w": {0},
    "hits": {0}, "other_hits": {0}, "label": {0}, "inline_limit": {0}, "insights.log_to step": {0},
    "slices": {0}, "synthesis.Snapshots steps": {0},
    "synthesis.Trust.doubts index": {0},
}  # fmt: skip


@functools.cache
def model():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(8, 3)).eval()


X = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
MAPS = X[:, :1]
LAYERS = {"LayerPolyCam": ["0", "1"], "LayerRefineCam": ["0", "1"], "LayerCam": "1"}
FEW = {"LayerOptiCam": {"steps": 1}, "LayerIntegratedGradients": {"n_steps": 2},
       "LayerConductance": {"n_steps": 2}, "InternalInfluence": {"n_steps": 2},
       "LayerSSCam": {"samples": 1}, "LayerISCam": {"samples": 1},
       "Rise": {"n_samples": 2}, "DRise": {"n_samples": 2, "cells": 2}}  # fmt: skip


def detected(row):
    boxes = torch.tensor([[0.0, 0, 4, 4], [2, 2, 8, 8]])
    return {"boxes": boxes, "labels": torch.tensor([0, 1]), "scores": row[:2].sigmoid()}


def checked(**changed):
    photos = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return synthesis.check(model(), synthesis.Target(1), X, photos, "0", **{"views": 1, **changed})


def construct(name, **changed):
    cls = getattr(attr, name)
    few = {k: v for k, v in FEW.get(name, {}).items() if k in inspect.signature(cls).parameters}
    if name == "DRise":
        return cls(lambda x: [detected(row) for row in model()(x)], **changed)
    if name in ("Deconvolution", "FullGrad", "GuidedBackprop", "Occlusion", "Rise"):
        return cls(model(), **changed)
    if name == "GuidedCam":
        return cls(attr.LayerHiResCam(model(), "0"), **changed)
    return cls(model(), LAYERS.get(name, "0"), **{**few, **changed})


def attribute(name, method="attribute", **changed):
    function = getattr(construct(name), method)
    known = inspect.signature(function).parameters
    given = {"inputs": X, "target": 1, "targets": [0, 1], "neuron_selector": (1, 2, 2),
             "sliding_window_shapes": (3, 4, 4), "strides": (3, 4, 4), "channels": [0, 1],
             "steps": 1}  # fmt: skip
    given = {k: v for k, v in {**given, **FEW.get(name, {})}.items() if k in known}
    if name == "ActivationMaximization":
        given = {"neuron_selector": (1, 2, 2), "size": 8, "steps": 1}
    return function(**{**given, **changed})


def class_of_attr(name, **changed):
    made = construct(name, **changed)
    return made.attribute(X, target=1) if name in ("LayerRefineCam",) else made


def maximize(**changed):
    given = {"objective": synthesis.Target(1), "image": 8, "steps": 1}
    return synthesis.maximize(model(), **{**given, **changed})


def objective(name, *args, **changed):
    return maximize(objective=getattr(synthesis, name)(*args, **changed), count=2)


def image_param(name, shape=(1, 3, 8, 8), **changed):
    return getattr(synthesis, name)(shape, **changed)()


def transform(name, *args):
    def call(**changed):
        made = getattr(synthesis.transforms, name)
        given = dict(zip(inspect.signature(made).parameters, args, strict=False))
        return made(**{**given, **changed})(X, torch.Generator().manual_seed(0))

    return call


def regularizer(name, *args):
    def call(**changed):
        made = getattr(synthesis.regularizers, name)
        given = dict(zip(inspect.signature(made).parameters, args, strict=False))
        return made(**{**given, **changed})

    return call


def judged(name, **given):
    """A metric of the model's scores."""
    return lambda **changed: getattr(metrics, name)(model(), X, MAPS, 1, **{**given, **changed})


@functools.cache
def top():
    return evidence.top_patches(model(), "1", X, k=1)


@functools.cache
def families():
    weight = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    weight = torch.cat([weight, weight.rot90(1, (2, 3))])
    return weight, evidence.filter_similarity(weight, angles=4).families


def settings(**changed):
    return bench.Settings(**{"model": "m", "weights": "w", "layer": "0", **changed})


LABELLED = [(x, n % 2) for n, x in enumerate(X.repeat(4, 1, 1, 1))]


@functools.cache
def recorded():
    return evidence.image_records(model(), "1", LABELLED)


def plain(function, *args, **given):
    return lambda **changed: function(*args, **{**given, **changed})


def film(**changed):
    with tempfile.TemporaryDirectory() as folder:
        render.save_film([X[0], X[1]], f"{folder}/film.gif", **changed)


def logged(**changed):
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as writer:
        insights.log_to(writer, insights.compare(model(), X, ["Saliency"]), **changed)


@functools.cache
def audited():
    return insights.audit(model(), X[:1], layers="1", sections=["structure"], show_progress=False)


def saved(**changed):
    with tempfile.TemporaryDirectory() as folder:
        audited().save(f"{folder}/audit.html", **changed)


@functools.cache
def reconstructed():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return attr.DeconvNet(model(), "1").reconstruct(X, [0])


CALLS = {
    "attr.fuse": plain(attr.fuse, [MAPS, MAPS]),
    "attr.tokens_to_map": plain(attr.tokens_to_map),
    "attr.DeconvNet.reconstruct": functools.partial(attribute, "DeconvNet", "reconstruct"),
    "attr.ActivationMaximization.synthesize": functools.partial(
        attribute, "ActivationMaximization", "synthesize"
    ),
    "attr.LayerDeepFeatureFactorization.factorize": functools.partial(
        attribute, "LayerDeepFeatureFactorization", "factorize"
    ),
    "bench.Settings": settings,
    "bench.variants": plain(bench.variants, {"a": Image.new("RGB", (8, 8))}),
    "evidence.Turn": plain(evidence.Turn, **{"angle": 90}),
    "evidence.activation_similarity": plain(evidence.activation_similarity, model(), "1", X),
    "evidence.effective_receptive_field": plain(
        evidence.effective_receptive_field, model(), "0", X
    ),
    "evidence.filter_similarity": plain(
        evidence.filter_similarity, families()[0], angles=4, shuffles=1
    ),
    "evidence.model_graph": plain(evidence.model_graph, model(), 8),
    "evidence.receptive_field": plain(evidence.receptive_field, model(), "1", 8),
    "evidence.top_patches": plain(evidence.top_patches, model(), "1", X, k=1),
    "evidence.TopPatches.row": lambda **changed: top().row(**changed),
    "evidence.TopPatches.inputs": lambda **changed: top().inputs(X, **changed),
    "evidence.TopPatches.patches": lambda **changed: top().patches(X, **changed),
    "evidence.TopPatches.recheck": lambda **changed: top().recheck(model(), X, **changed),
    "evidence.ReceptiveField.box": lambda **changed: evidence.receptive_field(
        model(), "1", 8
    ).box(**{"h": 0, **changed}),
    "insights.unit_gradients": plain(insights.unit_gradients, model(), X, "0", "1", channel=0),
    "metrics.bootstrap": plain(metrics.bootstrap, [0.1, 0.2], resamples=5),
    "evidence.regions": plain(evidence.regions, MAPS[0, 0], "maximum"),
    "metrics.box_hit": plain(metrics.box_hit, [[(0, 0, 1, 1)]], [[(0, 0, 1, 1)]]),
    "metrics.max_box_acc": plain(metrics.max_box_acc, MAPS, [[(0, 0, 4, 4)]] * 2, X),
    "metrics.box_masks": plain(metrics.box_masks, [[0, 0, 4, 4]], size=8),
    "metrics.confidence": judged("confidence"),
    "metrics.deletion": judged("deletion", steps=1),
    "metrics.insertion": judged("insertion", steps=1),
    "metrics.insertion_and_deletion": judged("insertion_and_deletion", steps=1),
    "metrics.arcc": plain(metrics.arcc, model(), lambda x: x, X, 1, shares=[0.5]),
    "metrics.earth_movers_distance": plain(
        metrics.earth_movers_distance, MAPS, torch.ones(2, 8, 8, dtype=torch.bool), X
    ),
    "metrics.mask_iou": plain(metrics.mask_iou, MAPS, torch.ones(2, 8, 8, dtype=torch.bool), X),
    "metrics.patch_drops": plain(metrics.patch_drops, model(), X, 1, grid=2),
    "metrics.random_logit": plain(metrics.random_logit, lambda x, t: x, X, 0, classes=3),
    "metrics.single_deletion": judged("single_deletion", grid=2),
    "metrics.road": judged("road", shares=[0.5]),
    "metrics.gaussian_map": plain(metrics.gaussian_map, X),
    "metrics.random_map": plain(metrics.random_map, X),
    "metrics.impute": plain(metrics.impute, X, X[:, 0] > 0.8),
    "metrics.pointing_game": plain(
        metrics.pointing_game, MAPS, torch.ones(2, 8, 8, dtype=torch.bool), X
    ),
    "metrics.parameter_randomization": plain(
        metrics.parameter_randomization, model(), lambda m, x: x, X, layers=["0"]
    ),
    "render.overlay": plain(render.overlay, X[0], MAPS[0]),
    "render.overlay_pixels": plain(render.overlay_pixels, X[0], MAPS[0]),
    "render.save_film": film,
    "render.show_attributions": plain(render.show_attributions, X, {"map": MAPS}),
    "render.show_feature_maps": plain(render.show_feature_maps, MAPS[0]),
    "render.show_filter_families": plain(render.show_filter_families, *families()),
    "render.show_filters": plain(render.show_filters, families()[0]),
    "render.show_images": plain(render.show_images, X),
    "render.show_patches": plain(render.show_patches, [[X[0]], [X[1]]]),
    "render.show_receptive_fields": plain(
        render.show_receptive_fields, X[0], {"0": [[0, 4], [0, 4]]}
    ),
    "render.show_reconstructions": plain(render.show_reconstructions, X, reconstructed()),
    "render.show_signals": plain(
        render.show_signals, X.flatten(2), {"map": MAPS.flatten(2)}
    ),
    "render.show_volumes": plain(
        render.show_volumes, X[:, :, None].repeat(1, 1, 2, 1, 1), {"map": MAPS[:, :, None]}
    ),
    "render.to_rgb": plain(render.to_rgb, X),
    "synthesis.ActivationDifference": plain(objective, "ActivationDifference", "0", X[0]),
    "synthesis.Alignment": plain(objective, "Alignment", "0"),
    "synthesis.Channel": plain(objective, "Channel", "0", channel=1),
    "synthesis.CosineDirection": plain(objective, "CosineDirection", "0", torch.ones(8)),
    "synthesis.Custom": plain(objective, "Custom", "0", lambda a: a.flatten(1).sum(1)),
    "synthesis.Direction": plain(objective, "Direction", "0", torch.ones(8)),
    "synthesis.Diversity": plain(objective, "Diversity", "0"),
    "synthesis.Interpolation": plain(
        synthesis.Interpolation, synthesis.Channel("0", 0), synthesis.Channel("0", 1)
    ),
    "synthesis.Layer": plain(objective, "Layer", "0"),
    "synthesis.Neuron": plain(objective, "Neuron", "0", channel=1),
    "synthesis.Style": plain(objective, "Style", "0", X[0]),
    "synthesis.Target": plain(objective, "Target", 1),
    "synthesis.Objective": plain(synthesis.Objective, lambda view: view.output),
    "synthesis.Plateau": plain(synthesis.Plateau),
    "synthesis.Snapshots": plain(synthesis.Snapshots),
    "synthesis.Recipe": plain(synthesis.Recipe),
    "synthesis.Cppn": plain(image_param, "Cppn"),
    "synthesis.Fourier": plain(image_param, "Fourier"),
    "synthesis.Generator": plain(
        image_param, "Generator", network=lambda z: z.reshape(-1, 3, 1, 1), latent=(3,)
    ),
    "synthesis.Laplacian": plain(image_param, "Laplacian"),
    "synthesis.MacoPhase": plain(image_param, "MacoPhase"),
    "synthesis.Pixels": plain(image_param, "Pixels"),
    "synthesis.Atlas.stitched": lambda **changed: synthesis.Atlas(
        X, torch.arange(2), torch.zeros(2), "0", []
    ).stitched(**changed),
    "synthesis.Trust.doubts": lambda **changed: checked().doubts(**changed),
    "synthesis.check": lambda **changed: checked(**changed),
    "synthesis.deep_dream": plain(
        synthesis.deep_dream, model(), X[0], layers="0", octaves=1, steps=1, jitter=0
    ),
    "synthesis.filter_atlas": plain(synthesis.filter_atlas, model(), "0", size=8, steps=1),
    "synthesis.maximize": maximize,
    "synthesis.standardized": plain(synthesis.standardized, X),
    "synthesis.presets.yosinski": plain(synthesis.presets.yosinski),
    "synthesis.regularizers.blurred": plain(synthesis.regularizers.blurred, X, sigma=1.0),
    **{
        f"synthesis.transforms.{name}": transform(name, *args)
        for name, args in {
            "pad": (1,), "trim": (1,), "jitter": (1,), "crop": (4,), "affine": ((0.9, 1.1),),
            "scale": (0.9, 1.1), "rotate": (5,), "resize": (0.9, 1.1), "noise": (0.1,),
            "color_jitter": (0.1,),
        }.items()
    },
    **{
        f"synthesis.regularizers.{name}": regularizer(name, *args)
        for name, args in {
            "LpDecay": (1.0,), "TotalVariation": (1.0,), "OutOfRange": (1.0,), "Decay": (0.1,),
            "NormalizeGradient": (), "ClipGradient": (), "BlurEvery": (), "ClipSmallNorms": (5,),
            "ClipSmallContributions": (5,), "SkipGradient": (0.5,),
        }.items()
    },
    # judged before anything is served, drawn or written
    "insights.explore": plain(insights.explore, model(), {"a": Image.new("RGB", (8, 8))}),
    "insights.audit": plain(
        insights.audit, model(), X, layers="1", sections=["structure"], show_progress=False
    ),
    "insights.Audit.save": saved,
    "insights.log_to": logged,
    "insights.compare": plain(insights.compare, model(), X, ["Saliency"]),
    "insights.explain": plain(insights.explain, model(), X[:1], layer="1", check=False),
    "insights.audit_dataset": plain(
        insights.audit_dataset, model(), LABELLED, layer="1", test_shortcuts=False,
        show_progress=False,
    ),
    "evidence.image_records": plain(evidence.image_records, model(), "1", LABELLED),
    "evidence.strategies": lambda **changed: evidence.strategies(recorded(), **changed),
    "evidence.Strategies.of": lambda **changed: evidence.strategies(recorded()).of(**changed),
    "evidence.find_shortcuts": lambda **changed: evidence.find_shortcuts(
        model(), LABELLED, recorded(), **changed
    ),
    "metrics.wilson": plain(metrics.wilson, **{"hits": 1, "count": 2}),
    "metrics.share_difference": plain(
        metrics.share_difference, **{"hits": 1, "count": 2, "other_hits": 1, "other_count": 2}
    ),
}  # fmt: skip


def surface():
    """Every public function, class and method of ours, by name."""
    for module in MODULES:
        short = module.__name__.rpartition(".")[2]
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.ismodule(value):
                for inner, member in vars(value).items():
                    if getattr(member, "__module__", "") == value.__name__ and inner[0] != "_":
                        yield f"{short}.{name}.{inner}", member
            elif callable(value) and value.__module__.startswith("captum_cnn_ext"):
                if name not in RESULTS:
                    yield f"{short}.{name}", value
                if name in {"AuditContext", "Audited", "MethodMaps", "Report", "Work"}:
                    continue  # for those who write sections
                for method, member in inspect.getmembers(value, inspect.isfunction):
                    ours = inspect.unwrap(member).__module__.startswith("captum_cnn_ext")
                    if inspect.isclass(value) and method[0] != "_" and ours:
                        yield f"{short}.{name}.{method}", member


def numbers(function):
    """Its parameters that take numbers, and whether a fraction is one of them."""
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:  # imported for type checkers only
        signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        text = str(parameter.annotation)
        if parameter.name in ELSEWHERE or "Callable" in text:
            continue
        if re.search(r"\b(int|float)\b", text):
            yield parameter.name, "float" in text


def call_of(name):
    """How a public name is called: as listed, or as every class of ``attr`` is."""
    if name in CALLS:
        return CALLS[name]
    module, cls, *method = name.split(".")
    if module == "attr" and inspect.isclass(getattr(attr, cls, None)):
        return functools.partial(attribute if method else class_of_attr, cls, *method)
    return None


OURS = {name: list(numbers(function)) for name, function in surface()}
CASES = [(name, *number) for name, found in sorted(OURS.items()) for number in found]


def test_it_is_known_how_each_is_called():
    assert {name for name, *_ in CASES if call_of(name) is None} == set()
    assert len(CASES) > 200


@pytest.mark.parametrize(
    ("name", "parameter", "fraction"), CASES, ids=lambda v: v if isinstance(v, str) else ""
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_wrong_number_is_refused_by_name_and_value(name, parameter, fraction):
    call = call_of(name)
    means = MEANS.get(f"{name} {parameter}", MEANS.get(parameter, set()))
    for value in VALUES:
        said = refusal(call, parameter, value)
        if said is None:
            real = fraction and not isinstance(value, (bool, str)) and math.isfinite(value)
            assert real or value in means, f"{parameter}={value!r} is taken"
        else:
            assert re.search(rf"\b{parameter}\b.*{re.escape(repr(value))}", said), said


def refusal(call, parameter, value):
    """What is said about a value, or None where it is taken; any other error fails."""
    try:
        call(**{parameter: value})
    except (ArgumentError, TypeError) as error:
        return str(error)
    return None
