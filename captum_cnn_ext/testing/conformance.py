"""All checks on one attribution class."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from captum_cnn_ext.errors import ArgumentError, nearest
from captum_cnn_ext.testing import networks, state_checks, value_checks
from captum_cnn_ext.testing.report import CheckResult, ContractError, ContractReport
from captum_cnn_ext.testing.subject import NotApplicable, Subject, seeded_process

_FUNCTIONS = {check.__name__: check for check in (*value_checks.CHECKS, *state_checks.CHECKS)}
CHECKS = {name: (check.__doc__ or "").split("\n")[0] for name, check in _FUNCTIONS.items()}
"""The checks by name, and what each demands."""


def check_attribution(
    method: Callable[..., Any],
    *,
    arguments: Mapping[str, Any] | None = None,
    layer: str | None = None,
    expected_failed_checks: Mapping[str, str] | None = None,
    raise_on_failure: bool = True,
) -> ContractReport:
    """Run an attribution class through the contract that the classes of this package keep.

    A batch gets what its examples get one by one; every form of target means the class it names;
    the model, its gradients, modes and hooks, random numbers and the user's tensors are as before,
    after failing calls too; dtypes, devices and memory formats pass through; wrong arguments are
    named; results are detached, and repeated calls equal. `CHECKS` lists it. The networks are small
    (float64, inputs (3, 2, 5, 6), five classes), with batch norm, in-place layers, a residual add,
    a layer that is called twice.

    Args:
        method: a class that is called as Captum's, ``method(forward_func, layer)`` or
            ``method(forward_func)``, or a function of model and layer that returns an instance.
        arguments: of ``attribute``, besides inputs and target.
        layer: the layer of the networks that is explained, where "block", a convolution, will
            not do: "stem", the first one, or "head.0", the pooling before the classifier.
        expected_failed_checks: by a check's name, why this method may fail it.
        raise_on_failure: raise `ContractError` with all failures; False returns the report.

    Returns:
        The `ContractReport`: ``passed``, ``failed``, and every result.

    Cost: some hundred passes of networks with a thousand weights.

    Raises:
        ContractError: an ``AssertionError`` that lists the checks that failed, and what was found.
        ArgumentError: a check or a layer that does not exist, or a method that cannot be made.

    Example::

        >>> from captum.attr import LayerGradCam
        >>> from captum_cnn_ext.attr import LayerHiResCam
        >>> from captum_cnn_ext.testing import check_attribution
        >>> check_attribution(LayerHiResCam).passed
        True
        >>> report = check_attribution(LayerGradCam, raise_on_failure=False)
        >>> "training_mode_moves_nothing" in report.failed
        True
    """
    expected = dict(expected_failed_checks or {})
    for name in expected:
        if name not in CHECKS:
            raise ArgumentError(
                f"expected_failed_checks: there is no check {name!r}{nearest(name, CHECKS)}"
            )
    with seeded_process():
        subject = _subject(method, arguments or {}, layer)
        results = tuple(_result(name, subject, expected.get(name)) for name in _FUNCTIONS)
    report = ContractReport(subject.name, results)
    if raise_on_failure and not report.passed:
        raise ContractError(report)
    return report


def _subject(
    method: Callable[..., Any], arguments: Mapping[str, Any], layer: str | None
) -> Subject:
    if layer is not None:
        modules = networks.build(networks.Net).named_modules()
        names = [name for name, _ in modules if name not in ("", "norm", "relu")]  # not in each
        if layer not in names:
            raise ArgumentError(
                f"layer={layer!r}: the networks of the checks have no such layer"
                f"{nearest(layer, names)}"
            )
    if not callable(method):
        raise TypeError(f"method={method!r}: expected a class or a function of model and layer")
    try:
        return Subject(method, arguments, layer)
    except Exception as error:
        raise ArgumentError(
            f"method={method!r}: could not be made as method(model, layer): {error}; pass a "
            "function of model and layer that returns an instance"
        ) from error


def _result(name: str, subject: Subject, expected: str | None) -> CheckResult:
    check, meaning = _FUNCTIONS[name], CHECKS[name]
    try:
        with seeded_process(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check(subject)
    except NotApplicable as reason:
        return CheckResult(name, "skipped", str(reason), meaning)
    except AssertionError as error:
        message = str(error)
    except Exception as error:  # the method's own, in a call that has to work
        message = f"raised {type(error).__name__}: {error}"
    else:
        return CheckResult(name, "passed", "", meaning)
    if expected is not None:
        return CheckResult(name, "expected", expected, meaning)
    return CheckResult(name, "failed", message, meaning)
