"""Tables of autograd nodes: rectifiers, switches, products, smooth and linear operations.

A node is named as in ``AddBackward0``, without "Backward" and the number. A new activation is a row
of `ACTIVATIONS`; other operations are names in the sets below it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from captum_cnn_ext._engine.backward.autograd_graph import RESHAPING

WRITTEN_SILU = "x * sigmoid(x)"  # a product with its own sigmoid


@dataclass(frozen=True)
class Activation:
    """What a backward rule has to know of a rectifier.

    Args:
        hard: its slope is 0 or 1.
        slope_is_rise: it rises exactly where its slope is 1; else it counts as rising where x > 0.
        backward: ATen's operation for its gradient, by which the rule knows it inside a node that
            hides what it runs; empty where it has none of its own.
    """

    hard: bool = False
    slope_is_rise: bool = False
    backward: str = ""


ACTIVATIONS: Mapping[str, Activation] = {
    "Relu": Activation(hard=True, slope_is_rise=True, backward="threshold_backward"),
    "Threshold": Activation(hard=True, slope_is_rise=True, backward="threshold_backward"),
    "Hardtanh": Activation(hard=True, slope_is_rise=True, backward="hardtanh_backward"),
    "ClampMin": Activation(hard=True),
    "Clamp": Activation(hard=True),
    "Maximum": Activation(hard=True),
    "LeakyRelu": Activation(backward="leaky_relu_backward"),
    "PreluKernel": Activation(),
    "RreluWithNoise": Activation(),
    "Elu": Activation(backward="elu_backward"),
    "Celu": Activation(backward="elu_backward"),
    "Silu": Activation(backward="silu_backward"),
    "Gelu": Activation(backward="gelu_backward"),
    "Hardswish": Activation(backward="hardswish_backward"),
    "Mish": Activation(backward="mish_backward"),
    "Softplus": Activation(backward="softplus_backward"),
    WRITTEN_SILU: Activation(),
}
HARD = frozenset(name for name, activation in ACTIVATIONS.items() if activation.hard)
SMOOTH = frozenset(ACTIVATIONS) - HARD
# their gradient goes to one of several positions: max-poolings
SWITCHES = frozenset(
    {
        "AdaptiveMaxPool2D",
        "AdaptiveMaxPool3D",
        "Amax",
        "FractionalMaxPool2D",
        "FractionalMaxPool3D",
        "Max",
        "MaxPool2D",
        "MaxPool2DWithIndices",
        "MaxPool3DWithIndices",
        "MkldnnMaxPool2D",
        "MkldnnMaxPool3D",
        "Topk",
    }
)
# smooth operations that are no activations to a rule; their own gradient passes
PLAIN = frozenset(
    {
        "Cos",
        "Erf",
        "Exp",
        "FusedRmsNorm",
        "Glu",
        "Hardsigmoid",
        "LinalgVectorNorm",
        "Log",
        "Log1P",
        "LogSigmoid",
        "LogSoftmax",
        "Logsumexp",
        "NativeGroupNorm",
        "NativeLayerNorm",
        "Norm",
        "Pow",
        "Reciprocal",
        "Rsqrt",
        "Sigmoid",
        "Sin",
        "Softmax",
        "Sqrt",
        "Std",
        "StdMean",
        "Tanh",
        "Var",
        "VarMean",
    }
)
# a gate where both factors depend on the input, else linear
PRODUCTS = frozenset(
    {
        "Addcmul",
        "Addmm",
        "Baddbmm",
        "Bmm",
        "Convolution",
        "Div",
        "Einsum",
        "Linear",
        "Mm",
        "Mul",
    }
)
# linear in each position, or moving positions about
LINEAR = frozenset(RESHAPING) | frozenset(
    {
        "AdaptiveAvgPool2D",
        "AdaptiveAvgPool3D",
        "Add",
        "Addcdiv",
        "AvgPool2D",
        "AvgPool3D",
        "BatchNormImplIndex",
        "Broadcast",
        "ChannelShuffle",
        "Chunk",
        "Col2Im",
        "ConstantPadNd",
        "Contiguous",
        "ConvolutionOverrideable",
        "Copy",
        "CopyBackwards",
        "CopySlices",
        "CudnnBatchNorm",
        "CudnnConvolution",
        "Cumsum",
        "Detach",
        "Diagonal",
        "Dot",
        "FftC2R",
        "FftR2C",
        "Flip",
        "GridSampler2D",
        "Identity",
        "Im2Col",
        "IndexSelect",
        "Lerp",
        "MaxUnpool2D",
        "MaxUnpool3D",
        "Mean",
        "MiopenBatchNorm",
        "MiopenConvolution",
        "MkldnnConvolution",
        "Movedim",
        "MpsConvolution",
        "Mv",
        "Narrow",
        "NativeBatchNorm",
        "NativeChannelShuffle",
        "NativeDropout",
        "Neg",
        "PixelShuffle",
        "PixelUnshuffle",
        "Prod",
        "Real",
        "ReflectionPad1D",
        "ReflectionPad2D",
        "ReflectionPad3D",
        "Repeat",
        "ReplicationPad1D",
        "ReplicationPad2D",
        "ReplicationPad3D",
        "Roll",
        "Rsub",
        "Scatter",
        "SlowConv2D",
        "SlowConvTranspose2D",
        "Split",
        "SplitWithSizes",
        "Sub",
        "Sum",
        "SwapAxes",
        "ToSparse",
        "Unflatten",
        "Unfold",
        "UnsafeSplit",
        "UpsampleBicubic2D",
        "UpsampleBilinear2D",
        "UpsampleBilinear2DAa",
        "UpsampleLinear1D",
        "UpsampleNearest1D",
        "UpsampleNearest2D",
        "UpsampleNearest3D",
        "UpsampleNearestExact1D",
        "UpsampleNearestExact2D",
        "UpsampleNearestExact3D",
        "UpsampleTrilinear3D",
        "ViewAsComplex",
        "ViewAsReal",
    }
)
# parts of these names: compiled or scripted code, whose operations cannot be seen
OPAQUE = ("CompiledFunction", "DifferentiableGraph", "CompiledAutograd")
# functions of one position each: a signal times such a function of itself is an activation
POINTWISE = (
    HARD
    | SMOOTH
    | {
        "Add",
        "Clone",
        "Div",
        "Erf",
        "Exp",
        "Gt",
        "Hardsigmoid",
        "Log1P",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "Rsub",
        "Sigmoid",
        "Sub",
        "Tanh",
        "ToCopy",
    }
) - {WRITTEN_SILU}
