"""How is the network connected? Its branches and additions as a picture, without Graphviz.

Writes network_graph.svg.
"""

from pathlib import Path

from torchvision.models import resnet18

from captum_cnn_ext.evidence import model_graph

graph = model_graph(resnet18().eval().layer2, (64, 56, 56))  # a stage; the whole works as well
print(graph)
Path("network_graph.svg").write_text(graph.to_svg())
