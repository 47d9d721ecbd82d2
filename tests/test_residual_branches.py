"""Residual sums of a graph: which they are, and what their branches' gradients become."""

import pytest
import torch
import torchvision
from torch import nn

from captum_cnn_ext._engine.backward.residual_branches import hold_back_branches
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.models import load_model
from captum_cnn_ext.synthesis import Pixels, Target, maximize
from captum_cnn_ext.synthesis.regularizers import SkipGradient


class Blocks(nn.Module):
    """Residual sums as they are written: in both orders, in place, around each other, by ``add``.

    ``share`` of a branch's gradient by hand: the value is the same, a part of it is cut off.
    """

    def __init__(self, share: float | None = None) -> None:
        super().__init__()
        self.share = share
        self.parts = nn.ModuleList(nn.Conv2d(2, 2, 3, padding=1) for _ in range(5))
        self.head = nn.Linear(2, 4)

    def held(self, branch):
        if self.share is None:
            return branch
        return self.share * branch + (1 - self.share) * branch.detach()

    def forward(self, x):
        one, two, three, four, five = self.parts
        x = one(x).tanh()
        x = x + self.held(two(x).tanh())
        out = three(x).tanh()
        inner = out + self.held(four(out).sigmoid())
        out = self.held(inner * 2)
        out += x
        x = torch.add(out.tanh(), five(out))  # neither is computed from the other: no such sum
        return self.head(x.mean((2, 3)))


def alike(share):
    torch.manual_seed(0)
    plain, by_hand = Blocks().double(), Blocks(share).double()
    by_hand.load_state_dict(plain.state_dict())
    return plain, by_hand


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_gradient_is_that_of_branches_cut_by_hand(share):
    plain, by_hand = alike(share)
    x = torch.rand(2, 2, 6, 5, dtype=torch.double, requires_grad=True)
    output = plain(x)
    assert hold_back_branches(x, [output], share) == 3
    (found,) = torch.autograd.grad(output[:, 1].sum(), x)
    (expected,) = torch.autograd.grad(by_hand(x)[:, 1].sum(), x)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=0)
    (plain_gradient,) = torch.autograd.grad(plain(x)[:, 1].sum(), x)
    assert torch.equal(found, plain_gradient) == (share == 1)


WEIGHTS = torch.tensor([[[[0.4]], [[-0.3]]], [[[0.2]], [[0.7]]]])


def f(x):
    """A branch with weights."""
    return torch.nn.functional.conv2d(x, WEIGHTS.to(x)).sin()


def g(x):
    return f(x.tanh()).cos()


def gelu(x):
    return 0.5 * x * (1 + (0.8 * (x + 0.044715 * x**3)).tanh())


def two_in_place(x):
    out = f(x)
    out += x
    out += g(x)
    return out


# each of x.sin() or of a leaf, with its sums
RESIDUAL_SUMS = {
    "one": (lambda x: x + f(x), 1),
    "the branch first": (lambda x: f(x) + x, 1),
    "a linear layer": (lambda x: x + nn.functional.linear(x, torch.eye(3)), 1),
    "a norm": (lambda x: x + nn.functional.layer_norm(x, (3, 3)), 1),
    "three operands": (lambda x: x + f(x) + g(x), 2),
    "three, the branches made before": (lambda x: (lambda b, a: x + a + b)(g(x), f(x)), 2),
    "three, in brackets": (lambda x: x + (f(x) + g(x)), 1),
    "three, the last first": (lambda x: g(x) + (x + f(x)), 2),
    "three, in place": (two_in_place, 2),
    "four operands": (lambda x: x + f(x) + g(x) + f(g(x)), 3),
    "one after another": (lambda x: (lambda y: y + g(y))(x + f(x)), 2),
    "an activation in the branch": (lambda x: x + f(gelu(x)), 1),
}


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("name", RESIDUAL_SUMS)
def test_what_is_a_residual_sum(name, leaf):
    make, sums = RESIDUAL_SUMS[name]
    x = torch.rand(1, 2, 3, 3, requires_grad=True)
    start = x if leaf else x.sin()
    assert hold_back_branches(start, [make(start)], 0.5) == sums


@pytest.mark.parametrize("leaf", [True, False])
def test_each_branch_of_three_operands_is_held_and_x_is_whole(leaf):
    x = torch.rand(1, 2, 3, 3, dtype=torch.double, requires_grad=True)

    def gradient(held):
        start = x if leaf else x.sin()
        out = held(start)
        return torch.autograd.grad((out * torch.arange(18.0).reshape(out.shape)).sum(), x)[0]

    def by_hook(start):
        out = start + f(start) + g(start)
        hold_back_branches(start, [out], 0.3)
        return out

    def by_hand(start):
        branches = f(start) + g(start)
        return start + 0.3 * branches + 0.7 * branches.detach()

    torch.testing.assert_close(gradient(by_hook), gradient(by_hand), rtol=1e-10, atol=0)


NO_RESIDUAL_SUMS = {
    "a number": lambda x: (f(x) + 3).relu(),
    "two branches": lambda x: f(x) + g(x),
    "joined": lambda x: torch.cat([x, f(x)], 1),
    "halves": lambda x: (lambda one, two: one + f(two))(*torch.cat([x, x], 1).tanh().chunk(2, 1)),
    "weights": lambda x: f(x) + torch.ones(1, requires_grad=True),
    "a shared weight": lambda x: (lambda w: f(x * w) + w)(torch.ones(1, requires_grad=True)),
    "a product": lambda x: x * f(x).sigmoid(),
    "a GELU by hand": lambda x: gelu(f(x)),
    "no weights": lambda x: x + x.tanh(),
    "weights beside the path": lambda x: x + x.tanh() * f(torch.ones_like(x)),
}


@pytest.mark.parametrize("leaf", [True, False])
@pytest.mark.parametrize("name", NO_RESIDUAL_SUMS)
def test_what_is_no_residual_sum(name, leaf):
    x = torch.rand(1, 2, 3, 3, requires_grad=True)
    start = x if leaf else x.sin()
    assert hold_back_branches(start, [NO_RESIDUAL_SUMS[name](start)], 0.5) == 0


# images of the default recipe, and results that were made with it, depend on these
SUMS = {"resnet18": 5, "mobilenet_v3_small": 6, "densenet121": 0}


@pytest.mark.parametrize("name", ["demo", *SUMS])
def test_the_sums_of_networks(name):
    model = load_model("demo").model if name == "demo" else getattr(torchvision.models, name)()
    x = torch.rand(1, 3, 64, 64, requires_grad=True)
    assert hold_back_branches(x, [model.eval()(x)], 0.5) == SUMS.get(name, 9)


def test_what_lies_before_the_network_is_left_alone():
    x = torch.rand(1, 2, 3, 3, requires_grad=True)
    image = x.sin()
    image = image + f(image)
    assert hold_back_branches(image, [image.exp()], 0.5) == 0
    assert hold_back_branches(x, [image.exp()], 0.5) == 1
    assert hold_back_branches(x.detach(), [image.exp()], 0.5) == 0


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_an_ascent_takes_the_held_back_gradient(share):
    plain, by_hand = alike(share)
    how = {
        "steps": 3,
        "parameterization": Pixels,
        "optimizer": lambda parameters: torch.optim.SGD(parameters, lr=2.0),
        "transforms": [],
    }
    image = torch.rand(1, 2, 6, 5, dtype=torch.double)
    found = maximize(plain, Target(2), image, regularizers=[SkipGradient(share)], **how)
    expected = maximize(by_hand, Target(2), image, regularizers=[], **how)
    torch.testing.assert_close(found.images, expected.images, rtol=1e-10, atol=0)
    bare = maximize(plain, Target(2), image, regularizers=[], **how)
    assert torch.equal(found.images, bare.images) == (share == 1)


def test_a_share_is_from_0_to_1():
    with pytest.raises(ArgumentError, match=r"share=1\.5"):
        SkipGradient(1.5)


def test_a_regularizer_inherits_from_the_base():
    class Darker:
        on_pixels = False

        def penalty(self, image):
            return image.flatten(1).mean(1)

    said = r"regularizers: got .*Darker.* at 1, expected .* inherits from .*\.Regularizer"
    with pytest.raises(ArgumentError, match=said):
        maximize(Blocks(), Target(2), 6, steps=1, regularizers=[SkipGradient(), Darker()])
