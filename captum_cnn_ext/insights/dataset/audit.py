"""The audit of a labelled data set: one pass over it, then every section."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.running.forward import run_forward
from captum_cnn_ext._numbers import as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.evidence import ImageRecords, image_records
from captum_cnn_ext.evidence.records.record_job import Columns, LabelledImages
from captum_cnn_ext.evidence.streams.image_stream import images_of
from captum_cnn_ext.insights.audited_model import AuditedModel, ClassNames, audited_model
from captum_cnn_ext.insights.dataset.assembly import assembled
from captum_cnn_ext.insights.dataset.audited import AuditedData
from captum_cnn_ext.insights.dataset.map_statistics import object_columns
from captum_cnn_ext.insights.dataset.numbering import judge_numbering
from captum_cnn_ext.insights.dataset.result import DatasetAudit
from captum_cnn_ext.insights.inputs import Preprocess
from captum_cnn_ext.insights.layers import default_layers
from captum_cnn_ext.insights.report.figure_code import model_code
from captum_cnn_ext.insights.report.page import require_jinja
from captum_cnn_ext.models import LoadedModel
from captum_cnn_ext.photos import labelled_photos

Model = nn.Module | LoadedModel


def audit_dataset(
    model: Model,
    dataset: Any,
    *,
    layer: Layer | None = None,
    against: Model | None = None,
    twin: Model | None = None,
    class_names: ClassNames | None = None,
    groups: Sequence[str] | None = None,
    preprocess: Preprocess | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    batch_size: int = 32,
    num_workers: int = 0,
    autocast: torch.dtype | None = None,
    on_error: str = "skip",
    checkpoint: str | os.PathLike[str] | None = None,
    test_shortcuts: bool = True,
    seed: int = 0,
    title: str | None = None,
    show_progress: bool = True,
) -> DatasetAudit:
    """What a model knows of a labelled data set, where it looks, and what changed since another.

    One pass over the data set collects predictions and maps (`evidence.image_records`); sections
    then say how good the model is, where it looks and, with masks, whether that is on the objects.
    Under ``torchrun`` the images are shared out, and every process returns the same result.

    Cost: one forward pass of each image and one backward pass of what follows the layer; the same
    again for ``against`` and for ``twin``.

    Args:
        model: a network that returns class scores (N, classes), in evaluation mode, or what
            `captum_cnn_ext.models.load_model` returns.
        dataset: a folder with a folder of photos for each class, or a map-style Dataset or
            DataLoader of (image, label) or (image, label, mask);
            `captum_cnn_ext.photos.labelled_photos` makes one of a folder with masks or a table.
        layer: the layer of the maps; None takes the first of `captum_cnn_ext.attr.suggest_layers`.
        against: an older model of the same classes, to compare with.
        twin: ``model`` trained again from another seed: how much of a difference to ``against``
            retraining alone makes.
        class_names: the name of each output of the model; None takes the data set's, then the
            model's. A dict may leave some out.
        groups: a word for each image of the data set, such as where it is from; None takes the data
            set's ``groups``.
        preprocess: from a sample's image to a tensor (C, H, W); None takes the loaded model's for
            pictures and nothing for tensors.
        mean, std: what the preprocessing subtracted and divided by, per channel, on the [0, 1]
            scale; None takes them from the model or the preprocessing where these say.
        batch_size, num_workers, autocast, on_error: as in `evidence.image_records`.
        checkpoint: a folder where the pass is kept, from which an interrupted one goes on.
        test_shortcuts: group each class's images by what they are recognised by, and test what
            could be a shortcut (`evidence.find_shortcuts`); it costs some thousand forward passes.
        seed: of resampling.
        title: heading of the report.
        show_progress: draw a progress bar with images per second.

    Returns:
        the audit; ``save("audit.html")`` writes it. A section that fails is shown as failed.

    Raises:
        ArgumentError: arguments that do not fit the model or the images; a ``ValueError``.
        TypeError: arguments of a wrong type.
        ImportError: Jinja2 is not installed.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.insights import audit_dataset
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)).eval()
        >>> data = [(torch.rand(3, 8, 8), number % 2) for number in range(12)]
        >>> done = audit_dataset(model, data, layer="1", show_progress=False)
        >>> sorted(done.table)[:4]
        ['border_share', 'center_x', 'center_y', 'confidence']
    """
    started = time.perf_counter()
    require_jinja()
    seed = as_seed("seed", seed)
    if twin is not None and against is None:
        raise ArgumentError(
            "twin: needs against= as well, the older model; it says how much of the difference to "
            "that one retraining alone makes"
        )
    if isinstance(dataset, (str, os.PathLike)):
        own = class_names or getattr(model, "class_names", None) or ()
        own = _names(own, max(own) + 1) if isinstance(own, Mapping) else own
        dataset = labelled_photos(dataset, class_names=own)
    source = images_of(dataset, preprocess).dataset
    _check_groups(groups, len(source))
    first = _first(source)
    tensors = bool(first) and isinstance(first[0], Tensor)
    looked_at: dict[str, Any] = {"tensors": tensors, "pictures": source}
    prepared: dict[str, Any] = {"preprocess": preprocess, "mean": mean, "std": std}
    subject = audited_model(model, class_names=class_names, **looked_at, **prepared)
    rivals = {
        name: audited_model(
            other, **looked_at, **({} if isinstance(other, LoadedModel) else prepared)
        )
        for name, other in (("against", against), ("twin", twin))
        if other is not None
    }
    for name, one in rivals.items():
        if one.model is subject.model:
            raise ArgumentError(f"{name}: got the audited model itself, expected another one")
    images, *others = (
        LabelledImages(source, preprocess if tensors else one.preprocess)
        for one in (subject, *rivals.values())
    )
    outputs = _outputs(subject, images)
    judge_numbering(subject, outputs, source, class_names)
    for (name, one), prepare in zip(rivals.items(), others, strict=True):
        _check_classes(name, _outputs(one, prepare), outputs)

    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "autocast": autocast,
        "on_error": on_error,
        "show_progress": show_progress,
    }
    folder = None if checkpoint is None else Path(checkpoint)
    columns = object_columns if len(first) > 2 else None
    records = _records_of(subject, images, dataset, layer, folder, columns, **settings)
    found = {}
    for (name, one), prepare in zip(rivals.items(), others, strict=True):
        part = None if folder is None else folder / name
        found[name] = _records_of(one, prepare, dataset, None, part, None, **settings)
    names = class_names or getattr(source, "classes", None) or subject.class_names or ()
    audited = AuditedData(
        subject=subject,
        images=images,
        records=records,
        classes=_names(names, records.classes),
        groups=_groups(source, groups, records),
        notes=[*subject.notes, *getattr(source, "notes", ())],
        seed=seed,
        rival=(rivals["against"], found["against"]) if against is not None else None,
        twin=found.get("twin"),
        testing=test_shortcuts,
        show_progress=show_progress,
    )
    return assembled(audited, title, started, model_code(model))


def _records_of(
    one: AuditedModel,
    images: LabelledImages,
    dataset: Any,
    layer: Layer | None,
    checkpoint: Path | None,
    columns: Columns | None,
    **settings: Any,
) -> ImageRecords:
    """One pass of a model over the data set; without a layer, at the first that is suggested.

    Args:
        one: the model.
        images: the data set, prepared for this model.
        dataset: the same as the user gave it.
        layer: of the maps.
        checkpoint: the folder of this pass, or a new name in a folder.
        columns: what else is told of each image.
        settings: as in `evidence.image_records`.
    """
    with one.first_pass(), torch.inference_mode(False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"layer .* is called \d+ times")
        return image_records(
            one.model,
            _layer(one, images) if layer is None else layer,
            dataset,
            preprocess=images.preprocess,
            checkpoint=checkpoint,
            columns=columns,
            **settings,
        )


def _outputs(one: AuditedModel, images: LabelledImages) -> int | None:
    """How many outputs a model has for one image; None where these are no class scores."""
    with one.first_pass(), torch.inference_mode(False), torch.no_grad():
        found = run_forward(one.model, (_input(one, images)[None].clone(),))
    return found.shape[1] if isinstance(found, Tensor) and found.ndim == 2 else None


def _check_classes(name: str, outputs: int | None, audited: int | None) -> None:
    if outputs is None or audited is None:
        return  # the pass says what it expects
    classes, expected = max(outputs, 2), max(audited, 2)  # one output speaks for two classes
    if classes != expected:
        raise ArgumentError(f"{name}: has {classes} classes, the audited model {expected}")


def _first(source: Any) -> tuple[Any, ...]:
    """The first sample that can be read; empty where none can."""
    for number in range(len(source)):
        try:
            sample = source[number]
        except Exception:  # a broken file can raise anything; the pass reports each
            continue
        return tuple(sample) if isinstance(sample, (tuple, list)) else (sample,)
    return ()


def _input(subject: AuditedModel, images: LabelledImages) -> Tensor:
    """The first network input (C, H, W) that can be made, where the model is."""
    for number in range(len(images)):
        _, image, _ = images[number]
        if isinstance(image, Tensor):
            like = next((p for p in subject.model.parameters()), torch.zeros(()))
            return image.to(like.device, like.dtype)
    why = images[0][1] if len(images) else "it is empty"
    raise ArgumentError(f"dataset: no image of it can be read (image 0: {why})")


def _layer(subject: AuditedModel, images: LabelledImages) -> str:
    found, _ = default_layers(subject.model, _input(subject, images)[None])
    return found[-1].name


def _names(names: ClassNames, classes: int) -> list[str]:
    if isinstance(names, Mapping):
        return [str(names.get(c, f"class {c}")) for c in range(classes)]
    listed = [str(name) for name in names][:classes]
    return [*listed, *(f"class {c}" for c in range(len(listed), classes))]


def _check_groups(groups: Sequence[str] | None, images: int) -> None:
    if groups is not None and len(groups) != images:
        raise ArgumentError(f"groups: got {len(groups)} for {images} images; expected one for each")


def _groups(source: Any, groups: Sequence[str] | None, records: ImageRecords) -> list[str]:
    found = groups if groups is not None else getattr(source, "groups", ())
    return [str(found[int(n)]) for n in records.images] if len(found) else []
