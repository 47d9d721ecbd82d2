"""The gate as a function: an audit, what is required of it, and how it came out."""

import os
from collections.abc import Mapping
from typing import Any

from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.dataset.result import DatasetAudit
from captum_cnn_ext.insights.gate.measuring import lacking, measured
from captum_cnn_ext.insights.gate.outcome import Check, Outcome
from captum_cnn_ext.insights.gate.requirements import KINDS, NEEDS, read_requirements


def check(audit: DatasetAudit, require: Mapping[str, Any] | str | os.PathLike[str]) -> Check:
    """Whether a model keeps what is required of it: accuracy, no shortcut, attention as before.

    Each requirement compares a number of the audit with a threshold, or asks that a finding is not
    there; what could not be measured does not pass. ``captum-cnn-ext check`` is this on the command
    line, for merges: its exit code is 1 where a requirement fails.

    Cost: none of the model; that of the audit is its own.

    Args:
        audit: what `audit_dataset` gave.
        require: a TOML file, or a mapping. ``accuracy``, ``class-accuracy``, ``group-accuracy`` and
            ``calibration`` take a share, the two in the middle also a table by name;
            ``no-shortcut`` takes true; ``evidence-on-objects``, ``not-worse-than-before``,
            ``class-not-worse-than-before`` and ``looks-where-it-did`` true or a share.
            ``captum-cnn-ext check --init`` prints a file with all of them, explained.

    Returns:
        a `Check`: ``passed``, ``failed``, one `Outcome` a requirement; ``save`` writes JUnit XML
        and SARIF.

    Raises:
        ArgumentError: a requirement that does not exist (the nearest is named), a value that it
            does not take, or one that this audit was not made for.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.insights import audit_dataset, check
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(),
        ...     torch.nn.Flatten(), torch.nn.Linear(4 * 36, 2)).eval()
        >>> data = [(torch.zeros(3, 8, 8), number % 2) for number in range(12)]
        >>> audit = audit_dataset(model, data, layer="1", test_shortcuts=False, show_progress=False)
        >>> print(check(audit, {"accuracy": 0.9}))
        1 of 1 requirement failed
        FAILED accuracy: 50.0% (25.4% to 74.6%) of 12 images are right, required at least 90.0%
    """
    if not isinstance(audit, DatasetAudit):
        raise TypeError(f"audit: expected what audit_dataset gives, got {type(audit).__name__}")
    wanted = read_requirements(require)
    for name in wanted.wanted:
        need = KINDS[name].needs
        if need and lacking(audit, need):
            raise ArgumentError(f"{name}: needs {NEEDS[need]}")
    outcomes = []
    for name, value in wanted.wanted.items():
        found = measured(audit, name, value)
        outcomes.append(
            Outcome(
                name, found.passed, found.text, value, found.number, found.interval,
                wanted.lines.get(name),
            )
        )  # fmt: skip
    return Check(audit.page.title, tuple(outcomes), audit.page.seconds, wanted.file)
