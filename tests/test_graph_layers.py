"""Layers of ``torch.fx`` graphs and exported programs: those of the model they came from."""

import gc
import threading
import weakref

import pytest
import torch
from snapshots import nothing_left_behind
from torch import fx, nn

from captum_cnn_ext import attr
from captum_cnn_ext.insights import explain
from captum_cnn_ext.synthesis import Channel, maximize


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(inplace=True)

    def forward(self, x):
        out = self.relu(self.conv(x))
        out += x
        return self.relu(out)


class Pair(nn.Module):
    def forward(self, x):
        return x.sin(), x.cos()


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 4, 3), nn.Sequential(Block(), Block())
        self.pair, self.head = Pair(), nn.Linear(4, 5)

    def forward(self, x):
        first, second = self.pair(self.blocks(self.stem(x)))
        return self.head((first * second).mean((2, 3)))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Model().eval()


@pytest.fixture
def x():
    return torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def graph_of(kind, model, x):
    if kind == "traced":
        return fx.symbolic_trace(model)
    if kind == "inside":
        return nn.Sequential(fx.symbolic_trace(model), nn.Identity()).eval()
    batch = torch.export.Dim("batch", min=1, max=512)
    return torch.export.export(model, (x,), dynamic_shapes=({0: batch},)).module()


METHODS = [
    attr.LayerHiResCam,
    attr.LayerGradCamPlusPlus,
    attr.LayerAblationCam,
    attr.LayerScoreCam,
    attr.LayerEigenCam,
    attr.LayerIntegratedGradients,
    attr.LayerFeatureAblation,
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["traced", "exported", "inside"])
@pytest.mark.parametrize("layer", ["stem", "blocks", "blocks.0", "blocks.1.conv", "head"])
def test_a_layer_is_that_of_the_model(kind, layer, model, x):
    graph = graph_of(kind, model, x)
    name = f"0.{layer}" if kind == "inside" else layer
    for method in METHODS:
        if layer == "head" and method is attr.LayerScoreCam:
            continue  # no picture
        with nothing_left_behind(graph, x):
            found = method(graph, name).attribute(x, target=1)
        torch.testing.assert_close(found, method(model, layer).attribute(x, target=1))


@pytest.mark.filterwarnings("ignore:layer .* is called 2 times")
@pytest.mark.parametrize("kind", ["traced", "exported"])
def test_each_call_of_a_layer(kind, model, x):
    graph = graph_of(kind, model, x)
    for call in (None, 0, 1):
        for layer in ("blocks.0.relu", "blocks.1.relu"):
            found = attr.LayerHiResCam(graph, layer).attribute(x, 1, call=call)
            assert torch.equal(found, attr.LayerHiResCam(model, layer).attribute(x, 1, call=call))
    with pytest.raises(ValueError, match=r"was called 2 time\(s\)"):
        attr.LayerHiResCam(graph, "blocks.0.relu").attribute(x, 1, call=2)


@pytest.mark.parametrize("kind", ["traced", "exported"])
def test_several_layers_their_modules_and_images(kind, model, x):
    graph, layers = graph_of(kind, model, x), ["blocks", "stem", "blocks.0"]
    expected = attr.LayerFeatureMaps(model, layers).attribute(x)
    with nothing_left_behind(graph, x):
        found = attr.LayerFeatureMaps(graph, layers).attribute(x)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    alone = attr.LayerFeatureMaps(graph, graph.get_submodule("blocks")).attribute(x)
    assert torch.equal(alone, expected[0])
    options = {"image": 8, "steps": 2, "seed": 0}
    torch.testing.assert_close(
        maximize(graph, Channel("blocks.0", 1), **options).images,
        maximize(model, Channel("blocks.0", 1), **options).images,
    )


def test_a_node_is_named_by_its_own_name(model, x):
    graph = fx.symbolic_trace(model)
    node = next(node.name for node in graph.graph.nodes if "mul" in node.name)
    (maps,) = attr.LayerFeatureMaps(graph, node).attribute((x,))
    inside = model.blocks(model.stem(x))
    assert torch.equal(maps, inside.sin() * inside.cos())
    cam = attr.LayerHiResCam(graph, node)
    assert cam.attribute(x, 3).shape == (2, 1, 6, 6)
    code = graph.code
    graph.head = nn.Sequential(graph.head, nn.Softmax(1))
    graph.recompile()  # the graph is the user's, who may change it between two calls
    assert graph.code == code
    assert not torch.equal(cam.attribute(x, 3), attr.LayerHiResCam(model, "blocks").attribute(x, 3))


def test_refusals_say_what_can_be_given(model, x):
    graph = fx.symbolic_trace(model)
    with pytest.raises(ValueError, match=r"layer='blocks.7'.*torch.fx graph.*nearest: 'blocks_"):
        attr.LayerHiResCam(graph, "blocks.7")
    with pytest.raises(ValueError, match=r"gives several values; name one of its nodes: 'sin', "):
        attr.LayerHiResCam(graph, "pair")
    with pytest.raises(ValueError, match="have an output only; name the node before it"):
        attr.LayerHiResCam(graph, "blocks").attribute(x, 1, attribute_to_layer_input=True)
    program = torch.export.export(model, (x,))
    with pytest.raises(ValueError, match=r"is an ExportedProgram.*program.module\(\)"):
        attr.LayerHiResCam(program, "blocks")


def test_a_program_for_one_batch_size_says_so(model, x):
    fixed = torch.export.export(model, (x,)).module()
    for method in (attr.LayerAblationCam, attr.LayerScoreCam):
        with pytest.raises(ValueError, match=r"exported with; .* dynamic batch.*\(Guard failed"):
            method(fixed, "blocks").attribute(x, 1)
    found = attr.LayerHiResCam(fixed, "blocks").attribute(x, 1)
    assert torch.equal(found, attr.LayerHiResCam(model, "blocks").attribute(x, 1))


def test_a_graph_that_was_looked_at_is_freed(model, x):
    graph = fx.symbolic_trace(model)
    attr.LayerHiResCam(graph, "blocks").attribute(x, 1)
    gone = weakref.ref(graph)
    del graph
    gc.collect()
    assert gone() is None


def test_two_threads_look_at_one_graph(model, x):
    graph = fx.symbolic_trace(model)
    expected = {
        name: attr.LayerHiResCam(model, name).attribute(x, 1) for name in ("blocks", "stem")
    }
    wrong = []

    def work(name):
        for _ in range(10):
            if not torch.equal(attr.LayerHiResCam(graph, name).attribute(x, 1), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in expected for _ in range(2)]
    with nothing_left_behind(graph, x):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_explain_takes_a_layer_of_an_exported_program(model, x):
    graph = graph_of("exported", model, x)
    found = explain(graph, x[:1], 2, layer="blocks.1", check=False)
    expected = attr.LayerHiResCam(model, "blocks.1").attribute(x[:1], 2)
    torch.testing.assert_close(found.attributions, expected)
    with pytest.raises(ValueError, match="runs operations instead of layers; pass the layer by"):
        explain(graph, x[:1])


def test_full_grad_refuses_biases_that_it_does_not_see(model, x):
    found = attr.FullGrad(graph_of("traced", model, x)).attribute(x, 2)
    torch.testing.assert_close(found, attr.FullGrad(model).attribute(x, 2))
    with pytest.raises(ValueError, match="FullGrad does not see their biases"):
        attr.FullGrad(graph_of("exported", model, x))
