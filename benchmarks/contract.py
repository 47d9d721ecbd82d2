"""Captum's own classes through the checks of `captum_cnn_ext.testing`.

    python benchmarks/contract.py          # results/contract.md; a minute, no GPU

Every class that takes no baselines or random samples to be chosen, as it is called by default.
"""

from importlib.metadata import version
from pathlib import Path

import captum.attr
import torch

from captum_cnn_ext.testing import CHECKS, check_attribution

ARGUMENTS = {
    "FeatureAblation": {"feature_mask": torch.arange(30).reshape(1, 1, 5, 6)},
    "LayerFeatureAblation": {},
    "Occlusion": {"sliding_window_shapes": (2, 2, 2)},
    "NeuronGradient": {"neuron_selector": (1, 2, 3)},
    "NeuronDeconvolution": {"neuron_selector": (1, 2, 3)},
    "NeuronGuidedBackprop": {"neuron_selector": (1, 2, 3)},
} | {
    name: {}
    for name in ("Saliency", "InputXGradient", "IntegratedGradients", "DeepLift", "LRP",
                 "Deconvolution", "GuidedBackprop", "GuidedGradCam", "LayerActivation",
                 "LayerGradCam", "LayerGradientXActivation", "LayerConductance",
                 "InternalInfluence", "LayerIntegratedGradients", "LayerDeepLift", "LayerLRP")
}  # fmt: skip
EXPLAINED = f"""# The contract

Captum {version("captum")} with torch {torch.__version__.split("+")[0]} through
`captum_cnn_ext.testing.check_attribution` on a CPU: which checks a class fails when it is called
with its defaults. Where explaining a network fails at all, the other checks use the other networks.
Every class of `captum_cnn_ext.attr` passes, but for what `tests/test_contract.py` names beside it.
Some of what is listed is what Captum promises (a result that holds its graph can be differentiated
again); most of it is what one finds out late.

| class | passed | what it fails |
|---|---|---|
"""


def main() -> None:
    torch.set_num_threads(1)
    lines, findings = [], dict.fromkeys(CHECKS, "")
    for name in sorted(ARGUMENTS):
        found = check_attribution(
            getattr(captum.attr, name), arguments=ARGUMENTS[name], raise_on_failure=False
        )
        lines.append(f"| {name} | {len(found.of('passed'))} | {', '.join(found.failed)} |\n")
        for result in found.of("failed"):
            first = f"{name}: {result.message}".replace("|", "/")
            findings[result.check] = findings[result.check] or first
    meant = [
        f"| {check} | {CHECKS[check]} | {said} |\n" for check, said in findings.items() if said
    ]
    heads = "\n| check | what it demands | the first one that fails it |\n|---|---|---|\n"
    path = Path(__file__).parent / "results" / "contract.md"
    path.write_text(EXPLAINED + "".join(lines) + heads + "".join(meant))
    print(path.read_text())


if __name__ == "__main__":
    main()
