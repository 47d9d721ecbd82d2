"""The public checks where there is a device: a result that went to the CPU is seen."""

import pytest
import torch

from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.testing import check_attribution

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


class OnTheCpu(LayerHiResCam):
    def attribute(self, inputs, target=None, additional_forward_args=None):
        return super().attribute(inputs, target, additional_forward_args).cpu()


def test_the_device_is_checked():
    found = check_attribution(LayerHiResCam)
    assert "device_is_the_inputs" in {result.check for result in found.of("passed")}
    assert "device_is_the_inputs" in check_attribution(OnTheCpu, raise_on_failure=False).failed
