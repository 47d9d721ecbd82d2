"""D-RISE: which parts of the input a detector needs to find an object."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from captum_cnn_ext._engine.judging.captum_compat import log_usage
from captum_cnn_ext._engine.judging.detections import (
    LOWER_THRESHOLD,
    Detections,
    as_detections,
    similarities,
)
from captum_cnn_ext._engine.judging.targets import TargetColumns, target_columns
from captum_cnn_ext._engine.running.batching import in_chunks, rows_of, tuples_for_tuples
from captum_cnn_ext._engine.running.forward import copies, run_model
from captum_cnn_ext._numbers import whole
from captum_cnn_ext.attr.pixels.masked_input_base import MaskSettings, RandomlyMasked, Scorer
from captum_cnn_ext.errors import ArgumentError, TargetError


class DRise(RandomlyMasked):
    r"""D-RISE: the masks of random parts of the image, weighted by how well an object is found.

    .. math::
        L(p) = \frac{1}{p_1 M} \sum_{i=1}^{M} w_i\, M_i(p), \quad
        w_i = \max_{j \in f(x \odot M_i)} \mathrm{IoU}(b_t, b_j)\, \cos(P_t, P_j)\, s_j

    b, P and s are the box, the class probabilities and the score of the object t that is explained
    and of every detection j in the masked image. A detector that gives a class instead of
    probabilities has a cosine of 1 for the same class and of 0 for another.

    A black box: it suits any detector, in one stage, two stages or with a transformer, also one
    that is not differentiable. The detector is a function from images (N, C, H, W) to a list with
    a dictionary for each of them, as torchvision's are: ``boxes`` (K, 4) as left, top, right,
    bottom in pixels, ``labels`` (K,), ``scores`` (K,) and, if it has them, ``probabilities``
    (K, classes). A detector that hides weak detections (torchvision: below 0.05) gives masks in
    which the object is hardly found the weight 0; lower its threshold for smoother maps.

    Masks, seed and baselines are as in :class:`Rise`, with finer cells; the map is theirs too, so
    that all values have a mean in common.

    Cost: M + 1 forward passes for each example, however many objects there are; no gradient.

    Reference: Petsiuk, Jain, Manjunatha, Morariu, Mehra, Ordonez, Saenko, *Black-box Explanation
    of Object Detectors via Saliency Maps*, 2021, arXiv:2006.03204.

    Args:
        forward_func: the detector, or any function of the inputs that gives detections.

    Example::

        >>> import torch
        >>> from torchvision.models.detection import ssdlite320_mobilenet_v3_large
        >>> from captum_cnn_ext.attr import DRise
        >>> _ = torch.manual_seed(0)
        >>> detector = ssdlite320_mobilenet_v3_large(weights_backbone=None, num_classes=3).eval()
        >>> DRise(detector).attribute(torch.rand(1, 3, 64, 64), target=0, n_samples=4).shape
        torch.Size([1, 1, 64, 64])
    """

    @log_usage(part_of_slo=True)  # type: ignore[untyped-decorator]
    @torch.no_grad()  # type: ignore[untyped-decorator]
    def attribute(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        baselines: Any = None,
        target: Any = None,
        additional_forward_args: Any = None,
        n_samples: int = 5000,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        *,
        cells: int | Sequence[int] = 16,
        probability: float = 0.5,
        seed: int = 0,
    ) -> Any:
        """The map of one object in each input, at the input's resolution.

        Args:
            inputs: images (N, C, H, W), or a tuple of them.
            target: which object is explained: the number of a detection in what the detector gives
                for the whole image, None is 0, for torchvision's the one of the highest score;
                ``Boxes(0, label=7)`` and the like of `captum_cnn_ext.targets`; or an object of
                your own, {"boxes": (left, top, right, bottom), "labels": class}, that
                the detector may have missed. A list has one of these for each example.

        Returns:
            (N, 1, H, W), in the input's floating-point type; a tuple of these when ``inputs`` is a
            tuple.

        Raises:
            ArgumentError: the function gives no detections in this form, or a number is out of
                its range.
            TargetError: an example has no such detection.
        """
        own = target.tolist() if isinstance(target, Tensor) and target.ndim else target
        columns = (
            TargetColumns(None, [[each] for each in own])
            if isinstance(own, list)
            else TargetColumns([0 if own is None else own], None)
        )
        settings = MaskSettings(
            n_samples=n_samples,
            perturbations_per_eval=perturbations_per_eval,
            show_progress=show_progress,
            cells=cells,
            probability=probability,
            seed=seed,
        )
        found = self._weighted_masks(inputs, baselines, additional_forward_args, columns, settings)
        return tuples_for_tuples(tuple(maps[:, 0] for maps in found), inputs)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def attribute_targets(
        self,
        inputs: Tensor | tuple[Tensor, ...],
        targets: Sequence[Any] | Tensor,
        baselines: Any = None,
        additional_forward_args: Any = None,
        n_samples: int = 5000,
        perturbations_per_eval: int = 1,
        show_progress: bool = False,
        *,
        cells: int | Sequence[int] = 16,
        probability: float = 0.5,
        seed: int = 0,
    ) -> Any:
        """The maps of T objects in each input, from the passes of one ``attribute``.

        Args:
            targets: T objects, each as ``attribute``'s ``target``, as a list or a tensor (T,) that
                all inputs share; or each input's own T, as a tensor (N, T) or a list of N lists.

        Returns:
            (N, T, 1, H, W); a tuple of these when ``inputs`` is a tuple.
        """
        columns = target_columns(targets, inputs)
        settings = MaskSettings(
            n_samples=n_samples,
            perturbations_per_eval=perturbations_per_eval,
            show_progress=show_progress,
            cells=cells,
            probability=probability,
            seed=seed,
        )
        found = self._weighted_masks(inputs, baselines, additional_forward_args, columns, settings)
        return tuples_for_tuples(found, inputs)

    def _scorers(
        self, inputs: tuple[Tensor, ...], extra: tuple[Any, ...], targets: TargetColumns
    ) -> list[Scorer]:
        length = len(inputs[0])

        own = targets.own.tolist() if isinstance(targets.own, Tensor) else targets.own
        given = (targets.shared or []) if own is None else [one for row in own for one in row]
        reads = [one.read for one in given if callable(getattr(one, "read", None))]

        def detections(arguments: tuple[Any, ...]) -> list[Detections]:
            output = run_model(self.forward_func, arguments)
            return as_detections(reads[0](output) if reads else output)

        def run(rows: slice) -> list[Detections]:
            values = (rows_of(value, rows, length) for value in (*inputs, *extra))
            return detections(copies(values))

        plain = [one for part in in_chunks(run, length) for one in part]
        if len(plain) != length:
            raise ArgumentError(
                f"forward_func: gave detections of {len(plain)} images for {length}; expected a "
                "dictionary for each"
            )
        if own is not None and len(own) != length:
            raise TargetError(f"target: a list of {len(own)}; expected one for each of {length}")

        def scorer(n: int) -> Scorer:
            each = (targets.shared or []) if own is None else own[n]
            wanted = _joined([_object(target, plain[n], n, inputs[0]) for target in each])

            def score(arguments: tuple[Any, ...]) -> Tensor:
                return similarities(wanted, detections(arguments))

            return score

        return [scorer(n) for n in range(length)]


def _object(target: Any, found: Detections, n: int, like: Tensor) -> Detections:
    """One detection: the one of that number, or the user's own."""
    if isinstance(target, Mapping) and {"boxes", "labels"} <= set(target):
        box, label = (torch.as_tensor(target[n], device=like.device) for n in ("boxes", "labels"))
        if box.shape == (4,) and label.ndim == 0:
            return Detections(box[None], label[None], torch.ones_like(label[None]))
    if callable(getattr(target, "numbers", None)):  # Boxes of captum_cnn_ext.targets
        every = {"boxes": found.boxes, "labels": found.labels, "scores": found.scores}
        numbers = replace(target, read=None).numbers([every])[0].tolist()  # it has been read
        if len(numbers) != 1:
            raise TargetError(
                f"target={target!r}: means {len(numbers)} objects in image {n}; D-RISE explains "
                "one, as Boxes(0) is"
            )
        (target,) = numbers
    number = whole(target)
    if number is None:
        raise TargetError(
            f"target={target!r}: expected the number of a detection, or a dictionary with boxes "
            "(left, top, right, bottom) and labels (a class)"
        )
    if not -len(found) <= number < len(found):
        raise TargetError(
            f"target={number}: the detector finds {len(found)} object(s) in image {n}"
            f"{f'; expected a number from 0 to {len(found) - 1}' if len(found) else ''}. To see "
            f"weaker ones: {LOWER_THRESHOLD}"
        )
    number %= len(found)
    one = slice(number, number + 1)
    given = None if found.probabilities is None else found.probabilities[one]
    return Detections(found.boxes[one], found.labels[one], found.scores[one], given)


def _joined(objects: Sequence[Detections]) -> Detections:
    probabilities = [one.probabilities for one in objects if one.probabilities is not None]
    return Detections(
        torch.cat([one.boxes for one in objects]),
        torch.cat([one.labels for one in objects]),
        torch.cat([one.scores for one in objects]),
        torch.cat(probabilities) if len(probabilities) == len(objects) else None,
    )
