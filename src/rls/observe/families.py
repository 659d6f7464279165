"""Metric families as text, in the two forms that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import exposition
from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.utils import floatToGoString

from rls.histograms import Histogram
from rls.printable import printable

Number = int | float
Reading = Number | Mapping[str, Number] | Mapping[tuple[str, ...], Number]
"""A number, or numbers by the values of a label, or of several."""
END = b"# EOF\n"
"""The last line of a page in OpenMetrics."""


class Form(NamedTuple):
    """A form of the page.

    Attributes:
        content_type: Of the page.
        is_openmetrics: Whether it is OpenMetrics: then the page ends with `END`.
    """

    content_type: str
    is_openmetrics: bool


TEXT = Form("text/plain; version=0.0.4; charset=utf-8", is_openmetrics=False)
OPENMETRICS = Form("application/openmetrics-text; version=1.0.0; charset=utf-8", is_openmetrics=True)


def form_for(accept: str) -> Form:
    """The form that a scraper with this `Accept` header likes best; text where it does not say."""
    best, form = 0.0, TEXT
    for one in accept.split(","):
        media_type, *parameters = (part.strip() for part in one.lower().split(";"))
        found = {"text/plain": TEXT, "application/openmetrics-text": OPENMETRICS}.get(media_type)
        quality = _quality(parameters)
        if found is not None and quality > best:
            best, form = quality, found
    return form


def _quality(parameters: Sequence[str]) -> float:
    """The weight among *parameters* of a media type (RFC 9110, section 12.4.2): 1 without one, 0 for nonsense."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


class _One:
    """What prometheus_client takes for a registry, with one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def as_text(family: Metric, form: Form) -> bytes:
    """*family* in *form*."""
    if form.is_openmetrics:
        text: bytes = openmetrics.generate_latest(_One(family))  # type: ignore[no-untyped-call]
        return text.removesuffix(END)
    return exposition.generate_latest(_One(family))


def counter(name: str, documentation: str, value: Reading, *labels: str) -> Metric:
    """A counter of *value*."""
    return _filled(CounterMetricFamily(name, documentation, labels=labels), value)


def gauge(name: str, documentation: str, value: Reading, *labels: str) -> Metric:
    """A gauge of *value*."""
    return _filled(GaugeMetricFamily(name, documentation, labels=labels), value)


def histogram(
    name: str, documentation: str, parts: Sequence[Histogram], exemplars: Sequence[Exemplar | None] = ()
) -> Metric:
    """The sum of *parts*, which have equal bounds, as one histogram; *exemplars* has one for each of its buckets, or none."""
    family = HistogramMetricFamily(name, documentation)
    counts = [sum(some) for some in zip(*(part.counts for part in parts), strict=True)]
    _add_buckets(family, (), parts[0].bounds, counts, sum(part.sum for part in parts), exemplars)
    return family


def histograms(name: str, documentation: str, found: Mapping[str, Histogram], label: str) -> Metric:
    """Histograms by the value of *label*."""
    family = HistogramMetricFamily(name, documentation, labels=[label])
    for value, one in found.items():
        _add_buckets(family, (printable(value),), one.bounds, one.counts, one.sum, ())
    return family


def _add_buckets(
    family: HistogramMetricFamily,
    labels: Sequence[str],
    bounds: Sequence[float],
    counts: Sequence[int],
    total: float,
    exemplars: Sequence[Exemplar | None],
) -> None:
    texts = [*map(floatToGoString, bounds), "+Inf"]
    found = exemplars or [None] * len(texts)
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
        (text, count) if exemplar is None else (text, count, exemplar)
        for text, count, exemplar in zip(texts, accumulate(counts), found, strict=True)
    ]
    family.add_metric(labels, buckets, total)


def _filled(family: CounterMetricFamily | GaugeMetricFamily, value: Reading) -> Metric:
    if isinstance(value, Mapping):
        for key, number in value.items():
            values = (key,) if isinstance(key, str) else key
            family.add_metric([printable(value) for value in values], number)
    else:
        family.add_metric([], value)
    return family
