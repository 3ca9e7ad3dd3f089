"""MLflow: a run of the experiment ``advlab``, in a database of its own or on a server.

The server is the one that ``MLFLOW_TRACKING_URI`` in the environment names.
"""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advlab.components import optional

if TYPE_CHECKING:
    from advlab.runs.tracking import Conclusion

SHOWS = "mlflow ui --backend-store-uri sqlite:///{top}/mlflow.db"

_EXPERIMENT = "advlab"
_NAME = "advlab.run"
_LONGEST = 6000  # characters of an option


def check(what: str) -> None:
    """Refuse to track where MLflow is not installed; see ``tensorboard.check``."""
    optional("mlflow", what, "mlflow")


_MLFLOW = partial(optional, what="--track mlflow", extra="mlflow")


def holds(top: Path, name: str) -> bool:
    """Whether the database in ``top``, or the server, holds the run ``name`` already."""
    client = _client(top)
    experiment = client.get_experiment_by_name(_EXPERIMENT)
    return experiment is not None and bool(_runs(client, experiment.experiment_id, name))


class Tracker:
    """Writes one run, in place of what was written of it before."""

    def __init__(self, top: Path, name: str) -> None:
        """Begin the run ``name`` in the database in ``top``, or on the server."""
        self._client = _client(top)
        experiment = self._client.get_experiment_by_name(_EXPERIMENT)
        if experiment is not None:
            number = experiment.experiment_id
        elif _SERVER in os.environ:
            number = self._client.create_experiment(_EXPERIMENT)
        else:
            place = (top / "artifacts").resolve().as_uri()
            number = self._client.create_experiment(_EXPERIMENT, artifact_location=place)
        for earlier in _runs(self._client, number, name):
            self._client.delete_run(earlier.info.run_id)
        self._run = self._client.create_run(number, tags={_NAME: name}, run_name=name).info.run_id
        self._waiting: list[Any] = []
        self._status = "KILLED"

    def figure(self, name: str, value: float, step: int, clock: float) -> None:
        """A figure of one step, measured at a time in seconds since 1970."""
        metric = _MLFLOW("mlflow.entities").Metric
        self._waiting.append(metric(name, value, int(1000 * clock), step))

    def flush(self) -> None:
        """Write the figures so far."""
        while self._waiting:
            self._client.log_batch(self._run, metrics=self._waiting[:1000])
            del self._waiting[:1000]

    def conclude(self, end: Conclusion) -> None:
        """Write what a run has at its end: pictures, the summary, options and the headline."""
        option = _MLFLOW("mlflow.entities").Param
        options = [option(key, str(value)[:_LONGEST]) for key, value in end.options.items()]
        self._client.log_batch(self._run, params=options)
        for name, value in end.headline.items():
            self.figure(name, value, end.step, time.time())
        self._client.set_tag(self._run, "mlflow.note.content", end.summary)
        for picture in end.pictures:
            self._client.log_artifact(self._run, str(picture))
        self._status = "FINISHED"

    def close(self) -> None:
        """End the run, whole or not."""
        self.flush()
        self._client.set_terminated(self._run, self._status)


_SERVER = "MLFLOW_TRACKING_URI"


def _client(top: Path) -> Any:
    """The client of the server that the environment names, else of a database in ``top``."""
    top.mkdir(parents=True, exist_ok=True)
    return _MLFLOW("mlflow").MlflowClient(
        os.environ.get(_SERVER, f"sqlite:///{(top / 'mlflow.db').resolve()}")
    )


def _runs(client: Any, experiment: str, name: str) -> list[Any]:
    quoted = name.replace("'", "")
    return list(client.search_runs([experiment], filter_string=f"tags.`{_NAME}` = '{quoted}'"))
