#!/bin/sh
# Clients, servers and messages from the protos of Dapr's own Go module, in the version that ../go/go.mod names, into build/.
set -eu
module=github.com/dapr/dapr
(cd ../go && go mod download "$module")
protos=$(cd ../go && go list -m -f '{{.Dir}}' "$module")
rm -rf build && mkdir build
.venv/bin/python -m grpc_tools.protoc -I "$protos" --python_out=build --grpc_python_out=build \
  "$protos"/dapr/proto/common/v1/*.proto "$protos"/dapr/proto/runtime/v1/*.proto
