"""statsd_clients.py UDP_PORT TCP_PORT UNIX_DATAGRAM UNIX_STREAM: what two clients of PyPI send, unmodified."""

import sys

import statsd
from datadog.dogstatsd import DogStatsd

udp, tcp, datagram, stream = sys.argv[1:5]

dog = DogStatsd(host="127.0.0.1", port=int(udp), namespace="dog", constant_tags=["env:test"], disable_telemetry=True)
dog.increment("orders", 4, tags=["kind:new"])
dog.gauge("depth", 12)
dog.timing("latency", 250)
dog.histogram("size", 10)
dog.distribution("sizes", 11)
dog.set("users", "alice")
dog.event("title", "text")
dog.service_check("db", 0)
dog.flush()

for name, path in (("unix", f"unix://{datagram}"), ("stream", f"unixstream://{stream}")):
    if path.endswith("//-"):
        continue
    # The system keeps few datagrams (net.unix.max_dgram_qlen, often 10), and this client drops what finds no room: it sends many in one.
    client = DogStatsd(socket_path=path, namespace=name, disable_telemetry=True, disable_buffering=False)
    for _ in range(50):
        client.increment("orders")
    client.flush()
    client.close_socket()

plain = statsd.StatsClient("127.0.0.1", int(udp), prefix="plain")
plain.incr("orders", 3)
plain.gauge("depth", 5)
plain.gauge("depth", -2, delta=True)
plain.timing("latency", 320)
with plain.pipeline() as pipe:
    pipe.incr("piped")
    pipe.decr("stock", 2)

line = statsd.TCPStatsClient("127.0.0.1", int(tcp), prefix="line")
line.incr("orders", 6)
line.close()
