"""Are filters turned copies of one another? With the controls that the answer needs.

Small kernels look turned by chance, so the scores of shuffled kernels and of partners that are not
turned are printed beside. Writes turned_filters.png: families of a layer of 5 x 5 kernels.
"""

from captum_cnn_ext.evidence import filter_similarity
from captum_cnn_ext.models import load_model
from captum_cnn_ext.render import show_filter_families

demo = load_model("demo")
layer = demo.model._blocks[9]._depthwise_conv
found = filter_similarity(layer, angles=4)
print(found)

figure, _ = show_filter_families(layer, found.families, first=8, title=str(found).split(";")[0])
figure.savefig("turned_filters.png", dpi=100)
