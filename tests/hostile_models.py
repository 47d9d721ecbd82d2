"""Small networks of which a forward pass does not tell everything by its tensor operations.

Each is a normalisation or a choice in front of, or between, two convolutions ("stem", "layer") and
a linear head. ``LEAVES`` take a value out of torch that depends on the image; ``HARMLESS`` only
seem to; the rest hide something in another way.
"""

import math
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

IMAGE = (3, 12, 12)


class Hostile(nn.Module):
    """Subclasses do something to the image (``before``) or to the first map (``between``)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer = nn.Conv2d(4, 5, 3, padding=1)
        self.head = nn.Linear(5, 3)
        self.register_buffer("scale", torch.tensor(1.5))
        self.register_buffer("kept", torch.zeros(1, 3, 1, 1))

    def before(self, x):
        return x

    def between(self, a):
        return a

    def forward(self, x):
        a = self.between(self.stem(self.before(x)).relu())
        return self.head(self.layer(a).relu().mean((2, 3)))


def per_image(x, values):
    """Numbers for each image, away from 0."""
    return torch.as_tensor(values, dtype=x.dtype).reshape(-1, 1, 1, 1) + 0.1


# --- a value leaves ---------------------------------------------------------------------------


class NumpyMax(Hostile):
    def before(self, x):
        return x / per_image(x, x.detach().numpy().max(axis=(1, 2, 3)))


class NumpyArray(Hostile):
    def before(self, x):
        return x - per_image(x, [np.percentile(np.asarray(one.detach()), 95) for one in x])


class ToList(Hostile):
    def before(self, x):
        return x / per_image(x, [max(values) for values in x.detach().flatten(1).tolist()])


class Items(Hostile):
    def before(self, x):
        return x / per_image(x, [one.detach().max().item() for one in x])


class Floats(Hostile):
    def between(self, a):
        return a / per_image(a, [math.sqrt(float(one.detach().square().sum()) + 1) for one in a])


class NumbersInATensor(Hostile):
    """``torch.tensor`` of a list of tensors reads them, and no operation says so."""

    def before(self, x):
        return x / per_image(x, torch.tensor([one.detach().max() for one in x]))


class Branches(Hostile):
    def between(self, a):
        return torch.stack([one if one.amax() > 1.5 else one.flip(2) * 2 for one in a])


class Equal(Hostile):
    def before(self, x):
        ones = [one if torch.equal(one.clamp(max=3), one) else one.sqrt() for one in x.abs()]
        return torch.stack(ones)


class Chosen(Hostile):
    """The map's strongest channel is doubled."""

    def between(self, a):
        strongest = [int(one.sum((1, 2)).argmax()) for one in a]
        factors = torch.ones(len(a), 4, dtype=a.dtype)
        for row, channel in enumerate(strongest):
            factors[row, channel] = 2.0
        return a * factors[:, :, None, None]


class SortedAtTheEnd(Hostile):
    """What follows the layer looks affine: an index, a mean and a linear layer."""

    def forward(self, x):
        a = self.layer(self.stem(x).relu())
        orders = [one.detach().mean((1, 2)).argsort().tolist() for one in a]
        a = torch.stack([one[order] for one, order in zip(a, orders, strict=True)])
        return self.head(a.mean((2, 3)))


class Masked(Hostile):
    """How many values are large leaves as a shape."""

    def before(self, x):
        return x / per_image(x, [1 + len(one[one > 0.8]) for one in x])


class Memory(Hostile):
    """NumPy looks at the tensor's memory by itself."""

    def before(self, x):
        x = x.contiguous()
        return x / per_image(x, [np.from_dlpack(one.detach()).max() for one in x])


class InAFunction(Hostile):
    class Normalised(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            top = per_image(x, x.numpy().max(axis=(1, 2, 3)))
            ctx.save_for_backward(top)
            return x / top

        @staticmethod
        def backward(ctx, gradient):
            (top,) = ctx.saved_tensors
            return gradient / top

    def before(self, x):
        return self.Normalised.apply(x)


class Inside(Hostile):
    """The value leaves in a module of its own, before the layer."""

    class Normalise(nn.Module):
        def forward(self, x):
            return x / per_image(x, [one.detach().max().item() for one in x])

    def __init__(self):
        super().__init__()
        self.normalise = self.Normalise()

    def before(self, x):
        return self.normalise(x)


class Stashed(Hostile):
    """A module keeps the maxima for what comes after the layer."""

    class Note(nn.Module):
        tops = ()

        def forward(self, x):
            self.tops = x.detach().flatten(1).amax(1).tolist()
            return x

    def __init__(self):
        super().__init__()
        self.note = self.Note()

    def forward(self, x):
        a = self.layer(self.stem(self.note(x)).relu()).relu()
        return self.head((a / per_image(a, self.note.tops)).mean((2, 3)))


# --- something else is hidden -----------------------------------------------------------------


class KeptTensor(Hostile):
    """A module keeps a tensor for what comes after the layer, as some U-nets do."""

    class Keep(nn.Module):
        skip = None

        def forward(self, x):
            self.skip = x.mean((2, 3))
            return x * 2

    def __init__(self):
        super().__init__()
        self.keep = self.Keep()

    def forward(self, x):
        a = self.layer(self.stem(self.keep(x)).relu()).relu()
        return self.head(a.mean((2, 3)) * self.keep.skip.sum(1, keepdim=True))


class MaskAfterRoll(Hostile):
    """Rolled maps are not followed but measured with NaN, which ends at a comparison."""

    def between(self, a):
        return a * (a.roll(3, 2) > 0.4)


class NoNumber(Hostile):
    def between(self, a):
        return a + torch.nan_to_num(a.roll(3, 3))


class ThroughAView(Hostile):
    def between(self, a):
        a = a + 1
        half = a[:, :2]
        half.add_(F.avg_pool2d(half.clone(), 3, 1, 1))
        return a


class ThroughData(Hostile):
    def between(self, a):
        a.data.copy_(F.avg_pool2d(a, 5, 1, 2))
        return a


class ViewMadeBefore(Hostile):
    """The memory is written through its base and read through a view from before."""

    def between(self, a):
        kept = torch.zeros(a.shape, dtype=a.dtype)
        flat = kept.view(-1)
        kept.copy_(F.avg_pool2d(a, 5, 1, 2))
        return flat.view(a.shape) + a


class Buffered(Hostile):
    """A buffer of the model is written and read again."""

    def before(self, x):
        if len(x) == 1:
            self.kept.copy_(x.amax((2, 3), keepdim=True))
            return x / (self.kept + 0.1)
        return x / (x.amax((2, 3), keepdim=True) + 0.1)


class InAThread(Hostile):
    """The first map is blurred by a thread of its own."""

    def between(self, a):
        found = []
        thread = threading.Thread(target=lambda: found.append(F.avg_pool2d(a, 5, 1, 2)))
        thread.start()
        thread.join()
        return found[0]


class InAPool(Hostile):
    """The same by a pool whose worker is already there, in a module of its own."""

    class Blur(nn.Module):
        pool = ThreadPoolExecutor(1)
        pool.submit(int).result()

        def forward(self, a):
            return self.pool.submit(F.avg_pool2d, a, 5, 1, 2).result()

    def __init__(self):
        super().__init__()
        self.blur = self.Blur()

    def between(self, a):
        return self.blur(a)


# --- nothing is hidden ------------------------------------------------------------------------


class ByShape(Hostile):
    def before(self, x):
        return x * 2 if x.shape[-1] > 8 else F.pad(x, (1, 1, 1, 1))


class ConstantItem(Hostile):
    """A number of the model itself, out and in again; and one of a weight."""

    def before(self, x):
        return x / self.scale.item() * float(self.stem.weight.detach().sum().sigmoid())


class Printed(Hostile):
    """What is printed does not come back."""

    def before(self, x):
        assert f"{x.max():.3f} {x[0, 0, 0]!r}"
        return x


# --- random numbers ---------------------------------------------------------------------------


class Dropout(Hostile):
    def between(self, a):
        return F.dropout(a, 0.3, training=True)


class Noise(Hostile):
    def before(self, x):
        return x + torch.randn_like(x) * 0.1


class OneNumber(Hostile):
    def before(self, x):
        return x * (1 + torch.rand(1))


class PythonsRandom(Hostile):
    def before(self, x):
        return x.roll(random.choice([1, 2]), 3)


class NumpysRandom(Hostile):
    def before(self, x):
        return x * np.random.uniform(0.5, 2)  # noqa: NPY002


class Counted(Hostile):
    """A counter that Python keeps, and no module."""

    calls = [0]  # noqa: RUF012

    def before(self, x):
        self.calls[0] += 1
        return x * self.calls[0]


class DrawsTwice(Hostile):
    """A module draws before the layer, and the model after it."""

    class Draw(nn.Module):
        def forward(self, x):
            return F.dropout(x, 0.3, training=True)

    def __init__(self):
        super().__init__()
        self.draw = self.Draw()

    def forward(self, x):
        a = self.layer(self.draw(self.stem(x))).relu()
        return self.head(F.dropout(a, 0.5, training=True).mean((2, 3)))


# --- one example depends on the others in its batch -------------------------------------------


class LargestOfAll(Hostile):
    def before(self, x):
        return x / float(x.max())


class LargestInTorch(Hostile):
    def before(self, x):
        return x / x.max()


class MeanOfAll(Hostile):
    def between(self, a):
        return a - a.mean(0)


LEAVES = [
    NumpyMax, NumpyArray, ToList, Items, Floats, NumbersInATensor, Branches, Equal, Chosen,
    SortedAtTheEnd, Masked,
    Memory, InAFunction, Inside, Stashed,
]  # fmt: skip
THREADED = [InAThread, InAPool]
HIDDEN = [KeptTensor, MaskAfterRoll, NoNumber, ThroughAView, ThroughData, ViewMadeBefore, Buffered,
          *THREADED]  # fmt: skip
HARMLESS = [ByShape, ConstantItem]
RANDOM = [Dropout, Noise, OneNumber, PythonsRandom, NumpysRandom]
MIXING = [LargestOfAll, LargestInTorch, MeanOfAll]


def build(cls):
    torch.manual_seed(3)
    return cls().eval()


def images(count=1):
    """Values from 0 to 1, but for one pixel that stands out and is seen by few windows."""
    x = torch.rand(count, *IMAGE, generator=torch.Generator().manual_seed(5))
    x[:, 1, 2, 9] = 4.0
    return x
