"""What if a channel were gone, or were all there is? CAMs that ask the network, not its gradient.

1,280 channels and 49 positions are scored by what follows the layer alone; Score-CAM shows the
network the photo under 32 channels' areas. Writes what_if_a_channel_were_gone.png.
"""

from captum_cnn_ext.attr import LayerAblationCam, LayerReciproCam, LayerScoreCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions

demo = load_model("demo")
x = demo.preprocess(demo_photos()["rocket"]).unsqueeze(0)
target = int(demo.model(x).argmax())

maps = {}
for method, options in (
    (LayerAblationCam, {}),
    (LayerReciproCam, {}),
    (LayerScoreCam, {"top_channels": 32}),
):
    cam = method(demo.model, "_swish", **options)
    maps[method.__name__] = cam.attribute(x, target, call=1)  # this module runs twice

figure, _ = show_attributions(
    x, maps, mean=demo.mean, std=demo.std, row_titles=[demo.class_names[target]]
)
figure.savefig("what_if_a_channel_were_gone.png", dpi=80)
