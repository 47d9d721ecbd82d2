"""Small networks, trained in seconds and kept beside the results."""

import io
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext._engine.whole_files import write_whole
from captum_cnn_ext.bench.truths import drawing
from captum_cnn_ext.bench.truths.fingerprints import code_fingerprint, files_of, fingerprint

LAST, MIDDLE = "relu4", "relu2"
WIDTHS = (16, 24, 32, 48)


def small_cnn(classes: int, seed: int, widths: Sequence[int] = WIDTHS) -> nn.Module:
    """Four convolutions, the second and third of stride 2, mean pooling and a linear layer.

    The network is untrained and in evaluation mode; the global random state stays.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers: list[tuple[str, nn.Module]] = []
        before = 3
        for number, width in enumerate(widths, 1):
            stride = 2 if number in (2, 3) else 1
            layers.append((f"conv{number}", nn.Conv2d(before, width, 3, stride, padding=1)))
            layers.append((f"relu{number}", nn.ReLU()))
            before = width
        layers += [("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten())]
        layers += [("fc", nn.Linear(before, classes))]
        return nn.Sequential(OrderedDict(layers)).eval()


class Training:
    """Trains networks, or reads them where the folder has them already.

    Args:
        folder: None keeps nothing.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    __repr__ = brief

    def __call__(
        self,
        name: str,
        model: nn.Module,
        draw: Callable[[], tuple[Tensor, Tensor]],
        *,
        steps: int = 200,
        batch: int = 64,
        rate: float = 4e-3,
        seed: int = 0,
    ) -> nn.Module:
        """The model with weights fitted to what ``draw`` gives: images and classes.

        A kept network is used where it has the same name, and start, settings and code that draws
        and trains were the same.
        """
        start = fingerprint(*model.state_dict().values())
        files = {Path(__file__), Path(drawing.__file__), *files_of(draw)}
        code = code_fingerprint(files, steps, batch, rate, seed, start)
        path = self.folder and self.folder / f"{name}-{code}.pt"
        if path and path.exists():
            model.load_state_dict(torch.load(path, weights_only=True))
            return model
        images, labels = draw()
        fit(model, images, labels, steps, batch, rate, seed)
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            buffer = io.BytesIO()
            torch.save(model.state_dict(), buffer)
            write_whole(path, buffer.getvalue())
        return model


def fit(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    steps: int,
    batch: int = 64,
    rate: float = 4e-3,
    seed: int = 0,
) -> None:
    """Adam on the cross-entropy, the rate up and down once; the order of images is seeded."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    order = torch.empty(0, dtype=torch.long)
    with torch.enable_grad():
        for _ in range(steps):
            if len(order) < batch:
                order = torch.cat(
                    [order, torch.randperm(len(images), generator=generator, device="cpu")]
                )
            now, order = order[:batch], order[batch:]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(images[now]), labels[now])
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    model.zero_grad()
