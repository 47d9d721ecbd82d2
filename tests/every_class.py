"""Every public attribution class as a function of nothing, on one model and input."""

import test_contract

from captum_cnn_ext import attr

KIND = "residual, in-place add"


def calls(model, layer, x, target=1):
    """By class name: a call of it; few steps where the class takes many."""
    found = {}
    for cls in test_contract.CLASSES:
        found[cls.__name__] = lambda cls=cls: test_contract.attribute(cls, model, layer, x, target)
    found["LayerOptiCam"] = lambda: attr.LayerOptiCam(model, layer, steps=2).attribute(x, target)
    for name, make in test_contract.PIXELS.items():

        def pixels(name=name, make=make):
            method, kwargs = make(model, layer)
            kwargs |= {"steps": 1} if name == "ActivationMaximization" else {}
            return method.attribute(x, **kwargs)

        found[name] = pixels
    return found


NAMES = [*(cls.__name__ for cls in test_contract.CLASSES), *test_contract.PIXELS]
