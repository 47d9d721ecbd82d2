"""A network and a method of your own, as the command line takes them; both go into one file.

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
    """A map for each image (N, C, H, W), at any resolution: here what the layer gives, summed."""
    maps = LayerFeatureMaps(subject.model, subject.layer).attribute(x)
    return maps.clamp(min=0).sum(1, keepdim=True)


METHODS = {"mine": mine}

if __name__ == "__main__":
    print(__doc__)
