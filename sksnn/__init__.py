"""Self-normalizing (SELU, not spiking) neural networks as scikit-learn estimators."""

from .estimators import SNNClassifier, SNNRegressor

__version__ = "0.1.0"

__all__ = ["SNNClassifier", "SNNRegressor", "__version__"]
