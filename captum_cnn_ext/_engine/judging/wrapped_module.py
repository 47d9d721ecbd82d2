"""The module that a function runs: in its closure, defaults, globals or partial arguments."""

from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from torch import nn

_DEEPEST, _LONGEST = 6, 64  # how far a search goes into objects, and into how long lists


def wrapped_modules(forward_func: Callable[..., Any]) -> dict[str, nn.Module]:
    """The modules that a function, partial or callable object uses, by the names they have there.

    Modules inside another one that is found are left out.
    """
    found: dict[str, nn.Module] = {}
    for name, module in _modules(forward_func, "", {}):
        if not any(module is other for other in found.values()):
            found[name] = module
    inner = {
        id(part) for module in found.values() for part in module.modules() if part is not module
    }
    return {name: module for name, module in found.items() if id(module) not in inner}


def _modules(
    value: Any, name: str, seen: dict[int, Any], depth: int = 0
) -> Iterator[tuple[str, nn.Module]]:
    """The modules in a value, and in the functions and objects that it uses."""
    if id(value) in seen or depth > _DEEPEST or isinstance(value, (ModuleType, type)):
        return
    seen[id(value)] = value
    inside: dict[str, Any] = {}
    if isinstance(value, nn.Module):
        yield name or type(value).__name__, value
    elif isinstance(value, partial):
        inside = {name or "func": value.func, **value.keywords}
        inside.update({f"args[{place}]": item for place, item in enumerate(value.args)})
    elif isinstance(value, MethodType):
        inside = {name or "self": value.__self__, value.__name__: value.__func__}
    elif isinstance(value, FunctionType):
        inside = _used(value)
    elif isinstance(value, (list, tuple, dict)) and len(value) <= _LONGEST:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        inside = {f"{name}[{key!r}]": item for key, item in items}
    elif _is_users(value):
        inside = {f"{name}.{key}" if name else key: item for key, item in vars(value).items()}
        inside["__call__"] = vars(type(value)).get("__call__")
    for key, item in inside.items():
        yield from _modules(item, key, seen, depth + 1)


def _used(function: FunctionType) -> dict[str, Any]:
    """What a function's code can refer to by name, besides its arguments."""
    used: dict[str, Any] = {}
    for key in _names(function.__code__):
        value = function.__globals__.get(key)
        # functions of other files are libraries' as a rule, and lead far away
        if not isinstance(value, FunctionType) or value.__globals__ is function.__globals__:
            used[key] = value
    for key, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            used[key] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    used.update({f"default {i}": v for i, v in enumerate(function.__defaults__ or ())})
    used.update(function.__kwdefaults__ or {})
    if hasattr(function, "__wrapped__"):
        used["__wrapped__"] = function.__wrapped__
    return used


def _names(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*(_names(part) for part in inner))


def _is_users(value: Any) -> bool:
    """Whether an object's attributes are worth a look: a plain object with a dictionary."""
    module = type(value).__module__ or ""
    library = module.partition(".")[0] in ("builtins", "torch", "numpy", "functools", "typing")
    return hasattr(value, "__dict__") and not library
