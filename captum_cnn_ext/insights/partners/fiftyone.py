"""A data set's audit as FiftyOne's labels: what was predicted, and the map on the whole photo."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from captum_cnn_ext.errors import needing
from captum_cnn_ext.insights.dataset.result import DatasetAudit
from captum_cnn_ext.insights.inputs import Preprocess
from captum_cnn_ext.photos import photo_geometry


def image_labels(
    audit: DatasetAudit, folder: str | os.PathLike[str], preprocess: Preprocess | None = None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The path of each image with its ``fo.Classification`` s and the ``fo.Heatmap`` of its map.

    FiftyOne stretches a heatmap over the whole photo; with ``preprocess`` each map lies where the
    network's input does. Maps are scaled to [-1, 1] by their largest absolute value.

    Cost: no pass of the model; with ``preprocess`` nine calls of it for each size of photo.

    Args:
        audit, folder: of a data set of files, and where they are; the audit has their names.
        preprocess: from a PIL image to the network's input, as it was audited with.

    Raises:
        ImportError: FiftyOne is not installed.

    Example (needs FiftyOne)::

        dataset = fo.Dataset.from_images_dir("photos", recursive=True)
        for path, labels in image_labels(done, "photos", model.preprocess):
            sample = dataset[path]
            sample.update_fields(labels)
            sample.save()
    """
    with needing("image_labels needs FiftyOne", "fiftyone"):
        import fiftyone as fo
    table, geometries = audit.table, {}
    for row, name in enumerate(table["path"]):
        path = Path(folder, name).absolute()
        found = torch.from_numpy(audit.records.maps[row].astype("float32"))
        if preprocess is not None:
            with Image.open(path) as photo:
                if photo.size not in geometries:
                    geometries[photo.size] = photo_geometry(preprocess, photo)
                found = geometries[photo.size].to_photo(found)
        label, predicted = (str(table[key][row]) for key in ("label_name", "prediction_name"))
        confidence = float(table["confidence"][row])
        labels = {
            "ground_truth": fo.Classification(label=label),
            "prediction": fo.Classification(label=predicted, confidence=confidence),
            "attention": fo.Heatmap(map=found.numpy(), range=[-1, 1]),
        }
        yield str(path), labels
