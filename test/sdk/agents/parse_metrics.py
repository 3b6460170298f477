"""parse_metrics.py URL: reads the page with the parsers of prometheus_client, and prints every sample as JSON."""

import json
import sys
import urllib.request

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain


def page(accept):
    request = urllib.request.Request(sys.argv[1], headers={"accept": accept})
    with urllib.request.urlopen(request) as reply:
        return reply.read().decode(), reply.headers["content-type"]


samples = {}
text, kind = page("text/plain;version=0.0.4")
assert kind.startswith("text/plain; version=0.0.4"), kind
for family in plain(text):
    for sample in family.samples:
        labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
        samples[f"{sample.name}{{{labels}}}"] = sample.value
text, kind = page("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
assert kind.startswith("application/openmetrics-text"), kind
assert len(list(openmetrics(text))) > 0
json.dump(samples, sys.stdout)
