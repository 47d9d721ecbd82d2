"""What is the network made of? A row for each layer: configuration, shapes, parameters, cost."""

from torchvision.models import resnet18

from captum_cnn_ext.evidence import layer_table

print(layer_table(resnet18(), (3, 224, 224)))
