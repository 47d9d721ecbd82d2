"""The audit: judge the arguments, then run every section on a model and its photos."""

import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext import __version__
from captum_cnn_ext._engine.judging.arguments import Layer
from captum_cnn_ext._engine.progress import tqdm
from captum_cnn_ext._engine.running.state import state_as_found
from captum_cnn_ext._numbers import as_seed
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.audited_model import ClassNames, audited_model
from captum_cnn_ext.insights.inputs import Images, Preprocess, read_photos
from captum_cnn_ext.insights.layers import ChosenLayer, default_layers, named_layers
from captum_cnn_ext.insights.on_photos import OnPhotos
from captum_cnn_ext.insights.predictions import explained_photos
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.blocks import Listing, SectionContent
from captum_cnn_ext.insights.report.figure_code import model_code
from captum_cnn_ext.insights.report.findings import Problem, Report
from captum_cnn_ext.insights.report.manifest import manifest
from captum_cnn_ext.insights.report.method_maps import MethodMaps
from captum_cnn_ext.insights.report.overview import overview_of
from captum_cnn_ext.insights.report.page import require_jinja
from captum_cnn_ext.insights.report.result import Audit
from captum_cnn_ext.insights.report.section import AuditContext, Section
from captum_cnn_ext.insights.report.work import Work, expected_seconds, forward_wall_seconds
from captum_cnn_ext.insights.rivals import rival_of
from captum_cnn_ext.insights.sections import QUICK_SECTIONS, chosen_sections
from captum_cnn_ext.insights.sections.attributions import DEFAULT_METHODS, QUICK_METHODS
from captum_cnn_ext.insights.wording import counted, listed
from captum_cnn_ext.methods import find_methods
from captum_cnn_ext.models import LoadedModel

BAR = "{desc} {percentage:3.0f}%|{bar:24}| {n_fmt}/{total_fmt} [{elapsed}]"


def audit(
    model: nn.Module | LoadedModel,
    images: Images,
    *,
    layers: Layer | Iterable[Layer] | None = None,
    methods: Iterable[str] | None = None,
    preprocess: Preprocess | None = None,
    class_names: ClassNames | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    target: int | Sequence[Any] | Tensor | Callable[[Any], Tensor] | None = None,
    seed: int = 0,
    show_progress: bool = True,
    sections: Iterable[Section | str] | None = None,
    quick: bool = False,
    against: nn.Module | LoadedModel | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
    command: str = "",
    on_step: Callable[[str], object] = lambda name: None,
    on_begin: Callable[[float], object] = lambda seconds: None,
) -> Audit:
    """Look at a network and at what it does with some photos, from many sides.

    Cost: with the default sections about 50 forward passes for occlusion and, for each layer,
    about 20 for the class activation maps, all of every photo; for the first two photos 17 more
    to judge each map, and three explanations more to check each method. ``quick`` leaves about 10
    passes of every photo.

    Args:
        model: a network that returns class scores (N, classes), in evaluation mode, or what
            `captum_cnn_ext.models.load_model` returns; with targets of `captum_cnn_ext.targets`
            any that these can read, such as a detector.
        images: a dict of names and PIL images, a list of PIL images or files, a file or a folder
            of pictures, or preprocessed images (N, C, H, W).
        layers: layers to explain, by module or dotted name; None takes the first three of
            `captum_cnn_ext.attr.suggest_layers`.
        methods: attribution methods by name, in the order wanted; None is a quick set of Captum's
            and ours. `known_methods` and ``captum-cnn-ext list-methods`` know all.
        preprocess: from a PIL image to a tensor (C, H, W); None takes the loaded model's, else
            ImageNet's with a note in the report.
        class_names: the name of each class.
        mean, std: what the preprocessing subtracted and divided by, per channel, on the [0, 1]
            scale; None takes them from the model or the preprocessing where these say.
        target: the class to explain, or a target of `captum_cnn_ext.targets` such as ``Boxes(0)``,
            for all photos or one for each; None is the strongest class.
        seed: for methods that draw random numbers. The caller's random state stays as it is.
        show_progress: draw a progress bar.
        sections: keys or `Section` objects, in the order wanted; None is all that are registered.
        quick: what takes seconds: without ``sections``, ``methods`` and ``layers`` named, a few
            sections, fast methods, and the deepest layer; neither faithfulness nor sanity checks.
        against: a second model, or a checkpoint of the same one: a section compares the two. One
            from `load_model` prepares the photos its own way; images given as tensors go into
            both.
        title: heading of the report.
        notes: further remarks for the summary.
        command: the command that makes this report again, for the settings.
        on_step: called with the name of each step before it; a ``KeyboardInterrupt`` that it
            raises ends the audit.
        on_begin: called once, before the long work, with a rough estimate of its seconds.

    Returns:
        the audit; ``save("audit.html")`` writes it. A section that fails is shown as failed and
        listed in ``problems``.

    Raises:
        ArgumentError: arguments that do not fit the model or the images, before the long work; a
            ``ValueError``.
        TypeError: arguments of a wrong type.
        ImportError: Jinja2 is not installed.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.insights import audit
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)).eval()
        >>> done = audit(model, torch.rand(2, 3, 8, 8), layers="1", show_progress=False)
        >>> done.arrays["attributions/1/LayerHiResCam"].shape
        (2, 1, 6, 6)
    """
    started = time.perf_counter()
    require_jinja()
    seed = as_seed("seed", seed)
    if sections is None and quick:
        sections = [key for key in QUICK_SECTIONS if key != "against" or against is not None]
    chosen = chosen_sections(sections, comparing=against is not None)
    usual = QUICK_METHODS if quick else DEFAULT_METHODS
    known = find_methods(usual if methods is None else methods)
    subject = audited_model(
        model,
        tensors=isinstance(images, Tensor),
        pictures=images,
        preprocess=preprocess,
        class_names=class_names,
        mean=mean,
        std=std,
        notes=notes,
    )
    with torch.inference_mode(False):
        photos = read_photos(images, subject.preprocess, subject.model)
        with (
            state_as_found(subject.model, [photos.inputs]),
            tqdm(disable=not show_progress, bar_format=BAR) as bar,
        ):
            bar.set_description_str("forward pass".ljust(34))
            with subject.first_pass():
                forward = forward_wall_seconds(subject.model, photos.inputs)
                explained, predicted = explained_photos(subject, photos, target)
            if predicted is not None:
                subject = subject.of_outputs(predicted.outputs.shape[1])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they come again where the layers are used
                found, reason = _chosen_layers(
                    subject.model, layers, photos.inputs, explained.targets
                )
            found = found[-1:] if quick and layers is None else found
            audited = Audited(
                subject=subject,
                photos=photos,
                predicted=predicted,
                explained=explained,
                target_given=target is not None,
                layers=found,
                layer_reason=reason,
                layers_suggested=layers is None,
                methods=known,
                seed=seed,
                command=command,
                section_keys=tuple(section.key for section in chosen),
                rival=None
                if against is None
                else rival_of(against, images, subject, found, photos.inputs, explained, predicted),
            )
            report, work = _begun(audited), Work(audited, bar, on_step, forward)
            context = AuditContext(audited, MethodMaps(audited, report, work), report, work)
            if sections is None or quick:
                on_begin(expected_seconds(forward, len(photos), quick))
            bar.total = sum(context.call(section.steps) for section in chosen)
            built = tuple((section, _built(section, context)) for section in chosen)
            bar.set_description_str("done".ljust(34))
    seconds, title = time.perf_counter() - started, title or f"Audit of {subject.name}"
    overview = overview_of(audited, report)
    return Audit(
        title,
        built,
        report.arrays,
        tuple(report.problems),
        seconds,
        _facts(audited, seconds),
        report.tables,
        overview,
        manifest(audited, report, work.remarks, title, overview, seconds),
        model_code(model),
        on_photos=OnPhotos(photos, subject.preprocess, audited.explained.boxes),
    )


def _begun(audited: Audited) -> Report:
    """The report with the arrays that every one has."""
    report, prediction, explained = Report(), audited.predicted, audited.explained
    report.keep("photo_names", audited.photos.names, "names of the photos")
    report.keep("inputs", audited.inputs, "network inputs")
    if prediction is None:
        report.keep("explained", explained.names, "what is explained in each photo")
        report.keep("explained_scores", explained.scores, "its score in each photo")
        return report
    report.keep("outputs", prediction.outputs, "network outputs, one for each class")
    report.keep("probabilities", prediction.probabilities, prediction.rule)
    words = "of the class explained for each photo"
    report.keep("explained_classes", explained.targets, f"index {words}")
    report.keep("explained_class_names", explained.names, f"name {words}")
    return report


def _chosen_layers(
    model: nn.Module,
    layers: Layer | Iterable[Layer] | None,
    images: Tensor,
    targets: Sequence[Any],
) -> tuple[list[ChosenLayer], str]:
    if layers is None:
        return default_layers(model, images, targets)
    given = [layers] if isinstance(layers, (str, nn.Module)) else list(layers)
    if not given:
        raise ArgumentError("layers=[]: expected at least one layer, or None for a choice")
    return named_layers(model, given, images[:1]), "The layers are those that were asked for."


def _built(section: Section, context: AuditContext) -> SectionContent | Problem:
    """A section's content, or what kept it from having one."""
    work = context.work
    end = work.bar.n + context.call(section.steps)
    work.begin(section.title)
    before = len(work.remarks)
    try:
        with work.listening(section.title):
            content = context.call(section.build)
        if not isinstance(content, SectionContent):
            raise TypeError(f"expected a SectionContent, got {type(content).__name__}")
    except Exception as error:
        problem = Problem(section.title, error)
        context.report.problems.append(problem)
        return problem
    finally:
        work.bar.update(end - work.bar.n)
    said = {text for _, text in work.remarks[:before]}  # in a section before this one
    places: dict[str, dict[str, None]] = {}
    for where, text in work.remarks[before:]:
        if text not in said:
            places.setdefault(text, {})[where] = None
    if places:
        items = [f"{text} ({listed(list(wheres), 3)})" for text, wheres in places.items()]
        listing = Listing("Warnings while this section was made", items, "warning")
        content = SectionContent([*content.blocks, listing])
    return content


def _facts(audited: Audited, seconds: float) -> tuple[str, ...]:
    return (
        datetime.now(timezone.utc).strftime("%d %B %Y"),
        counted(len(audited.photos), "photo"),
        counted(len(audited.layers), "layer"),
        f"made in {seconds:.0f} s on {audited.inputs.device}",
        f"captum-cnn-ext {__version__}",
    )
