"""An attribution class of your own, held to Captum's contract, and its map beside ours.

Its map adds up what each channel says for or against the class, without the signs. Writes
a_class_of_your_own.png.
"""

from captum.log import log_usage

from captum_cnn_ext.attr import LayerHiResCam
from captum_cnn_ext.models import load_model
from captum_cnn_ext.photos import demo_photos
from captum_cnn_ext.render import show_attributions
from captum_cnn_ext.testing import check_attribution


class LayerAbsoluteCam(LayerHiResCam):
    """sum_k |A_k g_k|: HiResCAM without the sign of what each channel adds."""

    @log_usage()  # as every class of Captum's: its NoiseTunnel looks for it
    def attribute(self, inputs, target=None, additional_forward_args=None, **options):
        options["attr_dim_summation"] = False
        each = super().attribute(inputs, target, additional_forward_args, **options)
        return each.abs().sum(1, keepdim=True)


report = check_attribution(LayerAbsoluteCam)
print(report)

demo = load_model("demo")
x = demo.preprocess(demo_photos()["rocket"]).unsqueeze(0)
target = int(demo.model(x).argmax())
maps = {
    method.__name__: method(demo.model, "_blocks.10").attribute(x, target)
    for method in (LayerHiResCam, LayerAbsoluteCam)
}
figure, _ = show_attributions(
    x, maps, mean=demo.mean, std=demo.std, row_titles=[demo.class_names[target]]
)
figure.savefig("a_class_of_your_own.png", dpi=80)
