"""What a layer's replacement must give: the full forward with a hook, on copies of the inputs."""

import torch
from torch.utils._pytree import tree_flatten, tree_unflatten


def with_replaced_layer(model, layer, inputs, new, *, call=0, at_input=False):
    """The model's output when that call of ``layer`` gives (or receives) the tensors ``new``."""
    seen = []

    def replace(value):
        seen.append(1)
        if len(seen) - 1 != call:
            return value
        leaves, tree = tree_flatten(value)
        tensors = iter(t.clone() for t in new)
        return tree_unflatten(
            [next(tensors) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves], tree
        )

    if at_input:
        handle = layer.register_forward_pre_hook(lambda _, args: replace(args))
    else:
        handle = layer.register_forward_hook(lambda _, __, output: replace(output))
    try:
        return model(*(x.clone() for x in inputs))
    finally:
        handle.remove()


def changed(tensors, seed=0):
    """Other values for a layer's tensors, on the same scale."""
    generator = torch.Generator().manual_seed(seed)
    return [
        t + 0.3 * t.std() * torch.randn(t.shape, generator=generator, device="cpu").to(t)
        if t.is_floating_point()
        else t
        for t in tensors
    ]
