"""Self-normalizing (SELU, not spiking) neural networks as scikit-learn estimators."""

from ._version import __version__
from .estimators import SNNClassifier, SNNRegressor

__all__ = ["SNNClassifier", "SNNRegressor", "__version__"]
