"""What do the first filters look like? All kernels of the first convolution, and its neighbour's.

Writes first_filters.png: kernels on three channels are colours, grey is 0.
"""

from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import show_filters

demo = load_model("demo")
figure, _ = show_filters(demo.model._conv_stem, title="EfficientNet-Lite0: its 32 first filters")
figure.savefig("first_filters.png", dpi=100)
