"""Each attribution class of this package: where, question, cost, paper, settings."""

from __future__ import annotations

from typing import Any

from captum_cnn_ext.methods.known import INPUT, LAYER, LAYERS, NO_MAP, OURS, KnownMethod
from captum_cnn_ext.methods.settings import path_steps, windows

TAIL = "one forward pass, one backward pass of the tail"
BOTH = "one forward pass and one backward pass"
TO_THE_LAYER = "one forward pass up to the layer and one backward pass from it"
MASKS = "one forward pass, and m on masked images for each channel that is not constant"
AXIOMATIC = (
    "Sundararajan, Taly, Yan, *Axiomatic Attribution for Deep Networks*, 2017, arXiv:1703.01365"
)
GRAD_CAM = (
    "Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra, *Grad-CAM: Visual Explanations from Deep "
    "Networks via Gradient-based Localization*, 2017, arXiv:1610.02391"
)
EIGEN_CAM = (
    "Muhammad, Yeasin, *Eigen-CAM: Class Activation Map using Principal Components*, 2020, "
    "arXiv:2008.00299"
)
SCORE_CAM = (
    "Wang, Wang, Du, Yang, Zhang, Ding, Mardziel, Hu, *Score-CAM: Score-Weighted Visual "
    "Explanations for Convolutional Neural Networks*, 2020, arXiv:1910.01279"
)
STRIVING = (
    "Springenberg, Dosovitskiy, Brox, Riedmiller, *Striving for Simplicity: The All Convolutional "
    "Net*, 2015, arXiv:1412.6806"
)
VISUALIZING = (
    "Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, 2014, arXiv:1311.2901"
)


def _ours(name: str, at: str, question: str, cost: str, paper: str, **more: Any) -> KnownMethod:
    more = {"path": f"captum_cnn_ext.attr.{name}", **more}
    return KnownMethod(name, at, question, cost, paper, OURS, **more)


# fmt: off
METHODS = (
    _ours("LayerCam", LAYER,
        "Where did it look, by the classifier's own weights?",
        "one forward pass, one backward pass of the tail; with classifier one forward pass",
        "Zhou, Khosla, Lapedriza, Oliva, Torralba, *Learning Deep Features for "
        "Discriminative Localization*, 2016, arXiv:1512.04150"),
    _ours("LayerGradCamPlusPlus", LAYER,
        "Where did it look, if the object is there several times?", TAIL,
        "Chattopadhyay, Sarkar, Howlader, Balasubramanian, *Grad-CAM++: Improved Visual "
        "Explanations for Deep Convolutional Networks*, 2018, arXiv:1710.11063, equation 19"),
    _ours("LayerSmoothGradCamPlusPlus", LAYER,
        "Where did it look, averaged over noise?",
        "n forward passes, n backward passes of the tail, one forward pass up to the layer",
        "Omeiza, Speakman, Cintas, Weldermariam, *Smooth Grad-CAM++: An Enhanced Inference "
        "Level Visualization Technique for Deep Convolutional Neural Network Models*, 2019,"
        " arXiv:1908.01224"),
    _ours("LayerXGradCam", LAYER,
        "Where did it look, with maps that add up to the score?", TAIL,
        "Fu, Hu, Dong, Guo, Gao, Li, *Axiom-based Grad-CAM: Towards Accurate Visualization "
        "and Explanation of CNNs*, 2020, arXiv:2008.02312"),
    _ours("LayerHiResCam", LAYER,
        "Where did it look, exactly what counted at each position?", TAIL,
        "Draelos, Carin, *Use HiResCAM instead of Grad-CAM for faithful explanations of "
        "convolutional neural networks*, 2020, arXiv:2011.08891"),
    _ours("LayerLayerCam", LAYER,
        "Where did it look, in the detail of an early layer?", TAIL,
        "Jiang, Zhang, Hou, Cheng, Wei, *LayerCAM: Exploring Hierarchical Class Activation "
        "Maps for Localization*, IEEE Transactions on Image Processing 30, 2021"),
    _ours("LayerFinerCam", LAYER,
        "What tells the class from the ones it is confused with?", TAIL,
        "Zhang, Zhang, Gu, Bai, Chao and others, *Finer-CAM: Spotting the Difference "
        "Reveals Finer Details for Visual Explanation*, 2025, arXiv:2501.11309"),
    _ours("LayerShapleyCam", LAYER,
        "Where did it look, by second order?",
        "one forward pass, two backward passes of the tail, and one more for each further "
        "layer",
        "Cai, *CAMs as Shapley Value-based Explainers*, 2025, arXiv:2501.06261"),
    _ours("LayerEigenGradCam", LAYER,
        "What is the main direction of gradient times activation?",
        "one forward pass, one backward pass of the tail, one symmetric eigenvalue problem "
        "of size min(channels, positions) for each example",
        EIGEN_CAM + ", applied to g A"),
    _ours("LayerRefineCam", LAYERS,
        "Where do several layers agree that it looked?",
        "one forward pass, one backward pass down to the earliest layer",
        "*How to Evaluate and Refine your CAM*, 2026, arXiv:2605.14641"),
    _ours("Occlusion", INPUT,
        "What if this window of the photo were not there?",
        "one forward pass for each window, of which only the part that it reaches is "
        "computed",
        VISUALIZING, gradient=False, options=windows),
    _ours("FullGrad", INPUT,
        "Where did it look, through every layer's biases too?",
        "one forward pass and one backward pass of the whole network; activations are kept",
        "Srinivas, Fleuret, *Full-Gradient Representation for Neural Network "
        "Visualization*, 2019, arXiv:1905.00780"),
    _ours("LayerAblationCam", LAYER,
        "What if a channel were gone?",
        "one forward pass and K passes through what follows the layer, in chunks; only "
        "these, as the rest comes from a recording",
        "Desai, Ramaswamy, *Ablation-CAM: Visual Explanations for Deep Convolutional "
        "Network via Gradient-free Localization*, WACV 2020", gradient=False),
    _ours("LayerReciproCam", LAYER,
        "What if one position were all there is?",
        "one forward pass and H W passes through what follows the layer; one forward and "
        "backward pass of it where that is average pooling and a linear layer",
        "Byun, Lee, *Recipro-CAM: Fast gradient-free visual explanations for convolutional "
        "neural networks*, 2022, arXiv:2209.14074", gradient=False),
    _ours("LayerScoreCam", LAYER,
        "What if only a channel's region were shown?",
        "one forward pass, and one on a masked image for each channel that is not constant",
        SCORE_CAM, gradient=False),
    _ours("LayerScoreCam(top_channels=32)", LAYER,
        "What if only the region of one of the 32 strongest channels were shown?",
        "one forward pass, and at most 32 on masked images", SCORE_CAM, gradient=False,
        path="captum_cnn_ext.attr.LayerScoreCam", creation={"top_channels": 32},
        also=("LayerScoreCam, 32 channels",)),
    _ours("LayerSSCam", LAYER,
        "What if only a channel's region were shown, averaged over noise?", MASKS,
        "Wang, Naidu, Michael, Kundu, *SS-CAM: Smoothed Score-CAM for Sharper Visual "
        "Feature Localization*, 2020, arXiv:2006.14255", gradient=False),
    _ours("LayerISCam", LAYER,
        "What if only a channel's region were shown, ever more strongly?", MASKS,
        "Naidu, Ghosh, Maurya, K, Kundu, *IS-CAM: Integrated Score-CAM for axiomatic-based "
        "explanations*, 2020, arXiv:2010.03023", gradient=False),
    _ours("LayerPolyCam", LAYERS,
        "Where did it look, refined through layers to a high resolution?",
        "one forward pass for each layer, and one on a masked image for each of its "
        "channels that is not constant; twice that with \"+-\"",
        "Englebert, Cornu, De Vleeschouwer, *Poly-CAM: High resolution class activation map"
        " for convolutional neural networks*, 2022, arXiv:2204.13359", gradient=False),
    _ours("LayerOptiCam", LAYER,
        "Which mixture of channels' regions scores best?",
        "one forward pass, and one forward and backward pass of the whole network for each "
        "step, all examples together",
        "Zhang, Torres, Sicre, Avrithis, Ayache, *Opti-CAM: Optimizing saliency maps for "
        "interpretability*, 2023, arXiv:2301.07002"),
    _ours("LayerFeatureAblation", LAYER,
        "By how much does the score fall without each feature?",
        "one forward pass, and one pass through what follows the layer for each group of "
        "features (each channel position when there is no mask)",
        "Kokhlikyan et al., *Captum: A unified and generic model interpretability library "
        "for PyTorch*, 2020, arXiv:2009.07896", gradient=False),
    _ours("LayerIntegratedGradients", LAYER,
        "What does each feature add on the way from a baseline?",
        "two forward passes, and n_steps forward and backward passes through what follows "
        "the layer",
        AXIOMATIC, options=path_steps),
    _ours("LayerConductance", LAYER,
        "How much of what the photo adds flows through each feature?",
        "n_steps + 1 forward passes, and as many backward passes of the tail",
        "Dhamdhere, Sundararajan, Yan, *How Important Is a Neuron?*, 2018, arXiv:1805.12233",
        options=path_steps),
    _ours("InternalInfluence", LAYER,
        "How does the score depend on each feature, on average?",
        "n_steps forward passes, and as many backward passes of the tail",
        "Leino, Sen, Datta, Fredrikson, Li, *Influence-Directed Explanations for Deep "
        "Convolutional Networks*, 2018, arXiv:1802.03788", options=path_steps),
    _ours("LayerEigenCam", LAYER,
        "What is most prominent in the activations, whatever the class?",
        "one forward pass up to the layer, and one symmetric eigenvalue problem of size "
        "min(channels, positions) for each example, batched on the device",
        EIGEN_CAM, gradient=False),
    _ours("LayerKPCACam", LAYER,
        "What is most prominent, by a non-linear kernel?",
        "one forward pass up to the layer, and one symmetric eigenvalue problem of the size"
        " of the number of positions for each example: use it at late layers",
        "Karmani, Sivakaran, Prasad, Ali, Yang, Tang, *KPCA-CAM: Visual Explainability of "
        "Deep Computer Vision Models using Kernel PCA*, 2024, arXiv:2410.00267", gradient=False),
    _ours("LayerFem", LAYER,
        "Where are channels unusually active?",
        "one forward pass up to the layer",
        "Fuad, Martin, Giot, Bourqui, Benois-Pineau, Zemmari, *Features Understanding in 3D"
        " CNNs for Actions Recognition in Video*, 2020", gradient=False),
    _ours("LayerDeepFeatureFactorization", NO_MAP,
        "Which few concepts do these images share?",
        "one forward pass up to the layer, and scikit-learn's NMF on the CPU",
        "Collins, Achanta, Susstrunk, *Deep Feature Factorization For Concept Discovery*, "
        "2018, arXiv:1806.10206", gradient=False),
    _ours("LayerFeatureMaps", NO_MAP,
        "What do the layers see?",
        "one forward pass up to the last layer asked for, however many layers there are",
        "", gradient=False),
    _ours("ActivationMaximization", NO_MAP,
        "What does this unit or class want to see?",
        "for each step one forward pass up to the layer and one backward pass from it, 256 "
        "steps by default; one forward pass at the end",
        "Erhan, Bengio, Courville, Vincent, *Visualizing Higher-Layer Features of a Deep "
        "Network*, 2009; the default recipe is "
        ":func:`captum_cnn_ext.synthesis.presets.transferable`"),
    _ours("DeconvNet", NO_MAP,
        "Which pattern in the photo drives this unit?",
        "one forward pass up to the layer and K backward passes from it",
        f"{VISUALIZING}; guided: {STRIVING}"),
    _ours("GuidedBackprop", INPUT,
        "Which edges matter, in fine detail?", BOTH, STRIVING),
    _ours("abs(GuidedBackprop)", INPUT,
        "Which edges matter, for or against the class?", BOTH, STRIVING,
        path="captum_cnn_ext.attr.GuidedBackprop", absolute=True),
    _ours("Deconvolution", INPUT,
        "Which patterns would the score's features be made of?", BOTH,
        f"{VISUALIZING}; as a backward rule: {STRIVING}"),
    _ours("NeuronGuidedBackprop", NO_MAP,
        "Which edges matter to this neuron?", TO_THE_LAYER, STRIVING),
    _ours("NeuronDeconvolution", NO_MAP,
        "Which pattern drives this neuron?", TO_THE_LAYER, VISUALIZING),
    _ours("GuidedCam", NO_MAP,
        "Which edges matter, where a map of the class is positive?",
        "the map's passes, one forward and one backward pass",
        GRAD_CAM + ", section 3.2"),
)
