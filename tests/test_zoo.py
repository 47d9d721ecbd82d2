"""A few networks of the zoo (benchmarks/zoo.py), every cell: right by its values, or refused."""

import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def zoo():
    pytest.importorskip("torchvision")
    sys.path.append(str(BENCHMARKS))
    try:
        spec = importlib.util.spec_from_file_location("benchmarks_zoo", BENCHMARKS / "zoo.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.mark.parametrize(
    ("network", "refused"),
    [
        ("torchvision:squeezenet1_1", {"LayerCam"}),
        ("torchvision:mobilenet_v3_small", {"LayerCam", "LayerFem"}),
        ("segmentation:lraspp_mobilenet_v3_large", {"LayerCam"}),
    ],
)
def test_no_cell_is_wrong(zoo, network, refused):
    found = zoo.run(*network.split(":"))
    status = {name: cell["status"] for name, cell in found["cells"].items()}
    assert "WRONG" not in status.values(), found["cells"]
    assert {name for name, how in status.items() if how == "refused"} == refused
    assert len(status) == len(zoo.COLUMNS)


def test_a_wrong_map_is_seen(zoo, monkeypatch):
    """The judge fails on the plain mean of channels in place of a gradient's weights."""
    from captum_cnn_ext.attr import LayerHiResCam

    monkeypatch.setattr(LayerHiResCam, "_weights", lambda self, a, g: g.mean(2, keepdim=True))
    found = zoo.run("torchvision", "squeezenet1_1", ["LayerHiResCam"])
    assert found["cells"]["LayerHiResCam"]["status"] == "WRONG"
