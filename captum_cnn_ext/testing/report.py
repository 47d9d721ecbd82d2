"""What a method passed and failed."""

from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class CheckResult:
    """One check.

    Args:
        check: its name.
        status: ``"passed"``, ``"failed"``, ``"expected"`` (it fails, as was announced) or
            ``"skipped"`` (it says nothing about such a method).
        message: what was found, or why it was skipped or expected.
        meaning: what the check demands.
    """

    check: str
    status: str
    message: str
    meaning: str


@dataclass(frozen=True, repr=False)
class ContractReport:
    """What `check_attribution` found; printed, it lists the failures, then what passed.

    Args:
        name: of the class.
        results: one `CheckResult` a check, in the order they ran.

    Example::

        >>> from captum_cnn_ext.testing import CheckResult, ContractReport
        >>> ContractReport("MyCam", (CheckResult("hooks_as_before", "passed", "", "..."),))
        MyCam: 1 check passed
    """

    name: str
    results: tuple[CheckResult, ...]

    def of(self, status: str) -> list[CheckResult]:
        """The results with that status."""
        return [result for result in self.results if result.status == status]

    @property
    def passed(self) -> bool:
        """Whether nothing failed that was not expected to."""
        return not self.of("failed")

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [result.check for result in self.of("failed")]

    def _heading(self) -> str:
        words = {"failed": "failed", "passed": "passed", "expected": "failed as expected",
                 "skipped": "did not apply"}  # fmt: skip
        counts = [(len(self.of(status)), said) for status, said in words.items()]
        parts = [f"{n} {'check' if n == 1 else 'checks'} {said}" for n, said in counts if n]
        return f"{self.name}: {', '.join(parts)}"

    def __repr__(self) -> str:
        lines = [self._heading()]
        for result in self.of("failed"):
            lines += [f"  FAILED {result.check}: {result.message}", f"    {result.meaning}"]
        for status, word in (("expected", "expected"), ("skipped", "skipped")):
            lines += [f"  {word} {r.check}: {r.message}" for r in self.of(status)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{escape(r.check)}</td><td>{r.status}</td>"
            f"<td>{escape(r.message or r.meaning)}</td></tr>"
            for status in ("failed", "expected", "skipped", "passed")
            for r in self.of(status)
        ]
        return f"<table><caption>{escape(self._heading())}</caption>{''.join(rows)}</table>"


class ContractError(AssertionError):
    """A method fails checks of `check_attribution`; ``report`` has them all."""

    def __init__(self, report: ContractReport) -> None:
        super().__init__(repr(report))
        self.report = report
