"""Photos: read, labelled, annotated, and how a network's input lies on them.

``pictures.py`` reads files; ``labelled.py`` reads folders and tables of classes, with masks from
``object_masks.py``; ``annotations.py`` is COCO's JSON and Pascal VOC's XML; ``geometry.py`` brings
maps and boxes from a network's input back onto the photo.
"""

from captum_cnn_ext.photos.annotations import (
    AnnotatedObject,
    read_annotations,
    write_coco,
    write_voc,
)
from captum_cnn_ext.photos.geometry import PhotoGeometry, photo_geometry
from captum_cnn_ext.photos.labelled import LabelledPhotos, labelled_photos
from captum_cnn_ext.photos.pictures import (
    PhotoFiles,
    demo_photos,
    load_photos,
    picture_files,
    read_picture,
)

__all__ = [
    "AnnotatedObject",
    "LabelledPhotos",
    "PhotoFiles",
    "PhotoGeometry",
    "demo_photos",
    "labelled_photos",
    "load_photos",
    "photo_geometry",
    "picture_files",
    "read_annotations",
    "read_picture",
    "write_coco",
    "write_voc",
]
