"""Every public function on a pretend accelerator: the CPU's values, and they stay on the device.

What a class or function makes is found from ``__all__``, so that a new one is tested by existing,
or by a test that names it.
"""

import copy
import dataclasses
import functools
import tempfile

import every_class
import models
import numpy as np
import occlusion_models
import pretend_device as pretended
import pytest
import test_contract
import torch
from PIL import Image
from pretend_device import DEVICE, DeviceTensor, on_device, pretend, to_device
from reports import MEAN, STD, small, small_images
from torch import nn

from captum_cnn_ext import attr, bench, evidence, insights, metrics, synthesis
from captum_cnn_ext.insights.explorer import ExplorerSession, Unit
from captum_cnn_ext.insights.explorer.computing.synthesized_units import PatternSettings
from captum_cnn_ext.synthesis import presets, regularizers, transforms

pytestmark = pytest.mark.filterwarnings("ignore:.*(is called 2 times|ill-posed)")
LAYERS = {"stem.1": (4, 8, 10), "block": (6, 8, 10)}


def network():
    return small().double()


def photos(count=2):
    return small_images(count).double()


def numbers(result):
    """Every tensor, array and number of a result, in order."""
    if isinstance(result, (torch.Tensor, np.ndarray, bool, int, float, str, Image.Image)):
        return [result]
    if isinstance(result, nn.Module):
        return numbers([*result.parameters(), *result.buffers()])
    if dataclasses.is_dataclass(result):
        return numbers([getattr(result, field.name) for field in dataclasses.fields(result)])
    if isinstance(result, dict):
        return numbers([*result, *result.values()])
    if isinstance(result, (list, tuple)):
        return [leaf for item in result for leaf in numbers(item)]
    return []  # None, functions, recipes


CPU = torch.device("cpu")


def same_on_both(call, model, x, on_host=False, rtol=1e-9, atol=1e-11, defaults=(CPU, DEVICE)):
    """``call(model, x)`` gives on the device what it gives on the CPU, and gives it there.

    So it does where the device is torch's default one, for which no ``device=`` is needed.

    Tensors of ``on_host`` are numbers for people: they belong on the CPU.
    """
    expected = numbers(call(copy.deepcopy(model), x.clone()))
    assert any(isinstance(leaf, (torch.Tensor, np.ndarray, float)) for leaf in expected)
    for default in defaults:  # what torch.set_default_device was told
        there = to_device(copy.deepcopy(model))
        with pretend(), default:
            found = numbers(call(there, on_device(x.clone())))
            for ours, right in zip(found, expected, strict=True):
                if isinstance(right, torch.Tensor):
                    assert isinstance(ours, DeviceTensor) is not on_host, f"it is on {ours.device}"
                    ours = ours if on_host else ours.held
                if isinstance(right, np.ndarray):
                    ours, right = ours.tolist(), right.tolist()
                if isinstance(right, (torch.Tensor, float)):
                    torch.testing.assert_close(ours, right, rtol=rtol, atol=atol, equal_nan=True)
                else:
                    assert ours == right


# --- the pretend device itself ---------------------------------------------------------------


def _missing_device(model, x):
    return x + torch.ones(20, dtype=x.dtype)


def _on_the_wrong_side(model, x):
    return x.mean((2, 3)).cpu()


def _through_numpy(model, x):
    return torch.from_numpy(x.numpy() + 1)


def _generator_of_the_host(model, x):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, generator=generator, device=x.device, dtype=x.dtype)


def _host_index(model, x):
    return x[:, torch.tensor([0, 2])]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (_missing_device, RuntimeError, "Expected all tensors to be on the same device"),
        (_on_the_wrong_side, AssertionError, "it is on cpu"),
        (_through_numpy, TypeError, "can't convert .* to numpy"),
        (_generator_of_the_host, RuntimeError, "Expected a .* generator but found cpu"),
        (lambda model, x: model(torch.zeros(1, 3, 8, 8).double()), RuntimeError, "same device"),
        (lambda model, x: torch.arange(3)[torch.tensor([1], device=x.device)], RuntimeError, "cpu"),
        (lambda model, x: x * (2.0 if x.device.type == "cpu" else 2.1), AssertionError, "close"),
    ],
)
def test_what_a_gpu_would_refuse_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        same_on_both(call, network(), photos())


@pytest.mark.parametrize(
    "call",
    [
        lambda model, x: x[:, torch.tensor([0, 2])],  # an index of the host is sent
        lambda model, x: x[:, [0, 2]],
        lambda model, x: x * torch.tensor(2.0),  # and a number of the host
        lambda model, x: x.new_tensor([1, 2]),
        lambda model, x: torch.rand(3, device=x.device, generator=_generator(x)),
        lambda model, x: x.detach().clone().quantile(0.3, dim=1),
        lambda model, x: [np.asarray(x.cpu()), x.tolist(), float(x.sum())],
    ],
)
def test_what_a_gpu_takes_is_taken(call):
    same_on_both(call, network(), photos())


def _generator(x):
    return torch.Generator(x.device).manual_seed(0)


def test_waiting_is_counted_in_both_directions():
    with pretend() as device:
        x = on_device(torch.arange(6.0))
        with pretended.synchronisations() as counted:
            x.sum().relu() + 1
            assert not counted
            assert x[x > 3].tolist() == [4, 5]
            torch.tensor([1], device=device)
            x[[1, 2]].max().item()
        assert counted == {"to the host": 3, "to the device": 2}


def test_nothing_of_it_stays():
    before = [getattr(torch, name) for name in ("Generator", "tensor", "autocast")]
    with pytest.raises(ArithmeticError), pretend():
        raise ArithmeticError
    assert [getattr(torch, name) for name in ("Generator", "tensor", "autocast")] == before
    assert not hasattr(torch, DEVICE.type)


@pytest.mark.parametrize(
    ("module", "cases"),
    [
        (attr, lambda: {*every_class.NAMES, *ATTRIBUTION_FUNCTIONS, "LayerSuggestion"}),
        (metrics, lambda: METRICS),
        (
            synthesis,
            lambda: {*PARAMETERIZATIONS, *OBJECTIVES, *OTHER_SYNTHESIS, "ImageParam", "Objective"},
        ),
        (evidence, lambda: {*EVIDENCE, *EVIDENCE_THERE}),
        (transforms, lambda: TRANSFORMS),
        (regularizers, lambda: {*REGULARIZERS, "Regularizer", "blurred", "penalties"}),
    ],
)
def test_nothing_public_is_left_out(module, cases):
    public = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__ and name[0] != "_"
    ]
    made = [getattr(module, name) for name in public]
    results = {  # what a function gives, or a recipe's part, is there with what makes it
        value.__name__
        for value in made
        if dataclasses.is_dataclass(value) and value.__module__ != regularizers.__name__
    }
    callbacks = {"Best", "Plateau", "Snapshots"}
    asked = {value.__name__ for value in made if callable(value)} - results - callbacks
    assert asked <= set(cases()), f"no case for {sorted(asked - set(cases()))}"


# --- attribution classes ----------------------------------------------------------------------


@pytest.mark.parametrize("name", every_class.NAMES)
def test_an_attribution_class(name):
    model, layer = test_contract.build(every_class.KIND)
    path = next(path for path, module in model.named_modules() if module is layer)

    def call(model, x):
        return every_class.calls(model, model.get_submodule(path), x)[name]()

    same_on_both(call, model, models.image_batch(2))


def _tail(model, x):
    tail = attr.TailForward(model, "block", x)
    return tail.activation, tail(tail.activation * 2, tail.rows)


ATTRIBUTION_FUNCTIONS = {
    "WithMap": lambda model, x: attr.WithMap(model, "block", x)(x),
    "class_blindness": lambda model, x: attr.class_blindness(model, x),
    "fuse": lambda model, x: attr.fuse(
        attr.LayerLayerCam(model, list(LAYERS)).attribute(x, 1), size=(16, 20)
    ),
    "TailForward": _tail,
    "tokens_to_map": lambda model, x: attr.tokens_to_map(16, 20, False)(
        x.flatten(2).transpose(1, 2)
    ),
    "channels_last_to_map": lambda model, x: attr.channels_last_to_map(x.movedim(1, -1)),
    "suggest_layers": lambda model, x: [attr.suggest_layers(model, x), x],
    "Reconstructions": lambda model, x: attr.DeconvNet(model, "block").reconstruct(x, [0, 1]),
}


@pytest.mark.parametrize("name", ATTRIBUTION_FUNCTIONS)
def test_what_is_beside_the_classes(name):
    same_on_both(ATTRIBUTION_FUNCTIONS[name], network(), photos())


def test_several_layers_targets_and_arguments():
    def call(model, x):
        cam = attr.LayerGradCamPlusPlus(model, list(LAYERS))
        return [
            cam.attribute(x, torch.tensor([0, 2])),
            cam.attribute(x, torch.tensor([0, 2], device=x.device)),
            cam.attribute_targets(x, [0, 2], internal_batch_size=1),
            attr.Occlusion(model).attribute(
                x, (3, 4, 4), (3, 4, 4), baselines=x.flip(-1), target=[0, 2]
            ),
            attr.Occlusion(model).attribute(
                x, (3, 4, 4), (3, 4, 4), target=1, perturbations_per_eval=3, incremental=False
            ),
        ]

    same_on_both(call, network(), photos())


# --- metrics ----------------------------------------------------------------------------------


def _explained(model, x):
    return attr.LayerGradCamPlusPlus(model, "block").attribute(x, 1)


def _boxes(x):
    return metrics.box_masks([[2, 3, 9, 12], [0, 0, 5, 20]], x.shape[2:]).to(x.device)


def _noise(x):
    step = 0.01 * torch.ones_like(x)
    return step, x - step


METRICS = {
    "share_difference": lambda m, x, a: [metrics.share_difference(3, 4, 1, 4), x],
    "wilson": lambda m, x, a: [metrics.wilson(3, 4), x],
    "arcc": lambda m, x, a: metrics.arcc(m, lambda i: i[:, 0], x, 1, shares=(0.5,)).score,
    "earth_movers_distance": lambda m, x, a: metrics.earth_movers_distance(a, _boxes(x), x, grid=4),
    "mask_iou": lambda m, x, a: metrics.mask_iou(a, _boxes(x), x),
    "patch_drops": lambda m, x, a: metrics.patch_drops(m, x, 1, grid=2),
    "random_logit": lambda m, x, a: metrics.random_logit(lambda i, t: i, x, 1, classes=3),
    "relevance_mass_accuracy": lambda m, x, a: metrics.relevance_mass_accuracy(a, _boxes(x), x),
    "relevance_rank_accuracy": lambda m, x, a: metrics.relevance_rank_accuracy(a, _boxes(x), x),
    "single_deletion": lambda m, x, a: metrics.single_deletion(m, x, a, 1, grid=2),
    "agreement": lambda m, x, a: metrics.agreement({"one": a, "two": a.square()}, x),
    "as_maps": lambda m, x, a: metrics.as_maps(a, x),
    "average_drop": lambda m, x, a: metrics.average_drop(m, x, a, 1),
    "bootstrap": lambda m, x, a: metrics.bootstrap(a.mean((1, 2, 3)), resamples=50),
    "box_hit": lambda m, x, a: [
        metrics.box_hit(evidence.regions(a, "maximum", size=12), [x[0, 0, :1, :4]] * 2).tolist(),
        x,
    ],
    "box_iou": lambda m, x, a: metrics.box_iou(x[0, 0, :, :4].cumsum(1), x[1, 0, :, :4].cumsum(1)),
    "max_box_acc": lambda m, x, a: [
        metrics.max_box_acc(a, x.new_tensor([[0, 0, 5, 5], [3, 3, 9, 9]]), x, thresholds=5).score,
        x,
    ],
    "box_masks": lambda m, x, a: metrics.energy_in_box(a, _boxes(x), x),
    "confidence": lambda m, x, a: metrics.confidence(m, x, a, 1, blank="blur"),
    "deletion": lambda m, x, a: metrics.deletion(m, x, a, 1, steps=4),
    "energy_in_box": lambda m, x, a: metrics.energy_in_box(a, _boxes(x), x),
    "gaussian_map": lambda m, x, a: metrics.gaussian_map(x),
    "impute": lambda m, x, a: metrics.impute(x, _boxes(x)),
    "increase_in_confidence": lambda m, x, a: metrics.increase_in_confidence(m, x, a, 1),
    "infidelity": lambda m, x, a: metrics.infidelity(
        m, _noise, x, x * x.sign(), target=1, n_perturb_samples=2
    ),
    "insertion": lambda m, x, a: metrics.insertion(m, x, a, 1, steps=4),
    "insertion_and_deletion": lambda m, x, a: metrics.insertion_and_deletion(m, x, a, 1, steps=4),
    "parameter_randomization": lambda m, x, a: metrics.parameter_randomization(m, _explained, x),
    "pointing_game": lambda m, x, a: metrics.pointing_game(a, _boxes(x), x, tolerance=2),
    "random_map": lambda m, x, a: metrics.random_map(x),
    "rank_correlation": lambda m, x, a: metrics.rank_correlation(a, a.roll(1, -1)),
    "road": lambda m, x, a: metrics.road(m, x, a, 1, shares=(0.3, 0.6)),
    "sensitivity_max": lambda m, x, a: metrics.sensitivity_max(
        attr.LayerHiResCam(m, "block").attribute, x, lambda x, radius: 1.01 * x, target=1
    ),
    "sparseness": lambda m, x, a: metrics.sparseness(a, x),
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric(name):
    same_on_both(lambda m, x: METRICS[name](m, x, _explained(m, x)), network(), photos())


# --- synthesis --------------------------------------------------------------------------------


def _ascent(model, x, objective=None, **options):
    options = {"steps": 2, "transforms": [], "regularizers": []} | options
    objective = objective or synthesis.Channel("block.0", [1, 2])
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return synthesis.maximize(model, objective, 12, mean=MEAN, std=STD, **options)


PARAMETERIZATIONS = {
    "Cppn": functools.partial(synthesis.Cppn, width=4, depth=2),
    "Fourier": synthesis.Fourier,
    "Generator": functools.partial(
        synthesis.Generator,
        network=lambda z: z.expand(-1, 3, 12, 12).sigmoid(),
        latent=(1, 1, 1),
    ),
    "Laplacian": functools.partial(synthesis.Laplacian, levels=2),
    "MacoPhase": synthesis.MacoPhase,
    "Pixels": synthesis.Pixels,
}
TRANSFORMS = {
    "affine": lambda: transforms.affine((0.8, 1.2), 20, 0.1, fill="reflect"),
    "color_jitter": lambda: transforms.color_jitter(0.2),
    "compose": lambda: transforms.compose([transforms.jitter(2), transforms.trim(1)]),
    "crop": lambda: transforms.crop(8),
    "jitter": lambda: transforms.jitter(3),
    "noise": lambda: transforms.noise(0.1),
    "pad": lambda: transforms.pad(3),
    "resize": lambda: transforms.resize(0.8, 1.3, smallest=8),
    "rotate": lambda: transforms.rotate(30),
    "scale": lambda: transforms.scale(0.7, 1.3),
    "trim": lambda: transforms.trim(2),
}
REGULARIZERS = {
    "BlurEvery": lambda: regularizers.BlurEvery(1),
    "ClipGradient": regularizers.ClipGradient,
    "ClipSmallContributions": lambda: regularizers.ClipSmallContributions(20),
    "ClipSmallNorms": lambda: regularizers.ClipSmallNorms(20),
    "Decay": lambda: regularizers.Decay(0.1),
    "LpDecay": lambda: regularizers.LpDecay(0.1, 3),
    "NormalizeGradient": regularizers.NormalizeGradient,
    "OutOfRange": lambda: regularizers.OutOfRange(1, 0.4, 0.6),
    "SkipGradient": regularizers.SkipGradient,
    "TotalVariation": lambda: regularizers.TotalVariation(0.1, 1.5),
}
OBJECTIVES = {
    "ActivationDifference": lambda x: synthesis.ActivationDifference("block", x[:1, :, :12, :12]),
    "Alignment": lambda x: synthesis.Channel("block.0", [0, 1]) + synthesis.Alignment("stem.1"),
    "Channel": lambda x: synthesis.Channel("block.0", torch.tensor([0, 1])),
    "CosineDirection": lambda x: synthesis.CosineDirection("block", torch.arange(6.0)),
    "Custom": lambda x: synthesis.Custom("block", lambda a: a.square().flatten(1).mean(1)),
    "Direction": lambda x: synthesis.Direction("block", torch.arange(6.0)),
    "Diversity": lambda x: synthesis.Channel("block.0", [0, 1]) - synthesis.Diversity("stem.1"),
    "Interpolation": lambda x: synthesis.Interpolation(
        synthesis.Channel("block.0", 0), synthesis.Channel("block.0", 1), 3
    ),
    "Layer": lambda x: synthesis.Layer("block"),
    "Neuron": lambda x: synthesis.Neuron("block.0", 1, (2, 3)),
    "Style": lambda x: synthesis.Style(list(LAYERS), x[:1]),
    "Target": lambda x: 2 * synthesis.Target([0, 2]),
}


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_a_parameterization(name):
    call = functools.partial(_ascent, parameterization=PARAMETERIZATIONS[name])
    model = network()
    # of an image that begins grey all maxima are ties, which rounding decides
    model.stem[2] = torch.nn.AvgPool2d(2)
    same_on_both(call, model, photos())


@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform(name):
    call = functools.partial(_ascent, transforms=[TRANSFORMS[name]()])
    same_on_both(call, network(), photos())


@pytest.mark.parametrize("name", REGULARIZERS)
def test_a_regularizer(name):
    call = functools.partial(
        _ascent, regularizers=[REGULARIZERS[name]()], parameterization=synthesis.Pixels
    )
    same_on_both(call, network(), photos())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective(name):
    same_on_both(lambda model, x: _ascent(model, x, OBJECTIVES[name](x)), network(), photos())


@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_recipe_with_opacity_and_callbacks(name):
    def call(model, x):
        snapshots, best = synthesis.Snapshots(every=1), synthesis.Best()
        callbacks = [snapshots, best, synthesis.Plateau()]
        found = _ascent(
            model,
            x,
            recipe=name,
            transforms=None,
            regularizers=None,
            alpha=True,
            callbacks=callbacks,
        )
        return found, best.images

    same_on_both(call, network(), photos())


def _with_batch_norm(model, x):
    model.stem.append(nn.BatchNorm2d(model.stem[0].out_channels).to(x).eval())
    return _ascent(model, x, synthesis.BatchNormStatistics(model))


OTHER_SYNTHESIS = {
    "BatchNormStatistics": _with_batch_norm,
    "check": lambda m, x: synthesis.check(
        m,
        synthesis.Channel("block.0", 1),
        x.clamp(0, 1),
        torch.cat([x.clamp(0, 1) * n / 16 for n in range(1, 17)]),
        "block",
        views=2,
    ),
    "deep_dream": lambda m, x: synthesis.deep_dream(m, x, "block", octaves=2, steps=2, jitter=2),
    "filter_atlas": lambda m, x: synthesis.filter_atlas(m, "block.0", best=3, size=12, steps=2),
    "maximize": lambda m, x: synthesis.maximize(
        m, synthesis.Channel("block.0", 1), x, steps=2, recipe="lucid"
    ),
    "standardized": lambda m, x: synthesis.standardized(x),
}


@pytest.mark.parametrize("name", OTHER_SYNTHESIS)
def test_what_is_beside_the_ascent(name):
    on_host = name == "check"  # numbers for people
    same_on_both(OTHER_SYNTHESIS[name], network(), photos(), on_host, 1e-6 if on_host else 1e-9)


# --- evidence ---------------------------------------------------------------------------------


def _tensorboard(model, x):
    with tempfile.TemporaryDirectory() as folder:
        return float(evidence.tensorboard_graph(model, x, folder).stat().st_size > 0)


@functools.cache
def labelled():
    return [(photo, int(network()(photo[None]).argmax())) for photo in photos(6)]


EVIDENCE = {  # facts for people, on the CPU
    "layer_table": lambda m, x: [evidence.layer_table(m, x), 0.0],
    "image_records": lambda m, x: [
        evidence.image_records(m, "block", [(photo, 0) for photo in photos(3)]).maps,
        0.0,
    ],
    "strategies": lambda m, x: [
        len(
            evidence.strategies(evidence.image_records(m, "block", [(p, 0) for p in photos(3)])).of(
                0
            )
        ),
        0.0,
    ],
    "find_shortcuts": lambda m, x: [
        evidence.find_shortcuts(m, labelled(), evidence.image_records(m, "block", labelled())),
        0.0,
    ],
    "linear_cka": lambda m, x: evidence.linear_cka(x[0, 0], x[0, 1]),
    "model_graph": lambda m, x: [evidence.model_graph(m, x), 0.0],
    "receptive_field": lambda m, x: evidence.receptive_field(m, "block", (3, 16, 20)),
    "receptive_fields": lambda m, x: evidence.receptive_fields(m, (3, 16, 20)),
    "top_patches": lambda m, x: evidence.top_patches(m, "block", list(photos(5)), k=2),
    "regions": lambda m, x: evidence.regions(x, "maximum"),
    "tensorboard_graph": _tensorboard,
}
EVIDENCE_THERE = {
    "activation_similarity": lambda m, x: evidence.activation_similarity(
        m, "block", x[:, :, :, :16], "rotations"
    ),
    "effective_receptive_field": lambda m, x: evidence.effective_receptive_field(m, "block", x),
    "filter_similarity": lambda m, x: evidence.filter_similarity(m.stem[0], shuffles=3),
}


@pytest.mark.parametrize("name", EVIDENCE)
def test_evidence(name):
    same_on_both(EVIDENCE[name], network(), photos(), on_host=True)


@pytest.mark.parametrize("name", EVIDENCE_THERE)
def test_evidence_as_tensors(name):
    same_on_both(EVIDENCE_THERE[name], network(), photos())


# --- faces ------------------------------------------------------------------------------------


def test_compare():
    names = ["LayerHiResCam", "Occlusion", "LayerScoreCam", "GuidedBackprop"]

    def call(model, x):
        found = insights.compare(model, x, names, layers="block")
        return found.attributions, found.targets, found.labels

    same_on_both(call, network(), photos())


@pytest.mark.slow
def test_bench():
    def call(model, x):
        settings = bench.Settings("small", "seeded", "block", steps=2, road_shares=(0.5,))
        results = bench.Results(settings.to_dict())
        images = {"photo/whole": lambda: photos(1)[0]}
        bench.run(model, bench.METHODS, images, settings, results, device=x.device)
        times = {"seconds", "forward_seconds", "peak_bytes"}
        return {
            method: {key: value for key, value in cell.items() if key not in times}
            for method, cells in results.cells.items()
            for cell in cells.values()
        }

    same_on_both(call, network(), photos(), rtol=1e-6, atol=1e-8)


def test_audit():
    def call(model, x):
        done = insights.audit(
            model, x, layers="block", mean=MEAN, std=STD, quick=True, show_progress=False
        )
        assert not done.problems
        return done.arrays

    same_on_both(call, network(), photos(), rtol=1e-6, atol=1e-8)


def _seen(picture):
    data = np.asarray(picture, dtype=np.float64) / 255
    return torch.from_numpy(data).permute(2, 0, 1) - 0.5


@pytest.mark.slow
def test_the_explorers_session():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 20, 3), dtype=np.uint8)
    pictures = {name: Image.fromarray(p) for name, p in zip("ab", pixels, strict=True)}

    def call(model, x):
        ranked = evidence.top_patches(model, "block", list(photos(3)), k=2)
        session = ExplorerSession(
            model,
            pictures,
            preprocess=_seen,
            top_patches=ranked,
            patch_images=list(photos(3)),
        )
        one, two = session.photos.values()
        unit = Unit("block", 2)
        explained = dict(session.explain([one], session.methods, layer="block"))
        return {
            "suggested": session.suggested,
            "classes": session.top_classes(one),
            "order": session.order(session.maps(one, "block"), "max"),
            "facts": session.facts(one, unit),
            "differences": session.differences(one, two, "block"),
            "patches": [patch.value for patch in session.patches(unit)],
            "pattern": session.patterns.make(PatternSettings("block.0", 1, steps=2, size=12))[1],
            "tensors": [
                session.maps(one, "stem.1"),
                session.gradients(one, "stem.1", unit),
                session.reconstruction(one, unit),
                {name: found.attributions for name, found in explained.items()},
            ],
        }

    same_on_both(call, network(), photos())


# --- ways that a small network does not take -----------------------------------------------------


@pytest.mark.parametrize("cls", occlusion_models.FOLLOWED, ids=lambda c: c.__name__)
def test_occlusion_that_computes_only_what_changes(cls):
    def call(model, x):
        return attr.Occlusion(model).attribute(
            x, (3, 5, 6), (3, 3, 4), target=[3, 1], incremental=True
        )

    same_on_both(call, occlusion_models.build(cls), occlusion_models.images(2))


def test_ablation_of_tokens():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.mix = nn.Conv2d(3, 6, 4, 4), nn.Linear(6, 6)
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            tokens = self.mix(self.patch(x).flatten(2).transpose(1, 2))
            return self.head(tokens.relu().square().mean(1))

    def call(model, x):
        cam = attr.LayerAblationCam(model, "mix")
        return cam.attribute(x, 1, reshape_transform=attr.tokens_to_map(4, 5, False))

    same_on_both(call, Tokens().double(), photos())


def test_a_receptive_field_that_is_measured():
    class Shuffled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3)

        def forward(self, x):
            return self.conv(torch.nn.functional.pixel_shuffle(x.repeat(1, 4, 1, 1), 2))

    def call(model, x):
        found = evidence.receptive_field(model, "conv", (3, 8, 8))
        assert found.how == "measured"
        return found

    same_on_both(call, Shuffled().double(), photos(), on_host=True)
