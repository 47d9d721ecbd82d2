"""What activates each channel? The strongest channels of a layer, projected back to pixels.

Above, the guided reconstruction, cropped to the part that holds its energy; below, the same crop of
the photo: some channels respond to eyes, others to the nose. Writes deconvnet.png.
"""

from captum_cnn_ext.attr import DeconvNet
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_reconstructions

demo = load_model("demo")
x = demo.preprocess(demo_photos()["chelsea"]).unsqueeze(0)

# this network has no max-pooling, so a deconvnet picture would not depend on the photo: guided
found = DeconvNet(demo.model, "_blocks.10").reconstruct(x, top=8, rule="guided")
figure, _ = show_reconstructions(x, found, mean=demo.mean, std=demo.std, crop="energy")
figure.savefig("deconvnet.png", dpi=150)
