"""A search on a cluster: scikit-learn's own way, with stacks of networks as tasks."""

import os
import signal

import joblib
import numpy as np
import pytest
from conftest import unfinished
from sklearn.datasets import load_breast_cancer

from sksnn import SNNClassifier, _search
from sksnn.model_selection import SNNGridSearchCV

pytestmark = [unfinished, pytest.mark.filterwarnings("ignore::DeprecationWarning:distributed")]
GRID = {"lr": [0.001, 0.003], "n_layers": [2, 3, 4]}


class Counted(np.ndarray):
    """Rows that count how often they are sent."""

    n_sent = 0

    def __reduce__(self):
        Counted.n_sent += 1
        return np.asarray, (np.asarray(self),)


def test_a_search_on_a_cluster_survives_the_loss_of_a_worker(monkeypatch):
    distributed = pytest.importorskip("distributed")
    X, y = load_breast_cancer(return_X_y=True)
    snn = SNNClassifier(n_estimators=1, random_state=0, n_units=16, max_epochs=40, precision="float64")
    search = SNNGridSearchCV(snn, GRID, cv=3, scoring="neg_log_loss", refit=False)
    alone = search.fit(X, y).cv_results_["mean_test_score"]
    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    )
    with cluster, distributed.Client(cluster) as client, joblib.parallel_config(backend="dask"):
        pids = client.run(os.getpid)
        to_kill = [min(pids.values())]

        class Killing(_search.tqdm):
            """Kills a worker when the first stack is done."""

            def update(self, n=1):
                if to_kill:  # once, also if there is a second search
                    os.kill(to_kill.pop(), signal.SIGKILL)
                self.n += n

        monkeypatch.setattr(_search, "tqdm", Killing)
        Counted.n_sent = 0
        try:
            search.fit(X.view(Counted), y)
        except distributed.client.FutureCancelledError:  # now and then joblib's backend forgets a task
            search.fit(X.view(Counted), y)
        on_cluster = search.cv_results_["mean_test_score"]
        client.wait_for_workers(2, timeout=60)
        now = client.run(os.getpid)
    np.testing.assert_allclose(on_cluster, alone, rtol=1e-6)
    assert set(now.values()) != set(pids.values()), "no worker was lost"
    assert Counted.n_sent < 12  # to each worker, perhaps in two searches, not with each of the 24 tasks
