"""Residual sums of a graph: which they are, and what their branches' gradients become."""

import pytest
import torch
from torch import nn

from captum_cnn_ext._engine.backward.residual_branches import hold_back_branches
from captum_cnn_ext.errors import ArgumentError
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


NO_RESIDUAL_SUMS = {
    "a number": lambda x: (x.tanh() + 3).relu(),
    "two branches": lambda x: x.tanh().sin() + x.tanh().cos(),
    "joined": lambda x: torch.cat([x.tanh(), x.tanh().sin()], 1),
    "halves": lambda x: (lambda one, two: one + two.sin())(*x.tanh().chunk(2, 1)),
    "weights": lambda x: x.tanh() + torch.ones(1, requires_grad=True),
    "a product": lambda x: x.tanh() * x.tanh().sigmoid(),
}


@pytest.mark.parametrize("name", NO_RESIDUAL_SUMS)
def test_what_is_no_residual_sum(name):
    x = torch.rand(1, 2, 3, 3, requires_grad=True)
    assert hold_back_branches(x, [NO_RESIDUAL_SUMS[name](x)], 0.5) == 0


def test_what_lies_before_the_network_is_left_alone():
    x = torch.rand(1, 2, 3, 3, requires_grad=True)
    image = x.sin()
    image = image + image.tanh()
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
