"""A network and a method of your own, in one file, as the command line takes them.

`captum-cnn-ext audit --model examples/my_own.py:build --images examples/photos` and
`captum-cnn-ext bench --adapters examples/my_own.py --methods mine,LayerHiResCam`.
"""

from captum_cnn_ext.attr import LayerFeatureMaps
from captum_cnn_ext.models import load_model


def build():
    """Your trained network, and how it wants its photos: a PIL image to a tensor (C, H, W)."""
    demo = load_model("demo")
    return demo.model, demo.preprocess


def mine(subject, x, target):
    """A map (1, 1, h, w) of one image x (1, C, H, W), at any resolution: what the layer gives.

    `target` is the class, a number; `subject` has the `model`, the name of its `layer`, the
    `module` itself, an earlier layer's name (`middle`) and a `seed`. With a Captum class the body
    is one line: `return Saliency(subject.model).attribute(x, target)`.
    """
    maps = LayerFeatureMaps(subject.model, subject.layer).attribute(x)
    return maps.clamp(min=0).sum(1, keepdim=True)


METHODS = {"mine": mine}

if __name__ == "__main__":
    print(__doc__)
