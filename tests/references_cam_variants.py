"""Further formulas, slow and literal: variants of gradient CAMs, FullGrad, decompositions.

Never imports the package. Where torch's autograd is used it is on the plain whole graph.
"""

import numpy as np
import torch
import torch.nn.functional as F


def scores_of(output, target):
    classes = [target] * len(output) if isinstance(target, int) else list(target)
    return [output[n, c] for n, c in enumerate(classes)]


def captured(model, layer, inputs, call=-1):
    """The output with its graph, and the layer's tensor that it was made from."""
    seen = []

    def keep(_, __, output):
        kept = output if output.requires_grad else output.clone().requires_grad_()
        seen.append(kept)
        return kept.clone()

    handle = layer.register_forward_hook(keep)
    output = model(inputs.clone())
    handle.remove()
    return output, seen[call]


def smooth_grad_cam_plus_plus(model, layer, x, target, *, noise, seed, samples, call=-1):
    """Means of g, g^2, g^3 over noisy copies; the clean activation; one position at a time."""
    _, clean = captured(model, layer, x, call)
    generator = torch.Generator().manual_seed(seed)
    gradients = []
    for _ in range(samples):
        draw = torch.randn(x.shape[1:], generator=generator).to(x.dtype)
        noisy = torch.stack([image + noise * (image.max() - image.min()) * draw for image in x])
        output, tensor = captured(model, layer, noisy, call)
        (g,) = torch.autograd.grad(sum(scores_of(output, target)), tensor)
        gradients.append(g.double().flatten(2).numpy())
    a = clean.detach().double().flatten(2).numpy()
    result = np.zeros((a.shape[0], a.shape[2]))
    for n, k in np.ndindex(*a.shape[:2]):
        weight = 0.0
        for p in range(a.shape[2]):
            ones, twos, threes = (
                sum(g[n, k, p] ** power for g in gradients) / samples for power in (1, 2, 3)
            )
            denominator = 2 * twos + sum(a[n, k]) * threes
            weight += (twos / denominator if denominator else 0.0) * max(ones, 0.0)
        result[n] += weight * a[n, k]
    return torch.from_numpy(result).reshape(len(a), 1, *clean.shape[2:])


def finer_cam(model, layer, x, target, *, gamma, references, call=-1):
    """Grad-CAM of the mean difference to the most similar classes, each example by itself."""
    maps = []
    for n in range(len(x)):
        output, tensor = captured(model, layer, x[n : n + 1], call)
        own = target if isinstance(target, int) else target[n]
        values = output[0].tolist()
        others = [i for i in range(len(values)) if i != own]
        others.sort(key=lambda i: abs(values[i] - values[own]))
        p = torch.softmax(output[0].detach(), 0)
        top = sum(p[i] * (output[0, own] - gamma * output[0, i]) for i in others[:references])
        (g,) = torch.autograd.grad(top / sum(p[i] for i in others[:references]), tensor)
        maps.append(
            sum(g[0, k].mean() * tensor[0, k].detach() for k in range(tensor.shape[1])).double()
        )
    return torch.stack(maps)[:, None]


def shapley_cam(model, layer, x, target, *, call=-1):
    """w_k = mean(g - H A / 2) with the Hessian written out, each example by itself."""
    maps = []
    for n in range(len(x)):
        output, tensor = captured(model, layer, x[n : n + 1], call)
        own = target if isinstance(target, int) else target[n]
        (g,) = torch.autograd.grad(output[0, own], tensor, create_graph=True)
        rows = []
        for entry in g.flatten():
            if entry.requires_grad:
                (row,) = torch.autograd.grad(entry, tensor, retain_graph=True, allow_unused=True)
            rows.append(torch.zeros_like(tensor) if not entry.requires_grad or row is None else row)
        hessian = torch.stack([row.flatten() for row in rows])
        a = tensor.detach().flatten()
        weight = (g.detach().flatten() - 0.5 * hessian @ a).reshape(tensor.shape)[0]
        maps.append(sum(w.mean() * a for w, a in zip(weight, tensor[0].detach(), strict=True)))
    return torch.stack(maps)[:, None]


def first_component(matrix):
    """(p, k) projected on its first right singular vector, lit where the energy is."""
    _, _, directions = np.linalg.svd(matrix, full_matrices=False)
    projection = matrix @ directions[0]
    energy = (matrix**2).sum(1)
    covariance = sum((projection - projection.mean()) * (energy - energy.mean()))
    return projection if covariance >= 0 else -projection


def eigen_cam(activation, gradient=None):
    a = activation.double() if gradient is None else activation.double() * gradient.double()
    maps = [first_component(image.flatten(1).T.numpy()) for image in a]
    return torch.from_numpy(np.stack(maps)).reshape(len(a), 1, *a.shape[2:])


def fem(activation):
    a = activation.double().flatten(2).numpy()
    result = np.zeros((a.shape[0], a.shape[2]))
    for n, k, p in np.ndindex(*a.shape):
        mean = sum(a[n, k]) / a.shape[2]
        deviation = (sum((a[n, k] - mean) ** 2) / a.shape[2]) ** 0.5
        if a[n, k, p] > mean + 2 * deviation:
            result[n, p] += mean
    return torch.from_numpy(result).reshape(len(a), 1, *activation.shape[2:])


def kernel_matrix(positions, kernel):
    """k(a, b) for every pair of rows."""
    gamma = 1 / positions.shape[1]
    result = np.zeros((len(positions), len(positions)))
    for i, a in enumerate(positions):
        for j, b in enumerate(positions):
            if kernel == "sigmoid":
                result[i, j] = np.tanh(gamma * a @ b + 1)
            elif kernel == "rbf":
                result[i, j] = np.exp(-gamma * ((a - b) ** 2).sum())
            else:
                result[i, j] = a @ b
    return result


def kpca_cam(activation, kernel):
    maps = []
    for image in activation.double():
        matrix = image.flatten(1).T.numpy()
        k = kernel_matrix(matrix - matrix.mean(0), kernel)
        ones = np.full(k.shape, 1 / len(k))
        values, vectors = np.linalg.eigh(k - ones @ k - k @ ones + ones @ k @ ones)
        projection = vectors[:, -1] * max(values[-1], 0) ** 0.5
        energy = (matrix**2).sum(1)
        maps.append(projection * (1 if projection @ (energy - energy.mean()) >= 0 else -1))
    return torch.from_numpy(np.stack(maps)).reshape(len(maps), 1, *activation.shape[2:])


def full_grad(model, x, target):
    """The authors' picture: input term and every convolution's and batch norm's bias term."""
    seen, handles = [], []

    def keep(module, _, output):
        seen.append((module, output))
        return output.clone()

    for module in model.modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.BatchNorm2d)):
            handles.append(module.register_forward_hook(keep))
    image = x.clone().requires_grad_()
    output = model(image)
    for handle in handles:
        handle.remove()
    tensors = [image, *(tensor for _, tensor in seen)]
    gradients = torch.autograd.grad(sum(scores_of(output, target)), tensors)
    terms = [gradients[0] * x]
    for (module, _), gradient in zip(seen, gradients[1:], strict=True):
        bias = module.bias
        if isinstance(module, torch.nn.BatchNorm2d):
            deviation = (module.running_var + module.eps) ** 0.5
            bias = module.bias - module.running_mean * module.weight / deviation
        if bias is not None:
            terms.append((gradient * bias[None, :, None, None]).detach())
    result = torch.zeros(len(x), 1, *x.shape[2:], dtype=x.dtype)
    for term in terms:
        for n in range(len(x)):
            a = term[n].abs()
            if a.max() > a.min():
                a = (a - a.min()) / (a.max() - a.min())
                up = F.interpolate(a[None], x.shape[2:], mode="bilinear", align_corners=True)
                result[n, 0] += sum(up[0])
    return result
