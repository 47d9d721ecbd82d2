"""What do the layers see? Filters of the first layer, feature maps of two others, in one pass.

Writes filters.png, feature_maps_early.png and feature_maps_late.png.
"""

from captum_cnn_ext.attr import LayerFeatureMaps
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_feature_maps, show_filters

demo = load_model("demo")
x = demo.preprocess(demo_photos()["astronaut"]).unsqueeze(0)

figure, _ = show_filters(demo.model._conv_stem.weight, title="First layer, 32 filters as RGB")
figure.savefig("filters.png", dpi=80)

early, late = LayerFeatureMaps(demo.model, ["_blocks.0", "_blocks.10"]).attribute(x)
for name, maps in (("early", early), ("late", late)):
    figure, _ = show_feature_maps(maps, first=32, sort="max", title=f"{name}, strongest first")
    figure.savefig(f"feature_maps_{name}.png", dpi=80)
