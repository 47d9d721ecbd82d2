"""Shared fixtures: the seed, the real network, its photos; one thread for each test process."""

import os

SIDE_BY_SIDE = "PYTEST_XDIST_WORKER" in os.environ
if SIDE_BY_SIDE:  # before torch is imported, and for the commands that tests start
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import pytest  # noqa: E402
import torch  # noqa: E402

# on CUDA: beside the CPU's values and across batch sizes, so without TF32 and with the same kernels
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.deterministic = True
if DEVICE := os.environ.get("TEST_DEVICE"):  # where tensors and modules are made, such as "cuda"
    if DEVICE == "pretend":
        import atexit

        import pretend_device

        (pretending := pretend_device.pretend()).__enter__()
        atexit.register(pretending.__exit__, None, None, None)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        DEVICE = pretend_device.DEVICE
    torch.set_default_device(DEVICE)


# what the pretend device cannot do: it has one thread, and no two tensors of one storage
BEYOND_IT = (
    "test_another_thread_gets_the_model_itself",
    "test_other_kinds_of_forward",
    "[WritesThroughAView]",
    "on a view]",
)


def pytest_collection_modifyitems(items):
    for item in items:
        if str(DEVICE).startswith("lazy") and item.name.endswith(BEYOND_IT):
            item.add_marker(pytest.mark.skip(reason="beyond the pretend device"))
    if SIDE_BY_SIDE:  # the long ones first, so that no process ends with one while the others wait
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Neighbours in one process, which makes what they share once; who is done first helps."""
    if config.getvalue("dist") != "load":  # asked for something else than -n alone
        return None
    from xdist.scheduler import WorkStealingScheduling

    return WorkStealingScheduling(config, log)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _small_images_are_followed_too(monkeypatch):
    """Occlusion would run micro-models itself, and no test would see its tape."""
    from captum_cnn_ext.attr.pixels import window_losses

    monkeypatch.setattr(window_losses, "FEWEST_POSITIONS", 1)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """One for all the processes of a run."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if SIDE_BY_SIDE else own


@pytest.fixture(scope="session")
def demo():
    """EfficientNet-Lite0 with its ImageNet weights, its preprocessing and its class names."""
    from captum_cnn_ext.models import load_model

    return load_model("demo")


@pytest.fixture(scope="session")
def lite0(demo):
    return demo.model


@pytest.fixture(scope="session")
def photos(demo):
    """An astronaut with her helmet and a cup of coffee, preprocessed: (2, 3, 224, 224)."""
    from captum_cnn_ext.photos import demo_photos

    pictures = demo_photos()
    return torch.stack([demo.preprocess(pictures[name]) for name in ("astronaut", "coffee")])
