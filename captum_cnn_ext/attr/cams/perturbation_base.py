"""The abstract base of class activation maps whose weights are scores of changed passes."""

from abc import ABC, abstractmethod
from typing import final

import torch
from captum.attr import PerturbationAttribution
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import TargetType
from captum_cnn_ext._engine.running.batching import Chunk
from captum_cnn_ext._engine.running.layer_sites import Site
from captum_cnn_ext.attr.cams.base import ActivationMap, Evidence, Request


class PerturbationCam(ActivationMap, PerturbationAttribution, ABC):
    """Abstract: a class activation map from the scores of many changed passes."""

    _counts_rows = True

    @final
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def _evidence(self, chunk: Chunk, request: Request) -> list[Evidence]:
        return [each for site in request.sites for each in self._scored(site, chunk, request)]

    @abstractmethod
    def _scored(self, site: Site, chunk: Chunk, request: Request) -> list[Evidence]:
        """For each tensor of the layer: ``(N, C, *positions)`` and the scores for its weights."""

    def _parts(self, activations: Tensor, weights: Tensor) -> Tensor:
        """weight_k A_k, where a subclass has no other formula."""
        return weights * activations


def repeated(target: TargetType, n: int, length: int, count: int) -> TargetType:
    """The target of example n, for ``count`` rows of it."""
    if isinstance(target, Tensor) and target.numel() > 1 and len(target) == length:
        return target[n].expand(count)
    if isinstance(target, list) and len(target) == length:
        return [target[n]] * count
    return target
