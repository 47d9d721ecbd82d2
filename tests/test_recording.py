"""The engine: what a recorded forward pass runs, keeps and refuses."""

import copy
import threading

import models
import pytest
import torch
from captum.attr import LayerActivation
from snapshots import nothing_left_behind
from torch import nn
from torchvision.models import densenet121, googlenet, resnet18, resnet50

from captum_cnn_ext._engine.running.call_counts import static_call_counts
from captum_cnn_ext._engine.running.layer_recording import record
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext.attr import LayerFeatureMaps, LayerHiResCam


class Counter:
    """Names of the leaf modules that a forward pass runs, and the backward nodes that ran."""

    def __init__(self, model):
        self.ran = []
        for name, module in model.named_modules():
            if not list(module.children()):
                module.register_forward_hook(lambda *_, name=name: self.ran.append(name))


def test_feature_maps_execute_no_module_after_the_layer():
    model = resnet50().eval()
    counter = Counter(model)
    LayerFeatureMaps(model, "layer1").attribute(torch.randn(1, 3, 64, 64))
    assert counter.ran[0] == "conv1"
    assert counter.ran[-1] == "layer1.2.relu"
    assert all(name.split(".")[0] in {"conv1", "bn1", "relu", "maxpool", "layer1"}
               for name in counter.ran)  # fmt: skip
    assert counter.ran.count("layer1.0.conv1") == 1


def test_several_layers_cost_one_pass_to_the_last_of_them():
    model = resnet18().eval()
    counter = Counter(model)
    maps = LayerFeatureMaps(model, ["layer3", "layer1", "conv1"]).attribute(
        torch.randn(1, 3, 64, 64)
    )
    assert [m.shape[1] for m in maps] == [256, 64, 64]
    assert counter.ran.count("conv1") == 1
    assert counter.ran[-1] == "layer3.1.relu"


def test_a_gradient_cam_is_one_forward_and_no_gradient_before_the_layer():
    model = resnet18().eval()
    counter = Counter(model)
    backward = []
    for name in ("conv1", "layer3", "fc"):
        model.get_submodule(name).register_full_backward_hook(
            lambda *_, name=name: backward.append(name)
        )
    LayerHiResCam(model, "layer4").attribute(torch.randn(2, 3, 64, 64), 3)
    assert counter.ran.count("conv1") == 1
    assert counter.ran.count("fc") == 1
    assert backward == ["fc"]


def test_nothing_before_the_layer_builds_a_graph():
    model, saved = resnet18().eval(), []
    pack = lambda t: saved.append(t.shape) or t  # noqa: E731
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        LayerHiResCam(model, "layer4").attribute(torch.randn(2, 3, 64, 64), 3)
    assert torch.Size([2, 64, 32, 32]) not in saved  # conv1's output
    assert sum(shape.numel() for shape in saved) < 600_000  # the head's weight, and little else


@pytest.mark.parametrize(
    ("make", "layers"),
    [
        (resnet18, ["conv1", "layer2", "layer2.0.downsample.1", "layer4.1.relu", "avgpool"]),
        (densenet121, ["features.denseblock2", "features.norm5", "features.transition1.conv"]),
        (lambda: googlenet(init_weights=False), ["inception4a.branch2", "inception5b", "dropout"]),
    ],
    ids=["resnet18", "densenet121", "googlenet"],
)
@pytest.mark.parametrize("at_input", [False, True], ids=["output", "input"])
@pytest.mark.filterwarnings("ignore:layer .* is called 2 times")
def test_feature_maps_are_captums(make, layers, at_input):
    model, x = make().eval(), torch.randn(2, 3, 64, 64)
    modules = [model.get_submodule(name) for name in layers]
    ours = LayerFeatureMaps(model, layers).attribute(x, attribute_to_layer_input=at_input)
    for name, module, found in zip(layers, modules, ours, strict=True):
        expected = LayerActivation(model, module).attribute(x, attribute_to_layer_input=at_input)
        assert torch.equal(found, expected), name
        alone = LayerFeatureMaps(model, name).attribute(x, attribute_to_layer_input=at_input)
        assert torch.equal(alone, expected), name


# --- how often a layer is called ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "layer", "count"),
    [
        (models.Net, "block", [1]),
        (models.Net, "head.1", [1]),
        (models.CalledTwice, "relu", [2]),
        (models.TupleOutput, "split", [1]),
        (models.ListInput, "join.conv", [1]),
        (models.ValueDependent, "block", None),
    ],
)
def test_calls_are_counted_without_computing(kind, layer, count):
    model, x = models.build(kind), models.image_batch()
    with nothing_left_behind(model, x):
        assert static_call_counts(model, [model.get_submodule(layer)], (x,)) == count


def test_calls_of_torchvision_layers():
    model, x = resnet18().eval(), torch.randn(1, 3, 32, 32)
    names = ["layer1.0.relu", "relu", "layer4", "layer4.1.conv2", "fc"]
    layers = [model.get_submodule(name) for name in names]
    assert static_call_counts(model, layers, (x,)) == [2, 1, 1, 1, 1]
    assert static_call_counts(model, [model], (x,)) == [1]


def test_where_calls_cannot_be_known_the_whole_forward_is_run():
    model, x = models.build(models.ValueDependent), models.image_batch()
    counter = Counter(model)
    with pytest.warns(UserWarning, match="called 2 times"):
        last = LayerFeatureMaps(model, "block").attribute(x)
    assert counter.ran[-1] == "head.3"
    first = LayerFeatureMaps(model, "block").attribute(x, call=0)
    assert counter.ran[-1] == "block"
    torch.testing.assert_close(first, model.block(model.stem(x)))
    torch.testing.assert_close(last, model.block(first))


def test_a_plain_function_as_forward():
    model, x = models.build(models.Net), models.image_batch()
    found = LayerFeatureMaps(lambda x: model(x), model.block).attribute(x)
    assert torch.equal(found, LayerFeatureMaps(model, "block").attribute(x))
    score = LayerHiResCam(lambda x: model(x)[:, 2], model.block).attribute(x)
    assert torch.equal(score, LayerHiResCam(model, "block").attribute(x, 2))
    named = LayerFeatureMaps(lambda x: model(x), "block").attribute(x)
    assert torch.equal(named, found)
    bound = LayerFeatureMaps(model.forward, "block").attribute(x)
    assert torch.equal(bound, found)


@pytest.mark.filterwarnings("ignore:layer 'block' is called 2 times")
def test_calls_are_those_of_the_method_that_is_run():
    class Refines(models.Net):
        def refined(self, x):
            return self.head(self.relu(self.block(self.block(self.stem(x)))))

    model, x = models.build(Refines), models.image_batch()
    found = LayerFeatureMaps(model.refined, "block").attribute(x)
    assert torch.equal(found, model.block(model.block(model.stem(x))))


def test_hidden_submodules_and_replaced_forwards_are_not_guessed():
    model, x = models.build(models.Net), models.image_batch()
    model.also = [model.block]
    assert static_call_counts(model, [model.block], (x,)) is None
    model = models.build(models.Net)
    model.forward = lambda x: model.head(model.features(x))
    assert static_call_counts(model, [model.block], (x,)) is None


def test_keeping_features_in_a_list_does_not_reach_the_users_model():
    class Keeps(models.Net):
        def __init__(self):
            super().__init__()
            self.kept = []

        def features(self, x):
            self.kept.append(x)
            return super().features(x)

    model, x = models.build(Keeps), models.image_batch()
    assert static_call_counts(model, [model.block], (x,)) == [1]
    assert model.kept == []


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        (models.Unreached, {}, "layer 'block': not reached"),
        (models.SideBranch, {}, "does not depend on this layer"),
        (models.Net, {"call": 1}, r"call=1: layer 'block' was called 1 time\(s\).*from 0 to 0"),
        (models.Net, {"call": -1}, "call=-1: expected an integer of at least 0"),
        (models.Net, {"target": 5}, "has 5 classes; expected an index from 0 to 4"),
        (models.Net, {"target": [0, 1, 7]}, "target=7"),
        (models.Net, {"target": [0, 1]}, "got 2 targets for 3 example"),
        (models.Net, {"target": torch.tensor([0, 9, 1])}, "target=9"),
        (models.Net, {"target": torch.tensor([0.0, 1, 1])}, "expected integer class indices"),
        (models.Net, {"target": None}, r"target=None: selects shape \(5,\).*expected one score"),
        (models.Net, {"target": (1, 2)}, "cannot be taken"),
        (models.Net, {"target": "cat"}, "expected an integer"),
        (models.Net, {"internal_batch_size": 0}, "internal_batch_size=0: expected an integer"),
    ],
)
def test_wrong_arguments_are_named(kind, kwargs, message):
    model, x = models.build(kind), models.image_batch()
    with nothing_left_behind(model, x), pytest.raises(ValueError, match=message):
        LayerHiResCam(model, "block").attribute(x, **{"target": 1, **kwargs})


def test_outputs_that_are_not_tensors_are_named():
    model, x = models.build(models.Net), models.image_batch()
    with pytest.raises(TypeError, match=r"got dict with \['a'\] .*several could be"):
        LayerHiResCam(lambda x: {"a": model(x), "b": x}, model.block).attribute(x, 1)


def test_a_layer_cut_off_from_the_output():
    model, x = models.build(models.Net), models.image_batch()
    with pytest.raises(ValueError, match="has no gradient there"):
        LayerHiResCam(lambda x: model(x).detach(), model.block).attribute(x, 1)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_scripted_and_compiled_models():
    model, x = models.build(models.Net), models.image_batch()
    traced = torch.jit.trace(model, x)
    with pytest.raises(ValueError, match="TorchScript, whose layers cannot be observed"):
        LayerHiResCam(traced, "block")
    expected = LayerHiResCam(model, "block").attribute(x, 1)
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(LayerHiResCam(compiled, "block").attribute(x, 1), expected)
    compiled(x)
    assert torch.equal(LayerHiResCam(compiled, model.block).attribute(x, 1), expected)


def test_a_layer_that_is_none_of_the_models():
    model, x = models.build(models.Net), models.image_batch()
    for layer in (copy.deepcopy(model).block, nn.ReLU()):
        with pytest.raises(ValueError, match="not reached, as it is no module of the model"):
            LayerHiResCam(model, layer).attribute(x, 1)
    with pytest.raises(ValueError, match=r"layer='': Net has no such layer\. "):
        LayerHiResCam(model, "")


def test_a_dead_layer_gives_zeros_where_asked():
    model, x = models.build(models.SideBranch), models.image_batch()
    found = LayerHiResCam(model, "block").attribute(x, 1, grad_kwargs={"materialize_grads": True})
    assert not found.any()


# --- several threads and replicas --------------------------------------------------------------


def test_another_threads_forward_is_not_recorded():
    model, x = models.build(models.Net), models.image_batch()
    entered, proceed = threading.Event(), threading.Event()
    other = []

    def run_other():
        entered.wait()
        other.append(model(x[:1]))
        proceed.set()

    thread = threading.Thread(target=run_other)
    thread.start()
    with record(model, [Site(model.block, "block")], (x,), gradients=True) as recording:
        pass
    expected = recording.output

    def pause(*_):
        if threading.current_thread() is threading.main_thread():
            entered.set()
            proceed.wait()

    model.norm.register_forward_hook(pause)
    with record(model, [Site(model.block, "block")], (x,), gradients=True) as recording:
        assert recording.activations(0)[0].shape[0] == 3
        assert torch.equal(recording.output, expected)
    thread.join()
    assert torch.equal(other[0], model(x[:1]))
    assert other[0].requires_grad


def test_replicas_run_in_threads():
    """DataParallel as on two devices: replicas in threads, here both on the CPU."""
    model, x = models.build(models.Net), models.image_batch(4)

    class Parallel(nn.DataParallel):
        def __init__(self, module):
            nn.Module.__init__(self)
            self.module, self.device_ids = module, [0, 1]

        def forward(self, x):
            outputs, grad = [], torch.is_grad_enabled()

            def work(half):
                with torch.set_grad_enabled(grad):
                    try:
                        outputs.append(self.module(half))
                    except Exception as error:  # as DataParallel: BaseException ends the thread
                        outputs.append(error)

            for half in x.split(2):
                thread = threading.Thread(target=work, args=(half,))
                thread.start()
                thread.join()
            for output in outputs:
                if isinstance(output, Exception):
                    raise type(output)("raised again in the calling thread")
            return torch.cat(outputs)

    parallel = Parallel(model)
    for layer in ("relu", "stem"):
        with nothing_left_behind(parallel, x):
            found = LayerHiResCam(parallel, layer).attribute(x, 1)
        torch.testing.assert_close(found, LayerHiResCam(model, layer).attribute(x, 1))
        with nothing_left_behind(parallel, x):
            maps = LayerFeatureMaps(parallel, layer).attribute(x)  # the stop passes the threads
        assert torch.equal(maps, LayerFeatureMaps(model, layer).attribute(x))
    bound = LayerFeatureMaps(lambda x: parallel(x), model.stem, [0, 1]).attribute(x)
    assert torch.equal(bound, maps)
