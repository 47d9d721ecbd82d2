"""Which box does a map mark? The map and its boxes on the whole photo, not on the model's crop.

Outside the crop the photo keeps its colours, because the network did not see that part. Writes
map_to_box.png.
"""

from PIL import ImageDraw

from captum_cnn_ext.evidence import regions
from captum_cnn_ext.insights import compare
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos

photos = {"chelsea": demo_photos()["chelsea"]}
found = compare(load_model("demo"), photos, ["LayerHiResCam"])
heat, there = found.attributions["LayerHiResCam"], found.on_photos

picture = there.overlay(0, heat[0])
draw = ImageDraw.Draw(picture)
for region in regions(heat, "energy", 0.5, geometry=there.geometries)[0]:
    draw.rectangle(region.box, outline="red", width=3)
    left, top = region.box[:2]
    draw.text((left + 6, top + 4), f"{100 * region.energy:.0f} % of the evidence", fill="white")
picture.save("map_to_box.png")
# captum_cnn_ext.photos.write_coco("boxes.json", {"chelsea.png": regions(...)}) keeps them
