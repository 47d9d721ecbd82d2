"""The networks of the zoo: torchvision's, timm's, and how segmentation and detection join in.

Every network gets seeded random weights and batch statistics that fit its inputs; nothing is
downloaded. A network that is no classifier is put into a small module with the forward that the
README's table tells users to write: scores of classes, (N, classes).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision import models

from captum_cnn_ext import targets
from captum_cnn_ext._engine.judging.output_targets import ScoredModel
from captum_cnn_ext.attr import channels_last_to_map, suggest_layers, tokens_to_map

SEGMENTATION = ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50",
                "deeplabv3_resnet50"]  # fmt: skip
DETECTION = ["fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_resnet50_fpn"]
TIMM = """
resnet18d resnetv2_50 vit_tiny_patch16_224 deit3_small_patch16_224 cait_xxs24_224 mixer_s32_224
swin_tiny_patch4_window7_224 convnext_atto efficientnet_lite0 mobilenetv3_small_050 regnety_002
eca_nfnet_l0 densenet121 levit_128s pvt_v2_b0 poolformer_s12 edgenext_xx_small ghostnet_100
hrnet_w18_small inception_next_atto dla46_c dpn48b repvgg_a0 res2net50_26w_4s mobileone_s0
fastvit_t8 tiny_vit_5m_224 efficientformer_l1 davit_tiny focalnet_tiny_srf xcit_nano_12_p16_224
rexnet_100 mobilevit_xxs repvit_m0_9 hgnet_tiny coat_lite_tiny crossvit_9_240 xception41
""".split()
FIXED_SIZE = {
    "maxvit_t": 224,
    "inception_v3": 96,
    "crossvit_9_240": 240,
    "efficientformer_l1": 224,
    "vit_h_14": 70,
}
# where the usual choice is another than suggest_layers', which takes one network with one end
LAYERS = {
    "fcn_resnet50": ["network.classifier.2", "network.backbone.layer4"],
    "deeplabv3_resnet50": ["network.classifier.3", "network.backbone.layer4"],
    "deeplabv3_mobilenet_v3_large": ["network.classifier.3", "network.backbone.16"],
    "lraspp_mobilenet_v3_large": ["network.backbone.16", "network.backbone.12"],
    "fasterrcnn_mobilenet_v3_large_320_fpn": ["backbone.body.16"],
    "fasterrcnn_resnet50_fpn": ["backbone.body.layer4"],
    # the one suggested runs twice, the second time for tokens that only class tokens follow
    "coat_lite_tiny": ["patch_embed4.proj", "patch_embed3.proj"],
}
TOKENS = {"levit_128s": (["stages.1", "stages.0"], tokens_to_map(class_token=False))}


@dataclass
class Network:
    """A network ready to be explained, and where it is looked at."""

    source: str
    name: str
    model: nn.Module
    x: Tensor
    layers: list[str]
    reshape: Callable[[Tensor], Tensor] | None
    why: str  # the layer was chosen so


class ClassMaps(nn.Module):
    """A segmentation network as a classifier: the mean of each class's map."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["out"].mean((2, 3))


def names(source: str) -> list[str]:
    """The networks of a source, small ones first."""
    if source == "timm":
        return TIMM
    if source == "segmentation":
        return SEGMENTATION
    if source == "detection":
        return DETECTION
    classifiers = models.list_models(models)
    weights = {n: models.get_model_weights(n).DEFAULT.meta for n in classifiers}
    return sorted(classifiers, key=lambda n: weights[n]["_ops"])


def network(source: str, name: str) -> Network:
    """Build one; 64 pixels where the network takes them."""
    torch.manual_seed(0)
    size = FIXED_SIZE.get(name, 64)
    if source == "timm":
        model = _timm(name, size)
    elif source == "segmentation":
        model = ClassMaps(models.get_model(name, weights=None, weights_backbone=None))
    elif source == "detection":
        kwargs = {"num_classes": 5, "min_size": size, "max_size": size, "box_score_thresh": 0.0}
        kwargs |= {"box_detections_per_img": 20, "rpn_score_thresh": 0.0}
        # 1,000 proposals on 64 pixels would take a second for each of thousands of passes
        kwargs |= {"rpn_pre_nms_top_n_test": 40, "rpn_post_nms_top_n_test": 40}
        kwargs = {"weights": None, "weights_backbone": None, **kwargs}
        detector = models.get_model(name, **kwargs)
        model = ScoredModel(detector, [targets.Boxes(label=n) for n in range(5)])
    else:
        kwargs = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        kwargs |= {"image_size": size} if name.startswith("vit_") else {}
        model = models.get_model(name, weights=None, **kwargs)
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    give_signal(model)
    calibrate(model.eval(), x)
    return Network(source, name, model, x, *_place(source, name, model, x))


def _timm(name: str, size: int) -> nn.Module:
    import timm

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return timm.create_model(name, pretrained=False, img_size=size)
        except TypeError:  # a network without a fixed size of images
            return timm.create_model(name, pretrained=False)


@torch.no_grad()
def give_signal(model: nn.Module) -> None:
    """Heads that begin at 0 and scales that begin near 0 would leave nothing to explain."""
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
        elif 0 < float(parameter.abs().amax()) < 0.01 and parameter.unique().numel() == 1:
            parameter.fill_(0.5)


def calibrate(model: nn.Module, x: Tensor) -> None:
    """Batch norms get the statistics of ``x``, or random weights would send everything to 0."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(torch.cat([x, torch.randn_like(x), torch.randn_like(x)]))
    model.eval()


def _place(source: str, name: str, model: nn.Module, x: Tensor):
    """The layers that are looked at, the last first, and what makes maps of their tensors."""
    modules = dict(model.named_modules())
    if name in LAYERS:
        return LAYERS[name], None, "the usual choice"
    if name in TOKENS:
        return *TOKENS[name], "the usual choice"
    try:
        return [s.name for s in suggest_layers(model, x)][:2], None, "suggested"
    except ValueError as error:
        why = f"suggest_layers: {str(error).split('.')[0]}"
    if name.startswith("vit_") and source == "torchvision":
        blocks = [n for n in modules if n.endswith(".ln_1")]
        return blocks[-1:-3:-1], tokens_to_map(), why
    swin = [n for n in modules if n.endswith("norm1")]
    last = swin[-1:-3:-1]
    seen: list[Tensor] = []
    handle = modules[last[0]].register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    with torch.no_grad():
        model(x)
    handle.remove()
    if seen[0].ndim == 4:
        return last, channels_last_to_map, why
    side = round(seen[0].shape[1] ** 0.5)
    tokens = tokens_to_map(class_token=seen[0].shape[1] - side * side)
    return last, tokens, why
