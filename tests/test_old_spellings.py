"""Every old spelling of an argument works for one version, with a warning that names the new."""

import importlib

import pytest
import torch
from test_input_sizes import network

from captum_cnn_ext import attr, cli, evidence, synthesis
from captum_cnn_ext._renamed import renamed


def deconvnet(**chunk):
    torch.manual_seed(0)
    x = torch.randn(2, 2, 9, 9)
    return attr.DeconvNet(network(), "1").reconstruct(x, rule="guided", **chunk).attributions


def atlas(**chunk):
    return synthesis.filter_atlas(network(), "0", [1, 2, 0], size=9, steps=1, **chunk).images


def similarity(**chunk):
    torch.manual_seed(0)
    return evidence.activation_similarity(
        network(), "1", torch.rand(4, 2, 9, 9), **{k: 2 * v for k, v in chunk.items()}
    ).scores


CALLS = {
    "batch_size": (similarity, "internal_batch_size"),
    "units_at_once": (deconvnet, "internal_batch_size"),
    "batch": (atlas, "internal_batch_size"),
}


@pytest.mark.parametrize("old", CALLS)
def test_it_works_and_warns(old):
    call, new = CALLS[old]
    with pytest.warns(DeprecationWarning, match=f"^{old}= is the old spelling of {new}=") as caught:
        found = call(**{old: 1})
    torch.testing.assert_close(found, call(**{new: 1}), rtol=0, atol=0, equal_nan=True)
    assert caught[0].filename == __file__


def test_the_new_spelling_wins():
    @renamed(old="new")
    def function(*, new=None):
        return new

    with pytest.warns(DeprecationWarning, match="old= is"):
        assert function(old=1, new=2) == 2
    assert function(new=2) == 2
    with pytest.raises(TypeError, match="other"):
        function(other=2)


@pytest.mark.parametrize(
    ("command", "old", "new", "dest"),
    [
        ("audit", "--layers", "--layer", "layer"),
        ("dream", "--layers", "--layer", "layer"),
        ("cam", "--layers", "--layer", "layer"),
        ("explore", "--labels", "--class-names", "class_names"),
    ],
)
def test_the_commands_take_the_old_spelling_with_a_note(
    command, old, new, dest, monkeypatch, capsys
):
    given = []
    module = importlib.import_module(f"captum_cnn_ext.cli.{command}")
    monkeypatch.setattr(module, f"_{command}", lambda options: given.append(options) or 0)
    for spelling in (old, new):
        assert cli.main([command, spelling, "x"]) == 0
    assert [getattr(options, dest) for options in given] == ["x", "x"]
    note = f"{old} is the old spelling of {new} and goes away in the next version"
    assert capsys.readouterr().err == f"captum-cnn-ext: note: {note}\n"
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    assert old not in capsys.readouterr().out.split()
