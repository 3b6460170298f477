"""forward_client.py PORT: what the client of PyPI sends by Fluentd's forward protocol, at once and from its thread."""

import sys

from fluent import asyncsender, sender

port = int(sys.argv[1])
plain = sender.FluentSender("python", host="127.0.0.1", port=port, nanosecond_precision=True)
for number in range(20):
    assert plain.emit("plain", {"n": number, "big": 2**40, "part": 1.5}), plain.last_error
plain.close()
thread = asyncsender.FluentSender("python", host="127.0.0.1", port=port)
for number in range(20):
    assert thread.emit("thread", {"n": number})
thread.close()
