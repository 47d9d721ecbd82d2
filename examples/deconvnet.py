"""What did each of these units see? The strongest units of a layer, back to pixels.

Above, the guided reconstruction cropped to the pixels that each unit sees; below, the same crop of
the photo. Writes deconvnet.png.
"""

from matplotlib.figure import Figure

from captum_cnn_ext.attr import DeconvNet
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import to_rgb

demo = load_model("demo")
x = demo.preprocess(demo_photos()["astronaut"]).unsqueeze(0)
photo = to_rgb(x[0], mean=demo.mean, std=demo.std)

# this network has no max-pooling, so a deconvnet picture would not depend on the photo: guided
found = DeconvNet(demo.model, "_blocks.4").reconstruct(x, top=6, rule="guided")

figure = Figure(figsize=(11, 3.6), layout="constrained")
axes = figure.subplots(2, 7)
axes[0, 0].imshow(photo)
axes[0, 0].set_title("photo", fontsize=8)
for k in range(6):
    (top, bottom), (left, right) = found.boxes[0, k].tolist()
    picture = found.attributions[0, k, :, top:bottom, left:right].permute(1, 2, 0)
    axes[0, k + 1].imshow((0.5 + 0.5 * picture / picture.abs().max()).numpy())
    axes[0, k + 1].set_title(f"channel {int(found.channels[0, k])}", fontsize=8)
    axes[1, k + 1].imshow(photo[top:bottom, left:right])
for axis in axes.flat:
    axis.set_axis_off()
figure.savefig("deconvnet.png", dpi=100)
