"""What a report was made from and with: fingerprints, versions, machine. No folder, no secret."""

from __future__ import annotations

import platform
from importlib import metadata

import torch

PACKAGES = ("captum-cnn-ext", "captum", "torch", "torchvision", "numpy", "matplotlib", "pillow")
FINGERPRINT = "over name, type, shape and bytes of each tensor, in the order of state_dict()"


def software() -> dict[str, str]:
    """Versions by package."""
    return {"Python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def device_words(device: torch.device) -> str:
    """The device, with what decides over its numbers."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"
    return f"{device}, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def system_words() -> str:
    """The operating system and the processor's kind."""
    return f"{platform.system()} {platform.machine()}"


def _version(package: str) -> str:
    if package == "torch":
        return torch.__version__  # says for which accelerator it was built
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"
