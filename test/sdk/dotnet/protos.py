"""Every message of Dapr's runtime and common protos in one namespace, as in C#."""

# ruff: noqa: F403
from dapr.proto.common.v1.common_pb2 import *
from dapr.proto.runtime.v1.ai_pb2 import *
from dapr.proto.runtime.v1.appcallback_pb2 import *
from dapr.proto.runtime.v1.binding_pb2 import *
from dapr.proto.runtime.v1.configuration_pb2 import *
from dapr.proto.runtime.v1.crypto_pb2 import *
from dapr.proto.runtime.v1.dapr_pb2 import *
from dapr.proto.runtime.v1.invoke_pb2 import *
from dapr.proto.runtime.v1.lock_pb2 import *
from dapr.proto.runtime.v1.metadata_pb2 import *
from dapr.proto.runtime.v1.pubsub_pb2 import *
from dapr.proto.runtime.v1.secret_pb2 import *
from dapr.proto.runtime.v1.state_pb2 import *
