"""ofrep_flags.py BASE_URL: what OpenFeature's SDK and OFREP provider of PyPI make of flags, as JSON."""

import json
import sys

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext

api.set_provider(OFREPProvider(sys.argv[1]))
client = api.get_client()
pro = EvaluationContext("ann", {"plan": "pro"})
print(
    json.dumps(
        {
            "checkout": client.get_boolean_value("new-checkout", False),
            "banner": client.get_string_value("banner", "none", pro),
            "limit": client.get_integer_value("limit", 1, pro),
            "missing": client.get_boolean_value("missing", True, pro),
        }
    )
)
