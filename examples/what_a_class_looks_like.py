"""What does a network look for in a class? Four classes from noise; and how they came about.

Writes what_a_class_looks_like.png and what_a_class_looks_like.gif. With 256 steps, the
default, and 224 pixels they become clearer still.
"""

from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import save_film, show_images
from captum_cnn_ext.synthesis import Snapshots, Target, maximize

STEPS = 96
demo = load_model("demo")
classes = [340, 980, 555, 963]  # zebra, volcano, fire engine, pizza

film = Snapshots(every=8)
found = maximize(
    demo.model, Target(classes), 160, steps=STEPS, mean=demo.mean, std=demo.std, callbacks=[film]
)
titles = [
    f"{demo.class_names[c]}: logit {value:.0f}"
    for c, value in zip(classes, found.values.tolist(), strict=True)
]
show_images(found.images, titles)[0].savefig("what_a_class_looks_like.png", dpi=80)
save_film(film.images, "what_a_class_looks_like.gif")
