"""Which literal reference belongs to which class, and the comparison of the two."""

import references
import torch

from captum_cnn_ext.attr import (
    LayerGradCamPlusPlus,
    LayerHiResCam,
    LayerLayerCam,
    LayerXGradCam,
)

REFERENCES = {
    LayerGradCamPlusPlus: references.grad_cam_plus_plus,
    LayerXGradCam: references.x_grad_cam,
    LayerHiResCam: references.hires_cam,
    LayerLayerCam: references.layer_cam,
}


def assert_equals_reference(cls, model, layer, x, target, rtol, *, call=None, at_input=False):
    """The class's map equals the reference's to ``rtol`` of the map's range."""
    found = cls(model, layer).attribute(x, target, attribute_to_layer_input=at_input, call=call)
    activation, gradient = references.activation_and_gradient(
        model,
        model.get_submodule(layer),
        x,
        target,
        call=-1 if call is None else call,
        at_input=at_input,
    )
    expected = REFERENCES[cls](activation, gradient)
    atol = rtol * float(expected.abs().max())
    torch.testing.assert_close(found.double(), expected.to(found.device), rtol=0, atol=atol)
    assert float(expected.abs().max()) > 0, "an empty map proves nothing"
