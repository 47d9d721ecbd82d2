"""A pretend accelerator: tensors that say they are on another device and hold their values here.

It shows without a GPU every place where tensors of two devices meet (a GPU raises there, the CPU
never does), results on the wrong device, factories and random numbers that forget ``device=``, and
where a GPU would have to be waited for. It cannot show kernels, autocast, memory or speed. ::

    with pretend() as device:
        to_device(model)                                # parameters and buffers, in place
        heat = LayerHiResCam(model, "layer4").attribute(on_device(x), target=3)
        assert heat.device == device
        torch.testing.assert_close(on_cpu(heat), expected)

``lazy`` is a device name that torch knows and nobody uses: its backward passes run in the calling
thread, so that nothing has to be registered for the whole process.
"""

from collections import Counter
from contextlib import ExitStack, contextmanager, nullcontext
from functools import cache
from types import SimpleNamespace
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack
from torch.utils._device import DeviceContext, _device_constructors
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "lazy"
DEVICE = torch.device(NAME, 0)
aten = torch.ops.aten
# what a default device is for: a cache, to be filled before torch's own functions are replaced
_device_constructors()

COPIES = {aten._to_copy, aten.copy_, aten.copy, aten._local_scalar_dense}
INDEXING = {aten.index, aten._unsafe_index, aten.index_put, aten.index_put_, aten._index_put_impl_}
# the result's size, or an error, depends on values: the host waits for them
WAITS = {
    aten._local_scalar_dense,
    aten.equal,
    aten.nonzero,
    aten.masked_select,
    aten.repeat_interleave,
    aten._unique2,
    aten.unique_dim,
    aten.unique_consecutive,
    aten.bincount,
    aten._linalg_eigh,
    aten._linalg_svd,
    aten._linalg_solve_ex,
    aten.linalg_cholesky_ex,
    aten.linalg_inv_ex,
    aten.linalg_lstsq,
    aten.linalg_qr,
}


class DeviceTensor(torch.Tensor):
    """Says that it is on the pretend device; its values are ``held`` on the CPU."""

    @staticmethod
    def __new__(cls, held):
        held = held.detach().resolve_conj().resolve_neg()  # the wrapper has no such bits
        with torch.inference_mode(False):  # torch lets no wrapper be one of inference mode
            made = torch.Tensor._make_wrapper_subclass(
                cls,
                held.shape,
                strides=held.stride(),
                storage_offset=held.storage_offset(),
                dtype=held.dtype,
                layout=held.layout,
                device=DEVICE,
            )
        made.held = held
        return made

    def __repr__(self, *, tensor_contents=None):
        return f"on {DEVICE}: {self.held}"

    def tolist(self):
        _waited("to the host")
        return self.held.tolist()

    def numpy(self, **_):
        raise TypeError(f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu()")

    def __getitem__(self, index):
        return super().__getitem__(_listed(index))

    def __setitem__(self, index, value):
        super().__setitem__(_listed(index), value)

    def new_tensor(self, data, **kwargs):
        return torch.tensor(data, **{"dtype": self.dtype, "device": DEVICE, **kwargs})

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _listed(index):
    """An index with its lists as tensors, which are sent as any other."""
    if isinstance(index, tuple):
        return tuple(_listed(part) for part in index)
    return torch.tensor(list(index)) if isinstance(index, (list, range)) else index


class _Generator(torch.Generator):
    """One made for the pretend device draws on the CPU, and is refused where a CPU's belongs."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, "cpu" if _is_ours(device) else device)
        made.made_for = torch.device(device)
        return made

    @property
    def device(self):
        return self.made_for


def _is_ours(device):
    return device is not None and torch.device(device).type == NAME


@cache
def _is_composite(name):
    return torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")


def _run(func, args, kwargs):
    if torch.is_inference_mode_enabled() and _is_composite(func.name()):
        with _Dispatch():  # autograd, which takes it apart elsewhere, is not asked there
            return func.decompose(*args, **kwargs)
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    ours = [t for t in tensors if isinstance(t, DeviceTensor)]
    theirs = [t for t in tensors if not isinstance(t, DeviceTensor)]
    _refuse_mixture(func.overloadpacket, args, ours, theirs)
    asked = kwargs.get("device")
    if asked is not None:
        ends_here = _is_ours(asked)
    elif func.overloadpacket is aten.copy_:
        ends_here = isinstance(args[0], DeviceTensor)
    else:
        ends_here = bool(ours)
    _count(func.overloadpacket, args, kwargs, ours, theirs, ends_here)
    plain, named = tree_map(
        lambda leaf: leaf.held if isinstance(leaf, DeviceTensor) else leaf, (args, dict(kwargs))
    )
    if _is_ours(asked):
        named["device"] = torch.device("cpu")
    inference = (ours or ends_here) and torch.is_inference_mode_enabled()
    with torch.inference_mode(False) if inference else nullcontext():
        found = func(*plain, **named)
    if not ends_here:
        return found
    same = {id(tensor.held): tensor for tensor in ours}  # what an in-place operation gives back
    if torch.Tag.inplace_view in func.tags and ours:  # the wrapper's shape follows
        args[0].data = DeviceTensor(args[0].held)
    return tree_map(lambda leaf: same[id(leaf)] if id(leaf) in same else _wrapped(leaf), found)


def _wrapped(leaf):
    return DeviceTensor(leaf) if isinstance(leaf, torch.Tensor) else leaf


def _refuse_mixture(packet, args, ours, theirs):
    """As a GPU does: a number of the host may meet a device's tensor, a tensor may not."""
    if packet in INDEXING:  # indices of the host are sent
        if not ours or isinstance(args[0], DeviceTensor):
            theirs = [t for t in theirs if not any(t is i for i in args[1])]
        else:
            raise RuntimeError(f"indices should be on cpu, as the indexed tensor is, in {packet}")
    if packet not in COPIES and ours and any(t.dim() > 0 for t in theirs):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, found {DEVICE} and cpu, in {packet}"
        )


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    """Refuses random numbers drawn by the generator of another device."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        generator = (kwargs or {}).get("generator")
        if generator is not None and generator.device != found.device:
            raise RuntimeError(f"Expected a {found.device} generator but found {generator.device}")
        return found


def _from_data(function):
    """``torch.tensor`` and its kind fill their result without a dispatched operation."""

    def make(data, *args, device=None, **kwargs):
        if device is None and not isinstance(data, DeviceTensor):
            modes = _get_current_function_mode_stack()
            device = next((m.device for m in modes if isinstance(m, DeviceContext)), None)
        if not _is_ours(device) or isinstance(data, DeviceTensor):
            return function(data, *args, device=device, **kwargs)
        _waited("to the device")
        return DeviceTensor(function(data, *args, device="cpu", **kwargs))

    return make


_counters = []


def _waited(how):
    for counter in _counters:
        counter[how] += 1


def _count(packet, args, kwargs, ours, theirs, ends_here):
    """As CUDA does: what is sent with ``non_blocking`` is staged, and nobody waits."""
    if packet in (aten._to_copy, aten.copy_):
        if ours and not ends_here:
            _waited("to the host")
        elif theirs and ends_here and not kwargs.get("non_blocking"):
            _waited("to the device")
    elif ours and packet in WAITS:
        _waited("to the host")
    elif ours and packet in INDEXING:
        for index in args[1]:
            if index is not None and index.dtype in (torch.bool, torch.uint8):
                _waited("to the host")
            elif index is not None and not isinstance(index, DeviceTensor):
                _waited("to the device")


@contextmanager
def synchronisations():
    """Counts in which direction, and how often, host and device wait for each other."""
    _counters.append(counter := Counter())
    try:
        yield counter
    finally:
        _counters.remove(counter)


class _Autocast(torch.autocast):
    """Autocast of the pretend device is the CPU's."""

    def __init__(self, device_type, *args, **kwargs):
        super().__init__("cpu" if device_type == NAME else device_type, *args, **kwargs)


def _of_the_cpu(function):
    return lambda device="cpu", *rest: function("cpu" if device == NAME else device, *rest)


def _device_module():
    """What torch asks of ``torch.cuda``, for this device."""
    state = torch.zeros(16, dtype=torch.uint8)
    return SimpleNamespace(
        device_count=lambda: 1,
        current_device=lambda: 0,
        get_rng_state=lambda device=0: state,
        set_rng_state=lambda state, device=0: None,
        is_available=lambda: True,
        synchronize=lambda device=None: None,
    )


@contextmanager
def pretend():
    """Within the block :data:`DEVICE` works as a device."""
    with ExitStack() as stack:
        for name, value in {
            NAME: _device_module(),
            "Generator": _Generator,
            "tensor": _from_data(torch.tensor),
            "as_tensor": _from_data(torch.as_tensor),
            "asarray": _from_data(torch.asarray),
            "autocast": _Autocast,
            "is_autocast_enabled": _of_the_cpu(torch.is_autocast_enabled),
            "get_autocast_dtype": _of_the_cpu(torch.get_autocast_dtype),
        }.items():
            stack.enter_context(mock.patch.object(torch, name, value, create=name == NAME))
        stack.enter_context(_Functions())
        stack.enter_context(_Dispatch())
        yield DEVICE


def on_device(tensor):
    return DeviceTensor(tensor)


def on_cpu(tensor):
    """The values of a result, which must be on the device."""
    assert tensor.device == DEVICE, f"the result is on {tensor.device}"
    return tensor.held


def to_device(module):
    """A module's parameters and buffers on the device, in place."""
    for part in module.modules():
        for name, value in part._parameters.items():
            if value is not None:
                part._parameters[name] = torch.nn.Parameter(
                    DeviceTensor(value.detach()), value.requires_grad
                )
        for name, value in part._buffers.items():
            if value is not None:
                part._buffers[name] = DeviceTensor(value)
    return module
