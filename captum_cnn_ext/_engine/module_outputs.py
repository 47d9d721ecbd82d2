"""What each module call of one forward pass gave: names, shapes, order of finishing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_cnn_ext._engine.arguments import runnable
from captum_cnn_ext._engine.input_errors import explained
from captum_cnn_ext._engine.inputs import check_devices
from captum_cnn_ext._engine.state import state_as_found
from captum_cnn_ext._engine.undoing import Undo


@dataclass(frozen=True)
class ModuleOutput:
    """One finished call of one module; the shape of its output, or () where it is no tensor."""

    name: str
    module: nn.Module
    shape: tuple[int, ...]


def module_outputs(
    forward_func: Callable[..., Any], root: nn.Module, inputs: Sequence[Tensor]
) -> list[ModuleOutput]:
    """Run the model once, without gradients; its modules' outputs in the order of finishing.

    The model is as before when the function ends, however it ends.

    Raises:
        ArgumentError: the model is not initialised, or on another device.
    """
    check_devices(root, inputs)
    outputs: list[ModuleOutput] = []

    def watch(name: str) -> Callable[..., None]:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            shape = tuple(output.shape) if isinstance(output, Tensor) else ()
            outputs.append(ModuleOutput(name, module, shape))

        return note

    args = [x.detach().clone() for x in inputs]
    undo = Undo()
    with state_as_found(root, args), torch.no_grad(), undo, undo:
        for name, module in root.named_modules():
            undo.hook(module, watch(name))
        with explained(root, args):
            runnable(forward_func)(*args)
    return outputs
