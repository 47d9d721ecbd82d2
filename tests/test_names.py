"""The names that users of other libraries try first."""

import pytest

from captum_cnn_ext import attr


@pytest.mark.parametrize(
    ("guess", "name"),
    [
        ("GradCAMPlusPlus", "LayerGradCamPlusPlus"),
        ("GradCAM", "LayerGradCam"),
        ("ScoreCAM", "LayerScoreCam"),
        ("EigenCAM", "LayerEigenCam"),
        ("HiResCAM", "LayerHiResCam"),
        ("XGradCAM", "LayerXGradCam"),
        ("LayerScoreCAM", "LayerScoreCam"),
        ("AblationCAM", "LayerAblationCam"),
        ("FullGRAD", "FullGrad"),
        ("CAM", "LayerCam"),
    ],
)
def test_a_wrong_guess_is_answered(guess, name):
    with pytest.raises(ImportError, match=f"the class is called {name}"):
        exec(f"from captum_cnn_ext.attr import {guess}")


def test_layer_cam_is_answered_with_both_readings():
    with pytest.raises(ImportError, match=r"called LayerLayerCam \(CAM is LayerCam\)"):
        exec("from captum_cnn_ext.attr import LayerCAM")


@pytest.mark.parametrize("name", ["nothing_like_it", "Nonsense", "__wrapped__"])
def test_other_names_are_no_attributes(name):
    assert not hasattr(attr, name)
