"""Every class in every mode that models and inputs come in: the values, or one clear error."""

import warnings

import every_class
import models
import pytest
import test_contract
import torch
from snapshots import nothing_left_behind
from torch import nn

from captum_cnn_ext import attr

EVERY = pytest.mark.parametrize("name", every_class.NAMES)
LAYERS = [c for c in every_class.NAMES if c.startswith("Layer")]
THRESHOLD = "LayerFem"  # rounding moves a value over its threshold
QUOTIENT = "LayerXGradCam"  # divides by sums near 0
TOGETHER = "LayerDeepFeatureFactorization"  # one factorization for the whole batch
REFUSE_NO_EXAMPLES = {
    "ActivationMaximization", "DRise", "DeconvNet", "LayerAblationCam",
    "LayerDeepFeatureFactorization", "LayerFeatureAblation", "LayerIntegratedGradients",
    "LayerReciproCam", "Occlusion", "Rise",
}  # fmt: skip
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*(sum to less than 0|is called 2 times|ill-posed)"),
    pytest.mark.filterwarnings("ignore:DeconvNet. there is no max-pooling"),
    pytest.mark.filterwarnings("ignore:.*torch.jit"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor"),  # the compiler's own
]


def built():
    return test_contract.build(every_class.KIND)


X = models.image_batch(2)


def call(name, model, layer, x):
    return every_class.calls(model, layer, x)[name]()


@pytest.fixture(scope="module")
def expected():
    model, layer = built()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {name: call(name, model, layer, X) for name in every_class.NAMES}


def close(found, expected, tolerance):
    atol = tolerance * float(expected.abs().max())
    torch.testing.assert_close(found.to(expected.dtype), expected, rtol=0, atol=atol)


@EVERY
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.bfloat16, 0.3), (torch.float16, 0.1)],
)
@pytest.mark.parametrize("by", ["model", "autocast"])
def test_precision(name, dtype, tolerance, by, expected):
    if by == "autocast" and dtype == torch.float32:
        pytest.skip("autocast is for half precision")
    if dtype != torch.float32 and name in (THRESHOLD, QUOTIENT):
        tolerance = float("inf")
    model, layer = built()
    own = dtype if by == "model" else torch.float32
    model, x = model.to(own), X.to(own)
    with torch.autocast("cpu", dtype, enabled=by == "autocast"), nothing_left_behind(model, x):
        found = call(name, model, layer, x)
    assert found.isfinite().all()
    close(found, expected[name], tolerance)


@EVERY
@pytest.mark.parametrize("mode", ["channels_last", "strided", "frozen", "no_grad", "inference",
                                  "inference tensor"])  # fmt: skip
def test_layouts_and_gradient_modes(name, mode, expected):
    model, layer = built()
    x = X
    if mode == "channels_last":
        model, x = (
            model.to(memory_format=torch.channels_last),
            x.to(memory_format=torch.channels_last),
        )
    elif mode == "strided":
        x = x.transpose(2, 3).contiguous().transpose(2, 3)
    elif mode == "frozen":
        model.requires_grad_(False)
    elif mode == "inference tensor":
        with torch.inference_mode():
            x = x.clone()
    modes = {"no_grad": torch.no_grad, "inference": torch.inference_mode}
    with modes.get(mode, torch.enable_grad)():
        found = call(name, model, layer, x)
    close(found, expected[name], 1e-9)


@EVERY
def test_an_expanded_input_and_batches_of_one_and_none(name, expected):
    model, layer = built()
    one = call(name, model, layer, X[:1])
    if name != TOGETHER:
        close(one, expected[name][:1], 1e-9)
        twice = X[:1].expand(2, -1, -1, -1)
        with nothing_left_behind(model, twice):
            close(call(name, model, layer, twice), one.expand(2, *one.shape[1:]), 1e-9)
    if name in REFUSE_NO_EXAMPLES:
        with pytest.raises(ValueError, match=r"inputs: expected at least one example, got shape"):
            call(name, model, layer, X[:0])
    else:
        assert call(name, model, layer, X[:0]).shape == (0, *expected[name].shape[1:])


@EVERY
@pytest.mark.parametrize("what", ["inputs", "model"])
def test_devices_that_differ_are_named(name, what):
    model, layer = built()
    x = X.to("meta") if what == "inputs" else X
    model = model.to("meta") if what == "model" else model
    with pytest.raises(ValueError, match=r"(cpu.*meta|meta.*cpu).*one device"):
        call(name, model, layer, x)


@EVERY
@pytest.mark.parametrize("wrapper", ["compile", "in place", "part", "DataParallel"])
def test_wrapped_models(name, wrapper, expected):
    model, layer = built()
    head = model.head
    if wrapper == "compile":
        wrapped = torch.compile(model, backend="eager")
    elif wrapper == "in place":
        model.compile(backend="eager")
        wrapped = model
    elif wrapper == "part":
        model.stem.compile(backend="eager")
        wrapped = model
    else:
        wrapped = nn.DataParallel(model)
    if name == "LayerCam":
        found = attr.LayerCam(wrapped, head[0]).attribute(X, 1, attribute_to_layer_input=True)
    else:
        found = call(name, wrapped, layer, X)
    close(found, expected[name], 1e-9)
    compiled = [m for m in model.modules() if m._compiled_call_impl is not None]
    assert bool(compiled) == (wrapper in ("in place", "part")), "compiled again afterwards"


def test_the_layer_itself_compiled(expected):
    model, _ = built()
    model.block = torch.compile(model.block, backend="eager")
    for name in (
        "LayerHiResCam",
        "LayerAblationCam",
        "LayerFeatureMaps",
        "LayerIntegratedGradients",
    ):
        close(call(name, model, model.block, X), expected[name], 1e-9)


@EVERY
def test_torchscript_is_refused_or_right(name, expected):
    model, _ = built()
    traced = torch.jit.trace(model, X, check_trace=False)
    cam = name == "LayerCam"
    try:
        if cam:
            found = attr.LayerCam(traced, "head.0").attribute(X, 1)
        else:
            found = call(name, traced, traced.block, X)
    except ValueError as error:
        assert "TorchScript" in str(error)  # noqa: PT017
    else:
        close(found, expected[name], 1e-9)
        assert not name.startswith(("Layer", "Neuron", "FullGrad"))


@pytest.fixture
def process_group():
    distributed = pytest.importorskip("torch.distributed")
    if not distributed.is_available():
        pytest.skip("torch without torch.distributed")
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_distributed_data_parallel(process_group):
    """Between forward and backward of a training step, which awaits every weight's gradient."""

    def step(interleaved):
        model, layer = test_contract.build("batch norm, in-place")
        parallel = nn.parallel.DistributedDataParallel(model)
        for _ in range(2):
            loss = parallel(X).square().sum()
            for name in interleaved:
                found = call(name, parallel, layer, X)
                close(found, call(name, model, layer, X), 1e-9)
            loss.backward()
        return [p.grad for p in model.parameters()]

    names = ["FullGrad", "LayerHiResCam", "LayerAblationCam", "LayerOptiCam", "Occlusion",
             "GuidedBackprop", "LayerIntegratedGradients", "ActivationMaximization"]  # fmt: skip
    for serial, found in zip(step([]), step(names), strict=True):
        assert torch.equal(serial, found)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("make", [models.one_dimensional, models.three_dimensional])
def test_one_and_three_dimensional_networks(name, make):
    model = make()
    size = (2, 9) if make is models.one_dimensional else (2, 3, 3, 4)
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(2)).double()
    cls = getattr(attr, name)
    if name == "LayerCam":
        with pytest.raises(ValueError, match=r"CAM needs|do not count equally"):
            cls(model, "1").attribute(x, 1)
        return
    kwargs = {"steps": 2} if name == "LayerOptiCam" else {}
    arguments = {"target": 1} if cls in test_contract.TARGETED else {}

    def run(x):
        return cls(model, "1", **kwargs).attribute(x, **arguments)

    with nothing_left_behind(model, x):
        found = run(x)
    assert found.shape[2:] == size[1:]
    assert found.isfinite().all()
    if name != TOGETHER:
        close(torch.cat([run(x[:1]), run(x[1:])]), found, 1e-9)
