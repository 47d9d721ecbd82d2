"""Every public attribution class as a function of nothing, on one model and input."""

from functools import partial

import oracles
import test_contract

from captum_cnn_ext import attr

KIND = "residual, in-place add"


def calls(model, layer, x, target=1):
    """By class name: a call of it, as its row among the oracles says."""

    def pixels(name):
        oracle = oracles.oracle_of(getattr(attr, name))
        return oracle.method(model, layer).attribute(x, **oracle.keywords(target))

    found = {
        cls.__name__: partial(test_contract.attribute, cls, model, layer, x, target)
        for cls in test_contract.CLASSES
    }
    return found | {name: partial(pixels, name) for name in test_contract.PIXELS}


NAMES = [*(cls.__name__ for cls in test_contract.CLASSES), *test_contract.PIXELS]
