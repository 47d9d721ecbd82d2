"""Each formula again: slow, literal, loops allowed, never importing the package.

``activation_and_gradient`` takes the plain way of a notebook: a hook, the whole graph, autograd.
"""

import numpy as np
import torch


def activation_and_gradient(model, layer, inputs, target, *, call=-1, at_input=False, extra=()):
    """A and dy/dA of one layer for each example's target class, through the full graph."""
    seen = []

    def keep(tensor):
        if not tensor.requires_grad:
            tensor = tensor.clone().requires_grad_()
        seen.append(tensor)
        return tensor.clone()

    if at_input:
        handle = layer.register_forward_pre_hook(lambda _, args: (keep(args[0]), *args[1:]))
    else:
        handle = layer.register_forward_hook(lambda _, __, output: keep(output))
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    output = model(*(x.clone() for x in inputs), *extra)
    handle.remove()
    classes = [target] * len(output) if isinstance(target, int) else list(target)
    score = sum(output[n, c] for n, c in enumerate(classes))
    (gradient,) = torch.autograd.grad(score, seen[call])
    return seen[call].detach(), gradient


def grad_cam(activation, gradient):
    """w_k = (1 / P) sum_p g_kp, one channel at a time."""
    a, g = activation.double().flatten(2).numpy(), gradient.double().flatten(2).numpy()
    result = np.zeros_like(a)
    for n in range(a.shape[0]):
        for k in range(a.shape[1]):
            result[n, k] = sum(g[n, k]) / a.shape[2] * a[n, k]
    return _map(result, activation)


def grad_cam_plus_plus(activation, gradient, normalize_alphas=False):
    """Equation 19 as printed, one position at a time."""
    a, g = activation.double().flatten(2).numpy(), gradient.double().flatten(2).numpy()
    result = np.zeros_like(a)
    for n in range(a.shape[0]):
        for k in range(a.shape[1]):
            total = sum(a[n, k])
            alphas = []
            for p in range(a.shape[2]):
                denominator = 2 * g[n, k, p] ** 2 + total * g[n, k, p] ** 3
                alphas.append(g[n, k, p] ** 2 / denominator if denominator != 0 else 0.0)
            if normalize_alphas:
                kept = [alpha if g[n, k, p] > 0 else 0.0 for p, alpha in enumerate(alphas)]
                alphas = [alpha / sum(kept) if sum(kept) else 0.0 for alpha in kept]
            weight = sum(alpha * max(g[n, k, p], 0) for p, alpha in enumerate(alphas))
            result[n, k] = weight * a[n, k]
    return _map(result, activation)


def x_grad_cam(activation, gradient):
    a, g = activation.double().flatten(2).numpy(), gradient.double().flatten(2).numpy()
    result = np.zeros_like(a)
    for n in range(a.shape[0]):
        for k in range(a.shape[1]):
            total = sum(a[n, k])
            if abs(total) > 1e-12 * sum(abs(a[n, k])):
                weight = sum(g[n, k, p] * a[n, k, p] / total for p in range(a.shape[2]))
                result[n, k] = weight * a[n, k]
    return _map(result, activation)


def hires_cam(activation, gradient):
    a, g = activation.double().flatten(2).numpy(), gradient.double().flatten(2).numpy()
    result = np.zeros_like(a)
    for index in np.ndindex(*a.shape):
        result[index] = g[index] * a[index]
    return _map(result, activation)


def layer_cam(activation, gradient):
    a, g = activation.double().flatten(2).numpy(), gradient.double().flatten(2).numpy()
    result = np.zeros_like(a)
    for index in np.ndindex(*a.shape):
        result[index] = max(g[index], 0.0) * a[index]
    return _map(result, activation)


def cam(activation, weight, target):
    """sum_k W_ck A_k for each example's class."""
    a, w = activation.double().flatten(2).numpy(), weight.detach().double().numpy()
    classes = [target] * len(a) if isinstance(target, int) else list(target)
    result = np.zeros_like(a)
    for n, k in np.ndindex(*a.shape[:2]):
        result[n, k] = w[classes[n], k] * a[n, k]
    return _map(result, activation)


def _map(contributions, activation):
    """Sum over channels, positions back to the layer's shape."""
    total = contributions.sum(1)
    return torch.from_numpy(total).reshape(len(total), 1, *activation.shape[2:])
