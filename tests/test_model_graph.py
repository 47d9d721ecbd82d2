"""The graph of a network: nodes, edges and branches as written down; drawings hold only shapes."""

import re
from xml.etree import ElementTree

import pytest
import torch
import torch.nn.functional as F
from snapshots import nothing_left_behind
from torch import nn
from torchvision import models

from captum_cnn_ext.cli import main
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import model_graph, tensorboard_graph
from captum_cnn_ext.evidence.structure.safe_svg import only_shapes


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.drop = nn.Dropout()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.drop(self.conv(self.relu(x))) + x)


class Net(nn.Module):
    """A residual block and two branches that are joined."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2)
        self.block = Block()
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x = self.block(self.stem(x))
        return self.head(torch.cat([F.max_pool2d(x, 2), x[:, :, 1:4, 1:4]], 1).mean((2, 3)))


def by_name(graph):
    names = {
        node.number: f"{node.path or node.text}{node.call or ''}" if node.kind == "module"
        else node.text for node in graph.nodes
    }  # fmt: skip
    return {(names[start], names[end]) for start, end in graph.edges}


def test_edges_are_the_forward_pass():
    assert by_name(model_graph(Net(), (3, 16, 16))) == {
        ("input", "stem"),
        ("stem", "block.relu"),
        ("block.relu", "block.conv"),
        ("block.conv", "add"),
        ("stem", "add"),
        ("add", "block.relu1"),  # the module's second call
        ("block.relu1", "max_pool2d_with_indices"),
        ("max_pool2d_with_indices", "cat"),
        ("block.relu1", "cat"),
        ("cat", "mean"),
        ("mean", "head"),
        ("head", "output"),
    }


def test_a_buffer_filled_through_views_has_the_edges_of_what_fills_it():
    class Filled(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
            self.head = nn.Conv2d(4, 2, 1)

        def forward(self, x):
            both = torch.zeros(len(x), 4, *x.shape[2:], device=x.device)
            both[:, :2] = self.left(x)
            both[:, 2:] = self.right(x)
            return self.head(both)

    assert by_name(model_graph(Filled(), (3, 8, 8))) == {
        ("input", "left"),
        ("input", "right"),
        ("left", "copy"),
        ("right", "copy"),
        ("copy", "copy"),  # the second writes into what the first wrote into
        ("copy", "head"),
        ("head", "output"),
    }


def test_deeper_modules_are_one_box():
    graph = model_graph(Net(), (3, 16, 16), depth=1)
    edges = by_name(graph)
    assert {("stem", "block"), ("block", "cat")} < edges
    assert not any("block." in name for edge in edges for name in edge)
    (block,) = [node for node in graph.nodes if node.path == "block" and node.kind == "module"]
    assert (block.shape, block.parameters) == ((1, 4, 7, 7), 4 * 4 * 9 + 4)


def test_published_networks_have_their_branches():
    resnet = by_name(model_graph(models.resnet18(), (3, 224, 224)))
    assert {("maxpool", "add"), ("layer1.0.bn2", "add"), ("layer2.0.downsample.1", "add")} < resnet
    graph = model_graph(models.googlenet(init_weights=False), (3, 224, 224), 2)
    joins = [node.number for node in graph.nodes if node.text == "cat"]
    assert len(joins) == 9
    assert all(sum(end == join for _, end in graph.edges) == 4 for join in joins)


def test_dot_text_needs_nothing_and_quotes_names(monkeypatch):
    monkeypatch.setenv("PATH", "")
    model = nn.Sequential()
    model.add_module('a"b<script>', nn.Conv2d(3, 2, 3))
    dot = model_graph(model, (3, 8, 8)).to_dot()
    assert r"a\"b<script>\nConv2d  2 × 6 × 6" in dot
    assert dot.count("->") == 2


def test_the_drawing_has_every_module_and_links_within_the_page(tmp_path):
    graph = model_graph(Net(), (3, 16, 16))
    svg = graph.to_svg(tmp_path / "net.svg", links={"stem": "#here", "block": "#there"})
    assert (tmp_path / "net.svg").read_text() == svg
    texts = [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("text")]
    assert {"stem", "block.conv", "block.relu (call 2)", "+", "concatenate", "head"} < set(texts)
    assert re.findall(r'href="([^"]*)"', svg).count("#here") == 1
    assert 'href="#there"' in svg
    with pytest.raises(ArgumentError, match="expected places in the page"):
        graph.to_dot({"stem": "https://example.org"})


def test_only_shapes_are_let_through():
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:x="http://www.w3.org/1999/xlink" '
        'onload="alert(1)"><script>alert(2)</script><a x:href="javascript:alert(3)"><text x="1" '
        'onclick="alert(4)" style="behavior:url(x)">name &lt;b&gt;</text></a><image x:href="y"/>'
        '<a x:href="#in"><title>t</title></a><foreignObject><b/></foreignObject></svg>'
    )
    clean = only_shapes(svg)
    assert not re.search("alert|script>|onload|onclick|style|image|foreign|javascript", clean)
    assert "name &lt;b&gt;" in clean
    assert 'href="#in"' in clean


def test_hostile_names_stay_texts():
    model = nn.Sequential()
    model.add_module("</text><script>alert(1)</script>", nn.Conv2d(3, 2, 3))
    svg = model_graph(model, (3, 8, 8)).to_svg()
    assert "<script" not in svg
    assert "&lt;script&gt;" in svg


def test_without_a_drawing_program(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with pytest.raises(
        ImportError,
        match=r"pip install -e '.\[graph\]' in the repository.*to_dot\(\) needs nothing",
    ):
        model_graph(Net(), (3, 16, 16)).to_svg()


def test_tensorboard_reads_the_modules(tmp_path):
    model = Net().train()
    with nothing_left_behind(model):
        file = tensorboard_graph(model, (3, 16, 16), tmp_path / "log")
    data = file.read_bytes()
    for name in (b"Block[block]", b"Conv2d[stem]", b"aten::cat"):
        assert name in data


def test_errors_and_state():
    with nothing_left_behind(model := Net().train()):
        model_graph(model, (3, 16, 16))
    with pytest.raises(ArgumentError, match="depth=0"):
        model_graph(Net(), (3, 16, 16), 0)
    with pytest.raises(ValueError, match="in_channels=3"):
        model_graph(Net(), (1, 16, 16))


@pytest.mark.parametrize("name", ["net.svg", "net.dot"])
def test_on_the_command_line(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    arguments = ["structure", "--model", "torchvision:squeezenet1_1", "--depth", "2"]
    assert main([*arguments, "--graph", name]) == 0
    assert "features.3" in (tmp_path / name).read_text()
    capsys.readouterr()
    assert main([*arguments, "--graph", "net.png"]) == 2
    assert "ends in .svg or .dot" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == [name]
