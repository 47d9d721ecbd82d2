"""The maps of a report's methods, each made once, when a section first asks for it."""

from dataclasses import dataclass, field
from functools import cached_property

from torch import Tensor

from captum_cnn_ext._engine.one_line_repr import brief
from captum_cnn_ext.errors import ArgumentError
from captum_cnn_ext.insights.report.audited import Audited
from captum_cnn_ext.insights.report.findings import Problem, Report, error_text
from captum_cnn_ext.insights.report.work import Work
from captum_cnn_ext.methods import INPUT, Call, as_maps, calls_at


@dataclass
class MethodMaps:
    """Maps (N, C, h, w) by place and method, shared by the sections that draw or judge them.

    A place is the input, a layer, or the layers joined. What is made goes into the file of arrays.
    """

    audited: Audited
    report: Report
    work: Work
    _made: dict[tuple[str, str], Tensor | str] = field(default_factory=dict, init=False)

    __repr__ = brief

    @cached_property
    def calls(self) -> dict[str, list[Call]]:
        """All methods by place: those of the input, of each layer, of the layers joined."""
        return self._calls([layer.name for layer in self.audited.layers])

    @cached_property
    def judged(self) -> list[tuple[str, Call]]:
        """Each method at the one place where it is judged: the input, the deepest layer, all."""
        places = self._calls([self.audited.layers[-1].name])
        return [(where, call) for where, calls in places.items() for call in calls]

    def _calls(self, layers: list[str]) -> dict[str, list[Call]]:
        asked, joined = self.audited, [layer.name for layer in self.audited.layers]
        return calls_at(
            asked.model, asked.inputs, layers, joined, asked.methods, asked.seed, asked.scores
        )

    def of(self, where: str, call: Call) -> Tensor | None:
        """A method's map at a place; None where it could not be made."""
        made = self._run(where, call)
        return None if isinstance(made, str) else made

    def by_place(self) -> dict[str, dict[str, Tensor]]:
        """All that could be made: place -> method -> map."""
        return {
            where: {c.name: made for c in calls if (made := self.of(where, c)) is not None}
            for where, calls in self.calls.items()
        }

    def reason(self, where: str, call: Call) -> str:
        """Why there is no map; empty where there is one."""
        made = self._run(where, call)
        return made if isinstance(made, str) else ""

    def passes(self, where: str, method: str) -> float | None:
        """What a map cost in forward passes of the photos."""
        return self.work.passes(method, layer_of(where))

    def _run(self, where: str, call: Call) -> Tensor | str:
        key = where, call.name
        if key not in self._made:
            self._made[key] = self._result(where, call)
        return self._made[key]

    def _result(self, where: str, call: Call) -> Tensor | str:
        """The map, kept; else the reason why there is none."""
        try:
            result = self.work.timed(call.name, call.origin, layer_of(where), call.attribute)
            maps = as_maps(result, len(self.audited.photos))
        except (ArgumentError, AssertionError, ValueError) as error:  # not for this network
            text = " ".join(str(error).split()) or type(error).__name__
            return text.removeprefix(f"layer {where!r}: ")
        except Exception as error:
            self.report.problems.append(Problem(f"attributions, {call.name} at {where}", error))
            return f"failed with {error_text(error)}"
        place = "input values" if where == INPUT else f"layer {where}"
        self.report.keep(f"attributions/{where}/{call.name}", maps, f"{call.name} by {place}")
        return maps


def layer_of(where: str) -> str:
    """The layer that a place is; empty for the input."""
    return "" if where == INPUT else where
