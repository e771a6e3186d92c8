"""Exports metrics of every kind with OpenTelemetry's SDK: otlp_sdk.py URL TOKEN. Fails when an export is refused."""

import sys

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import (
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource

url, token = sys.argv[1:]
results = []


class Exporter(OTLPMetricExporter):
    def export(self, *arguments, **named):
        result = super().export(*arguments, **named)
        results.append(result)
        return result


exporter = Exporter(url, headers={"authorization": f"Bearer {token}"}, compression=Compression.Gzip, timeout=10)
provider = MeterProvider(
    # Exported when we say so, and not once more at the end.
    shutdown_on_exit=False,
    metric_readers=[PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)],
    resource=Resource.create(
        {
            "service.name": "till",
            "service.namespace": "shop",
            "service.instance.id": "till-1",
            "deployment.environment": "prod",
        }
    ),
    views=[
        View(
            instrument_name="request.duration",
            aggregation=ExplicitBucketHistogramAggregation([0.25, 0.5, 0.75]),
        ),
        View(instrument_name="payment.wait", aggregation=ExponentialBucketHistogramAggregation()),
    ],
)
meter = provider.get_meter("till", "1.0")
calls = meter.create_counter("calls", description="Calls that were taken.")
payments = meter.create_up_down_counter("open.payments")
meter.create_observable_gauge("queue.size", [lambda options: [Observation(4096)]], unit="By")
meter.create_observable_gauge("temperature", [lambda options: [Observation(11.5, {"room": "cellar"})]], unit="Cel")
duration = meter.create_histogram("request.duration", unit="s")
wait = meter.create_histogram("payment.wait", unit="s")

for i in range(1, 101):
    calls.add(1, {"http.method": "GET" if i % 2 else "POST"})
    duration.record(i / 100)
    wait.record(i / 100)
    if i == 50:
        payments.add(5)
        provider.force_flush()
payments.add(-2)
provider.force_flush()
if len(results) != 2 or any(result != MetricExportResult.SUCCESS for result in results):
    sys.exit(f"exports went: {results}")
