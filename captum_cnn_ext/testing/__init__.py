"""Does an attribution class keep the contract of Captum's and of this package's?

For the tests of your own classes, as scikit-learn's ``check_estimator`` is for estimators. It needs
no data, takes a second or two on a CPU, and asks for nothing but a class that is called as Captum's
are::

    from captum_cnn_ext.testing import check_attribution

    def test_my_layer_cam():
        check_attribution(MyLayerCam)
"""

from captum_cnn_ext.testing.conformance import CHECKS, check_attribution
from captum_cnn_ext.testing.report import CheckResult, ContractError, ContractReport
from captum_cnn_ext.testing.state import nothing_left_behind

__all__ = [
    "CHECKS",
    "CheckResult",
    "ContractError",
    "ContractReport",
    "check_attribution",
    "nothing_left_behind",
]
