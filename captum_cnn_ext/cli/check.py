"""``captum-cnn-ext check``: a gate for merges; exit code 1 where a requirement fails."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from captum_cnn_ext.cli import arguments, audit_data, parsing
from captum_cnn_ext.cli.parsing import DONE, INCOMPLETE, PROGRAM, UsageError, one_line, usage_errors

REQUIRE = "requirements.toml"
EXAMPLES = f"""examples:
  {PROGRAM} check --init > {REQUIRE}
  {PROGRAM} check --data photos/ --model path/net.py:build --weights new.pt --require {REQUIRE}
  {PROGRAM} check --data photos/ --model path/net.py:build --weights new.pt --against old.pt \\
      --require {REQUIRE} --junit check.xml --sarif check.sarif --out audit.html
  {PROGRAM} check --data demo

exit code: 0 where every requirement holds, 1 where one fails, 2 for unusable input
"""


def add(commands: Any) -> None:
    """Add this command to the program's."""
    check = parsing.add_command(
        commands,
        "check",
        _check,
        "a gate for merges: exit code 1 where a model does not meet your requirements",
        "Audit a network on a labelled data set and compare what is found with a file "
        "of requirements: accuracy, no shortcut, evidence on the objects, attention unchanged. "
        "Prints one line for each requirement.",
        EXAMPLES,
    )
    value = partial(parsing.add_value, check)
    parsing.add_model(check)
    parsing.add_on_error(check)
    value("--require", "TOML", f"the requirements (default: {REQUIRE}, if it is there)")
    words = "print a file of all requirements, explained, and stop"
    parsing.add_switch(check, "--init", words)
    value("--junit", "FILE", "write JUnit XML, with a test case for each requirement")
    value("--sarif", "FILE", "write what failed as SARIF 2.1.0, for code scanning")
    value("--out", "FILE", "also write the report of the audit, such as audit.html")
    value("--against", "OTHER", "the older model: a spec, or a file of weights")
    value("--layer", "A", "dotted name of the layer that is explained (default: chosen)")
    parsing.add_class_names(check)
    value("--title", None, "title of the report")
    parsing.add_seed(check)
    parsing.add_no_progress(check)
    audit_data.add_arguments(check)


def _check(options: argparse.Namespace) -> int:
    from captum_cnn_ext.insights.gate.requirements import KINDS, read_requirements, template

    if options.init:
        print(template(), end="")
        return DONE
    if options.data is None:
        raise UsageError("--data: expected a folder with a folder for each class, or demo")
    with usage_errors():
        wanted: Any = read_requirements(_file(options))
    needs = {KINDS[name].needs: name for name in wanted.wanted}
    for need, given, option in (
        ("against", options.against, "--against"),
        ("tests", not options.no_tests, "no --no-tests"),
    ):
        if need in needs and not given:
            raise UsageError(f"--require: {needs[need]} needs {option}")
    options.no_tests = options.no_tests or "tests" not in needs
    folders = {f for f in (options.junit, options.sarif, options.out) if f is not None}
    for file in folders:
        if not Path(file).absolute().parent.is_dir():
            raise UsageError(f"{file}: its folder does not exist")
    with audit_data.audited(options) as (done, loaded, first):
        if not first:
            return DONE
        return _said(options, done, loaded)


def _file(options: argparse.Namespace) -> Any:
    """The requirements' file, or for the demo two that its planted shortcut decides."""
    if options.require is not None or Path(REQUIRE).exists():
        return options.require or REQUIRE
    if options.data == "demo":
        return {"accuracy": 0.6, "no-shortcut": True}
    raise UsageError(f"--require: expected a file; {PROGRAM} check --init > {REQUIRE} writes one")


def _said(options: argparse.Namespace, done: Any, loaded: Any) -> int:
    from captum_cnn_ext.insights import check

    with usage_errors():
        found = check(done, _file(options))
    try:
        found.save(junit=options.junit, sarif=options.sarif)
        if options.out is not None:
            print(f"report: {done.save(options.out).report}")
    except OSError as error:
        raise UsageError(f"cannot be written: {one_line(error)}") from error
    for outcome in found.outcomes:
        print(outcome)
    print(found.headline)
    arguments.print_notes(loaded)
    return DONE if found.passed else INCOMPLETE
