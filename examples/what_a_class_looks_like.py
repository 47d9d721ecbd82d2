"""What does a network look for in a class? Three classes, from noise; and how they came about.

Writes what_a_class_looks_like.png and what_a_class_looks_like.gif. With 256 steps, the
default, they become those of the README.
"""

from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import save_film, show_images
from captum_cnn_ext.synthesis import Snapshots, Target, maximize

STEPS = 40
demo = load_model("demo")
classes = [285, 967, 657]  # Egyptian cat, espresso, missile

film = Snapshots(every=4)
found = maximize(
    demo.model, Target(classes), steps=STEPS, mean=demo.mean, std=demo.std, callbacks=[film]
)
titles = [
    f"{demo.class_names[c]}: logit {value:.0f}"
    for c, value in zip(classes, found.values.tolist(), strict=True)
]
show_images(found.images, titles)[0].savefig("what_a_class_looks_like.png", dpi=100)
save_film([frame[:, :, ::2, ::2] for frame in film.images], "what_a_class_looks_like.gif")
