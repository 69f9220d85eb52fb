"""What Prometheus may know: how much, how fast, how often refused. Never which image or whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import InfoMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from zoo.edge.serve._models import Model

__all__ = ["CONTENT_TYPE_LATEST", "Metrics"]

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)  # seconds


class Metrics:
    """The series of one server, in a registry of its own.

    Attributes:
        requests: number of requests by route, model and status; routes and models are ours, so callers cannot make
            series.
        seconds: time from a request's head to the end of its answer, of images that got one, by route and model.
        refused: requests and connections turned away, by reason.
        reloads: files read again, by outcome: changed, same, refused.
        in_flight: requests that have a head and no answer yet.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = Counter(
            "zoo_requests",
            "Requests answered, by route, model and status; no model: the request reached none.",
            ("route", "model", "status"),
            registry=self._registry,
        )
        self.seconds = Histogram(
            "zoo_request_seconds",
            "Seconds from a request's head to the end of its answer, of images that got one.",
            ("route", "model"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.refused = Counter(
            "zoo_refused", "Requests and connections turned away, by reason.", ("reason",), registry=self._registry
        )
        self.reloads = Counter(
            "zoo_reloads",
            "Files of models and keys read again, by outcome; refused: what was there stays.",
            ("outcome",),
            registry=self._registry,
        )
        for outcome in ("changed", "same", "refused"):  # so that the first refusal is an increase
            self.reloads.labels(outcome)
        self.in_flight = Gauge("zoo_in_flight", "Requests being read or answered.", registry=self._registry)

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A number that is read when Prometheus asks."""
        Gauge(name, text, registry=self._registry).set_function(value)

    def models(self, served: Callable[[], Iterable[Model]]) -> None:
        """Say as `zoo_model_info` what is served when Prometheus asks."""
        self._registry.register(_Models(served))

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)


class _Models(Collector):
    def __init__(self, served: Callable[[], Iterable[Model]]) -> None:
        self._served = served

    def collect(self) -> Iterator[InfoMetricFamily]:
        """One sample a model."""
        family = InfoMetricFamily("zoo_model", "The models that answer.", labels=("name", "version"))
        for model in self._served():
            facts = {"provider": model.runtime.provider, "task": model.runtime.manifest.task, "signed": model.signed}
            family.add_metric((model.name, model.version), facts)
        yield family
