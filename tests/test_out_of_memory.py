"""An allocator that refuses large results: chunks halve until they fit."""

import functools

import every_class
import models
import pytest
import test_contract
import torch
from reports import small, small_images
from snapshots import nothing_left_behind
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_cnn_ext import attr, evidence, metrics, synthesis
from captum_cnn_ext._engine.replay import replay
from captum_cnn_ext._engine.running import batching
from captum_cnn_ext.attr.pixels import masked_input_base, window_losses
from captum_cnn_ext.metrics.faithfulness import scoring

# as in Captum, the batch is the caller's to divide
WHOLE_BATCH = {
    "ActivationMaximization",
    "Deconvolution",
    "GuidedBackprop",
    "GuidedCam",
    "LayerFeatureAblation",
    "NeuronDeconvolution",
    "NeuronGuidedBackprop",
    "Occlusion",
}


# the second is what inference mode calls
CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.conv2d.default)


class LittleMemory(TorchDispatchMode):
    """A convolution fits where it gives at most ``rows`` of its batch."""

    def __init__(self, rows):
        super().__init__()
        self.rows, self.refused, self.largest = rows, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in CONVOLUTIONS and args[0].device.type == "cpu":
            if len(args[0]) > self.rows:
                self.refused += 1
                raise torch.OutOfMemoryError(f"{len(args[0])} rows")
            self.largest = max(self.largest, len(args[0]))
        return func(*args, **(kwargs or {}))


class TokensFirst(nn.Module):
    def forward(self, x):
        return x.flatten(2).permute(2, 0, 1)


def check_halves(call, model, *tensors, rows=3):
    """``call`` gives the same where only so many rows fit, and uses what fits."""
    expected = call()
    memory = LittleMemory(rows)
    with nothing_left_behind(model, *tensors), memory:
        found = call()
    assert memory.refused
    assert memory.largest > rows // 2
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:.*(is called 2 times|ill-posed)")
@pytest.mark.parametrize("name", sorted({*every_class.NAMES} - WHOLE_BATCH))
def test_a_class_halves_its_chunks(name):
    model, layer = test_contract.build(every_class.KIND)
    x = models.image_batch(4)
    check_halves(every_class.calls(model, layer, x)[name], model, x)


def _records(m, x):
    found = evidence.image_records(
        m, "block", [(image, 0) for image in x], batch_size=4, show_progress=False
    )
    return torch.tensor(found.maps.copy()).double()


def _patches(m, x):
    found = evidence.top_patches(m, "block", list(x), k=2, batch_size=4, show_progress=False)
    return found.values.double()


MODEL = {
    "road": lambda m, x: metrics.road(m, x, x, 1, noise=0).most_relevant_first,
    "image_records": _records,
    "top_patches": _patches,
    "Occlusion": lambda m, x: attr.Occlusion(m).attribute(
        x[:1], (3, 4, 4), (3, 4, 4), target=1, incremental=False, perturbations_per_eval=8
    ),
    "insertion": lambda m, x: metrics.insertion(m, x, x, 1, steps=4, blank=0.0).scores,
    "confidence": lambda m, x: metrics.confidence(m, x, x, 1).average_drop,
    "effective_receptive_field": lambda m, x: evidence.effective_receptive_field(m, "block", x).map,
}


@pytest.mark.parametrize("name", MODEL)
def test_what_divides_its_own_work_halves_it(name):
    model, x = small().double(), small_images(4).double()
    check_halves(lambda: MODEL[name](model, x), model, x, rows=1)


def test_what_fits_is_kept_for_the_rest():
    """Eight in a memory of two: refused at 8 and 4, and never again."""
    model, x = small().double(), small_images(8).double()
    with LittleMemory(2) as memory:
        attr.LayerHiResCam(model, "block").attribute(x, 1)
    assert memory.refused == 2


@pytest.mark.parametrize(
    "cls", [attr.LayerConductance, attr.InternalInfluence, attr.LayerIntegratedGradients]
)
@pytest.mark.parametrize(("count", "rows"), [(1, 5), (4, 2)])
def test_a_path_is_walked_in_parts(cls, count, rows):
    """Points of one example, and examples of one point, where the whole path does not fit."""
    model, x = small().double(), small_images(count).double()
    target = [2, 0, 1, 2][:count]
    options = {"n_steps": 10, "attribute_to_layer_input": True}
    call = lambda: cls(model, "block").attribute(x, x.flip(3), target, **options)  # noqa: E731
    check_halves(call, model, x, rows=rows)


def test_a_layer_whose_rows_are_no_examples_is_not_taken_in_parts():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), TokensFirst(), nn.Linear(2, 2)).double()
    ig = attr.LayerIntegratedGradients(lambda x: model(x).mean(0), model[1])
    x = torch.rand(4, 3, 6, 6).double()
    with LittleMemory(3), pytest.raises(ValueError, match=r"'1' is not the batch.*fewer examples"):
        ig.attribute(x, target=1, n_steps=3)


@pytest.mark.parametrize("chunk", [None, 1])
def test_one_example_that_does_not_fit_raises_the_devices_error(chunk):
    model, x = small().double(), small_images(4).double()
    cam = attr.LayerHiResCam(model, "block")
    with (
        nothing_left_behind(model, x),
        LittleMemory(0),
        pytest.raises(torch.OutOfMemoryError, match="1 rows"),
    ):
        cam.attribute(x, 1, internal_batch_size=chunk)


def test_an_atlas_halves_its_images():
    """Random numbers are drawn for the images of a pass: the same as one by one."""
    model = small().double()
    draw = functools.partial(
        synthesis.filter_atlas, model, "block.0", best=None, size=12, steps=2, show_progress=False
    )
    expected = draw(internal_batch_size=1)
    with LittleMemory(1) as memory:
        found = draw()
    assert memory.refused
    torch.testing.assert_close(found.images, expected.images, rtol=1e-9, atol=1e-12)


def free_memory(monkeypatch, free, reserved=0, allocated=0):
    """What a device that is not there says of its memory."""
    for name, value in {
        "mem_get_info": (free, 10 * free),
        "memory_reserved": reserved,
        "memory_allocated": allocated,
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)


CUDA, CPU = torch.device("cuda"), torch.device("cpu")
MEBI = 2**20


def test_rows_fill_the_memory_that_is_free(monkeypatch):
    rows = lambda **given: batching.rows_at_once(MEBI, CUDA, 3, **given)  # noqa: E731
    free_memory(monkeypatch, 800 * MEBI)
    assert rows() == 100  # half of it, and four such tensors at a time
    assert rows(held=10 * MEBI) == 40
    assert rows(held=2000 * MEBI) == 1
    free_memory(monkeypatch, 800 * MEBI, reserved=500 * MEBI, allocated=100 * MEBI)
    assert rows() == 150  # what PyTorch keeps in reserve is free for us
    free_memory(monkeypatch, 2**50)
    assert rows() == 2048  # a tensor of 2 GiB
    assert batching.rows_at_once(MEBI, CPU, 3) == 3
    assert batching.rows_at_once(MEBI, torch.device("meta"), 3) == 2048
    free_memory(monkeypatch, 0)
    assert rows() == 1


@pytest.mark.parametrize("chosen", [None, 2])
@pytest.mark.parametrize("name", ["Occlusion", "tiles", "Rise", "insertion", "LayerAblationCam"])
def test_free_memory_chooses_the_rows_and_a_user_bounds_them(name, chosen, monkeypatch):
    """On a CPU that is taken for a device with room for three rows."""
    asked = []

    def three(largest, device, on_cpu, held=None):
        asked.append(largest)
        return 3

    choices = {"rows_at_once": three, "images_at_once": lambda x, *_: three(x.nbytes, 0, 0)}
    for module in (batching, replay, window_losses, scoring, masked_input_base):
        for function in choices.keys() & vars(module).keys():
            monkeypatch.setattr(module, function, choices[function])
    model, x = small().double(), small_images(1).double()
    most = {"perturbations_per_eval": chosen or 1}
    windows = {"sliding_window_shapes": (3, 4, 4), "strides": (3, 2, 2), "target": 1, **most}
    calls = {
        "Occlusion": lambda: attr.Occlusion(model).attribute(x, **windows, incremental=False),
        "tiles": lambda: attr.Occlusion(model).attribute(x, **windows, incremental=True),
        "Rise": lambda: attr.Rise(model).attribute(x, target=1, n_samples=20, cells=3, **most),
        "insertion": lambda: metrics.insertion(
            model, x, x, 1, steps=20, internal_batch_size=chosen
        ),
        "LayerAblationCam": lambda: attr.LayerAblationCam(model, "stem.1").attribute(
            x, 1, internal_batch_size=chosen
        ),
    }
    seen = []
    with Rows(seen):
        calls[name]()
    assert max(seen) == (chosen or 3)
    assert chosen or min(asked) > 0


class Rows(TorchDispatchMode):
    """How many rows each matrix product has."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.addmm.default:
            self.seen.append(len(args[1]))
        return func(*args, **(kwargs or {}))
