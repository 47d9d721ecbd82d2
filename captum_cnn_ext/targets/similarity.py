"""How alike the embedding of an image is to that of another."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.outputs import output_tensor
from captum_cnn_ext._engine.running.forward import copies, run_model
from captum_cnn_ext.errors import ArgumentError, TargetError
from captum_cnn_ext.targets.base import Target


@dataclass(frozen=True, eq=False, repr=False)
class Similarity(Target):
    r"""What makes this image like that one? The cosine of their embeddings.

    .. math:: y = \frac{\langle e(x),\, e' \rangle}{\lVert e(x) \rVert\, \lVert e' \rVert}

    For networks whose output is an embedding: face verification, metric learning, retrieval. A map
    shows the parts of x that bring its embedding towards the other's, e', which is held fixed.
    :meth:`pair` gives the targets for both sides, so that two maps show which parts of both images
    make them alike. A CAM counts whatever the features have in common, an equal background too;
    ``Occlusion`` shows what is no longer alike when it is covered.

    Reference: Stylianou, Souvenir, Pless, *Visualizing Deep Similarity Networks*, 2019,
    arXiv:1901.00536, for maps of both images of a pair.

    Args:
        other: the other image's embedding (D,), or one for each example, (N, D).
        read: from the model's output to embeddings (N, D), where that is not the tensor in it.

    Raises:
        TargetError: (when used) the model's embeddings have another length.

    Example::

        >>> import torch
        >>> from torchvision.models import resnet18
        >>> from captum_cnn_ext import attr, targets
        >>> model, first, second = resnet18(num_classes=16).eval(), *torch.rand(2, 1, 3, 64, 64)
        >>> of_first, of_second = targets.Similarity.pair(model, first, second)
        >>> cam = attr.LayerHiResCam(model, "layer3")
        >>> cam.attribute(first, of_first).shape, cam.attribute(second, of_second).shape
        (torch.Size([1, 1, 4, 4]), torch.Size([1, 1, 4, 4]))
    """

    other: Tensor
    read: Callable[[Any], Tensor] | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        other = self.other
        if not isinstance(other, Tensor) or not other.is_floating_point() or other.ndim < 1:
            got = f"{tuple(other.shape)} {other.dtype}" if isinstance(other, Tensor) else other
            raise ArgumentError(f"other: expected an embedding (D,) or (N, D), got {got!r}")
        object.__setattr__(self, "other", other.detach().flatten(1) if other.ndim > 1 else other)

    @classmethod
    def pair(
        cls,
        model: Callable[..., Any],
        first: Tensor | tuple[Tensor, ...],
        second: Tensor | tuple[Tensor, ...],
        *,
        read: Callable[[Any], Tensor] | None = None,
    ) -> tuple["Similarity", "Similarity"]:
        """The target for the first images, and the one for the second: each likens to the other.

        Cost: two forward passes.

        Args:
            model: what gives the embeddings.
            first: images (N, C, H, W), or a tuple of a model's inputs.
            second: as many others.
            read: as of the class.
        """
        with torch.inference_mode(False), torch.no_grad():
            embeddings = [
                _embeddings(run_model(model, copies(x if isinstance(x, tuple) else (x,))), read)
                for x in (first, second)
            ]
        return cls(embeddings[1], read=read), cls(embeddings[0], read=read)

    @property
    def is_fixed(self) -> bool:
        """Whether all examples are likened to one embedding."""
        return self.other.ndim == 1 or len(self.other) == 1

    def fixed(self, output: Any) -> list[Any]:
        """Each example's own embedding to be like."""
        rows = len(self(output))
        each = self.other.reshape(-1, self.other.shape[-1]).expand(rows, -1)
        return [Similarity(one, read=self.read) for one in each]

    def __call__(self, output: Any) -> Tensor:
        """The cosine of each example, (N,), from -1 to 1."""
        found = _embeddings(output, self.read)
        other = self.other.to(found).reshape(-1, self.other.shape[-1])
        if other.shape[1] != found.shape[1] or len(other) not in (1, len(found)):
            raise TargetError(
                f"target={self!r}: the model's embeddings are {tuple(found.shape)}, the other's "
                f"{tuple(other.shape)}; expected the same length, and one for all or one for each"
            )
        # written out: torch's own clamps the norms, which rules for rectifiers would act on
        norms = torch.linalg.vector_norm(found, dim=1) * torch.linalg.vector_norm(other, dim=1)
        products = torch.einsum("nd,nd->n", found, other.expand_as(found))
        cosines: Tensor = products / (norms + torch.finfo(found.dtype).tiny)
        return cosines

    def said(self, class_name: Callable[[int], str]) -> str:
        """In words."""
        return f"like an embedding of {self.other.shape[-1]} numbers"


def _embeddings(output: Any, read: Callable[[Any], Tensor] | None) -> Tensor:
    found = output_tensor(output) if read is None else read(output)
    return found.flatten(1)
