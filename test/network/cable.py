"""A cable between two network interfaces that delays and loses frames: tc netem for kernels that have none.

cable.py NAME NAME DELAY_MS LOSS_PERCENT: makes the two interfaces, says "ready", and carries frames until it is ended,
saying "lost" for each that it loses.
The one who runs it moves the interfaces to where they belong.
"""

import fcntl
import heapq
import os
import random
import select
import struct
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
LIMIT = 10_000


def tap(name: str) -> int:
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return end


ends = [tap(sys.argv[1]), tap(sys.argv[2])]
delay, loss = float(sys.argv[3]) / 1000, float(sys.argv[4]) / 100
chance = random.Random(1)
under_way: list[tuple[float, int, int, bytes]] = []
count = 0
print("ready", flush=True)
while True:
    wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
    readable, _, _ = select.select(ends, [], [], wait)
    for end in readable:
        try:
            frame = os.read(end, 65536)
        except OSError:
            continue
        if chance.random() < loss or len(under_way) >= LIMIT:
            print("lost", flush=True)
            continue
        count += 1
        heapq.heappush(under_way, (time.monotonic() + delay, count, ends[1] if end == ends[0] else ends[0], frame))
    while under_way and under_way[0][0] <= time.monotonic():
        _, _, end, frame = heapq.heappop(under_way)
        try:
            os.write(end, frame)
        except OSError:
            pass
