"""decode_otlp.py logs|metrics protobuf|json < BASE64: an export request as OpenTelemetry's own messages read it, as JSON."""

import base64
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

request = {"logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest}[sys.argv[1]]()
body = base64.b64decode(sys.stdin.read())
if sys.argv[2] == "json":
    # An unknown field is an error.
    json_format.Parse(body.decode(), request)
else:
    request.ParseFromString(body)
    request.DiscardUnknownFields()
    assert request.SerializeToString(deterministic=True) and len(request.SerializeToString()) == len(body), "something in it has no name"
print(json_format.MessageToJson(request))
