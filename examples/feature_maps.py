"""What do the layers see? Feature maps of an early and of a late layer.

Early channels draw edges and colours at the photo's own resolution; late ones, here over the photo,
answer to larger parts. Writes feature_maps_early.png and feature_maps_late.png.
"""

from captum_cnn_ext.attr import LayerFeatureMaps
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions, show_feature_maps

demo = load_model("demo")
x = demo.preprocess(demo_photos()["astronaut"]).unsqueeze(0)
early = LayerFeatureMaps(demo.model, "_blocks.0").attribute(x)
late = LayerFeatureMaps(demo.model, "_swish").attribute(x, call=1)  # it runs twice: call 1 is late

figure, _ = show_feature_maps(early, sort="max", title="_blocks.0, strongest first")
figure.savefig("feature_maps_early.png", dpi=80)

strongest = late[0].flatten(1).amax(1).topk(6).indices.tolist()
over_photo = {f"channel {channel}": late[:, [channel]] for channel in strongest}
figure, _ = show_attributions(x, over_photo, mean=demo.mean, std=demo.std)
figure.savefig("feature_maps_late.png", dpi=80)
