"""Choose the defaults of SNNClassifier and SNNRegressor: each lever alone, on one half of the sets.

    SKSNN_DATA=... python examples/paper/defaults.py classification defaults.csv
    SKSNN_DATA=... python examples/paper/defaults.py classification defaults.csv --confirm

The sets are cut in two halves by a hash of their names. Candidates are compared on the first; with
--confirm the choice, and what it is chosen over, are run once on the second, and reported apart. A candidate
is START with a few parameters changed. It is adopted if, against START,

* its mean rank in accuracy (R² for regression) is better,
* its mean rank in log-loss (mean absolute error for regression) is not worse, and
* no set takes more than MOST_TIME times as long in the median.

Of those that pass, the one of the best mean rank among all is the choice. Sets are cut to --rows training rows, drawn by
the fold's number, so that a pass over all candidates takes minutes; results are appended and never lost.
"""

import argparse
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from records import Records, mean_ranks, score_classifier, versions
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import ShuffleSplit

from sksnn import SNNClassifier, SNNRegressor
from sksnn.datasets import load_regression, load_uci, regression_names, uci_names

# A lever may not cost more than this on any set.
MOST_TIME = 1.5


def in_first_half(name):
    """Say in which half a set is."""
    return zlib.crc32(name.encode()) % 2 == 1


class Classification:
    """What candidates for SNNClassifier are run on and judged by."""

    scores = ("accuracy", "log_loss", "auc", "seconds")
    names, load, estimator = staticmethod(uci_names), staticmethod(load_uci), SNNClassifier
    score = staticmethod(score_classifier)
