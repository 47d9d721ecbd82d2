"""Do two layers see the same, whatever their channels are called?"""

from torch import Tensor

from captum_cnn_ext.errors import ArgumentError

FEWEST = 4  # examples that the unbiased estimate needs


def linear_cka(one: Tensor, two: Tensor) -> float:
    r"""Linear centred kernel alignment of two sets of features, without the bias of few examples.

    .. math:: \mathrm{CKA} = \frac{\mathrm{HSIC}(K, L)}
        {\sqrt{\mathrm{HSIC}(K, K)\, \mathrm{HSIC}(L, L)}}, \quad K = X X^\top, L = Y Y^\top

    with the unbiased estimate of HSIC. 1 where the features are the same up to a rotation and a
    scale; about 0 where they have nothing in common, also where there are more features than
    examples (the usual estimate is far above 0 there); it can be slightly negative. Examples that
    depend on each other, such as positions of one image, make it less certain than their number
    says.

    Cost: no pass of the model; two matrices of n x n numbers.

    Reference: Kornblith, Norouzi, Lee, Hinton, *Similarity of Neural Network Representations
    Revisited*, 2019, arXiv:1905.00414; the unbiased estimate: Song, Smola, Gretton, Bedo,
    Borgwardt, *Feature Selection via Dependence Maximization*, JMLR 13, 2012.

    Args:
        one, two: features (n, p) and (n, q) of the same n examples, n at least 4.

    Returns:
        the alignment; 0 where one of them is the same for all examples.

    Raises:
        ArgumentError: other shapes, or different numbers of examples.

    Example::

        >>> import torch
        >>> from captum_cnn_ext.evidence import linear_cka
        >>> x = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
        >>> turn, _ = torch.linalg.qr(torch.randn(8, 8))
        >>> round(linear_cka(x, 3 * x @ turn), 4)
        1.0
    """
    if one.ndim != 2 or two.ndim != 2 or len(one) != len(two) or len(one) < FEWEST:
        raise ArgumentError(
            f"features: expected (n, p) and (n, q) with n at least {FEWEST}, got "
            f"{tuple(one.shape)} and {tuple(two.shape)}"
        )
    first, second = _gram(one), _gram(two)
    scale = _hsic(first, first) * _hsic(second, second)
    return float(_hsic(first, second) / scale.sqrt()) if float(scale) > 0 else 0.0


def _gram(features: Tensor) -> Tensor:
    """Inner products of different examples; the mean is taken off for the digits' sake only."""
    centred = features.detach().double()
    centred = centred - centred.mean(0)
    return (centred @ centred.T).fill_diagonal_(0)


def _hsic(one: Tensor, two: Tensor) -> Tensor:
    """The unbiased estimate, up to a factor that cancels."""
    n = len(one)
    sums = one.sum() * two.sum() / ((n - 1) * (n - 2))
    return (one * two).sum() + sums - 2 / (n - 2) * (one.sum(0) @ two.sum(0))
