"""A channel that speaks gRPC as Grpc.Net.Client does on SocketsHttpHandler, for stubs that protoc made.

HTTP/2: SETTINGS of two entries and a connection window of 64 MiB at once, header blocks of literals that are neither indexed nor
Huffman-coded, one empty DATA frame to end a request, and PINGs of its own that measure the round trip: up to four at the start,
then one every two seconds, each after HEADERS or DATA came.
"""

import base64
import gzip
import queue
import socket
import struct
import threading
import time
import zlib

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingAckReceived,
    ResponseReceived,
    SettingsAcknowledged,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hpack.table import HeaderTable

# Calls that the server still takes go on after its GOAWAY; h2 would forget them.
GOAWAY = (ConnectionState.CLIENT_OPEN, ConnectionInputs.RECV_GOAWAY)
H2ConnectionStateMachine._transitions[GOAWAY] = (None, ConnectionState.CLIENT_OPEN)

USER_AGENT = 'grpc-dotnet/2.80.0 (.NET 10.0.1; CLR 10.0.1; net10.0; linux; x64)'
CONNECTION_WINDOW = 64 * 1024 * 1024
STATIC_NAMES = {entry[0]: index for index, entry in reversed(list(enumerate(HeaderTable.STATIC_TABLE, 1)))}
STATIC = {entry: index for index, entry in enumerate(HeaderTable.STATIC_TABLE, 1)}
OF_A_CALL = (ResponseReceived, DataReceived, TrailersReceived, StreamEnded, StreamReset)
OK, CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE = 0, 1, 4, 14


class RpcException(Exception):
    def __init__(self, code, detail, trailers=None):
        super().__init__(f'Status(StatusCode={code}, Detail={detail})')
        self.code, self.detail, self.trailers = code, detail, trailers or {}


class Encoder:
    """What HPackEncoder of System.Net.Http writes: whole entries of the static table, else literals without indexing."""

    header_table_size = 4096

    def encode(self, headers, huffman=False):
        block = bytearray()
        for name, value in headers:
            name, value = (text.encode() if isinstance(text, str) else bytes(text) for text in (name, value))
            if (name, value) in STATIC:
                block += self.integer(STATIC[name, value], 7, 0x80)
                continue
            index = STATIC_NAMES.get(name, 0)
            block += self.integer(index, 4, 0)
            for text in (value,) if index else (name, value):
                block += self.integer(len(text), 7, 0) + text
        return bytes(block)

    @staticmethod
    def integer(value, bits, flags):
        limit = (1 << bits) - 1
        if value < limit:
            return bytes([flags | value])
        block, value = [flags | limit], value - limit
        while value >= 128:
            block.append(value % 128 | 128)
            value //= 128
        return bytes([*block, value])


def timeout_text(seconds):
    """Milliseconds while they are not whole seconds, rounded up to three figures."""
    milliseconds = int(seconds * 1000)
    if milliseconds <= 0:
        return '1n'
    unit = 10 ** max(0, len(str(milliseconds)) - 3)
    milliseconds = -(-milliseconds // unit) * unit
    return f'{milliseconds // 1000}S' if milliseconds % 1000 == 0 else f'{milliseconds}m'


class Channel:
    """`headers` are those of the HttpClient, which go with every call."""

    def __init__(self, port, headers=()):
        self._authority, self._headers = f'127.0.0.1:{port}', list(headers)
        self._h2 = H2Connection(H2Configuration(client_side=True, header_encoding='utf-8'))
        self._h2.encoder = Encoder()
        self._changed = threading.Condition()
        self._calls = {}
        self._gone, self._closed = None, False
        self.pings, self._ping_counter, self._burst, self._waiting, self._pinged_at = 0, 0, 4, False, 0.0
        self._socket = socket.create_connection(('127.0.0.1', port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._h2.initiate_connection()
        self._h2.clear_outbound_data_buffer()
        settings = struct.pack('>HIHI', 2, 0, 4, 65535)
        self._socket.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + struct.pack('>IBI', len(settings) << 8 | 4, 0, 0) + settings)
        self._h2.increment_flow_control_window(CONNECTION_WINDOW - 65535)
        self._flush()
        threading.Thread(target=self._read, daemon=True).start()

    def unary_unary(self, path, request_serializer, response_deserializer, **_):
        def call(request, timeout=None, metadata=(), gzipped=False):
            opened = Call(self, path, request_serializer, response_deserializer, timeout, metadata, gzipped)
            opened.write(request)
            opened.complete()
            answers = list(opened)
            call.headers, call.trailers = opened.headers, opened.trailers
            return answers[0]

        return call

    def unary_stream(self, path, request_serializer, response_deserializer, **_):
        def call(request, timeout=None, metadata=()):
            opened = Call(self, path, request_serializer, response_deserializer, timeout, metadata)
            opened.write(request)
            opened.complete()
            return opened

        return call

    def stream_stream(self, path, request_serializer, response_deserializer, **_):
        def call(timeout=None, metadata=()):
            return Call(self, path, request_serializer, response_deserializer, timeout, metadata)

        return call

    stream_unary = stream_stream

    def close(self):
        with self._changed:
            self._h2.close_connection()
            self._flush()
        self._socket.close()

    def open(self, call, path, headers):
        pseudo = [(':method', 'POST'), (':scheme', 'http'), (':authority', self._authority), (':path', path)]
        with self._changed:
            if self._gone:
                raise RpcException(UNAVAILABLE, self._gone)
            stream = self._h2.get_next_available_stream_id()
            self._calls[stream] = call
            self._h2.send_headers(stream, [*pseudo, *merged(headers + self._headers), ('content-type', 'application/grpc')])
            self._flush()
            return stream

    def send(self, stream, data, end=False):
        with self._changed:
            while data or end:
                if stream not in self._calls:
                    return
                size = min(self._h2.local_flow_control_window(stream), self._h2.max_outbound_frame_size, len(data))
                if data and size == 0:
                    self._changed.wait()
                    continue
                self._h2.send_data(stream, data[:size], end_stream=end and not data)
                end = end and bool(data)
                data = data[size:]
                self._flush()

    def reset(self, stream):
        with self._changed:
            if self._calls.pop(stream, None) and not self._closed:
                self._h2.reset_stream(stream, ErrorCodes.CANCEL)
                self._flush()

    def consumed(self, stream, size):
        with self._changed:
            if size and not self._closed:
                self._h2.acknowledge_received_data(size, stream)
                self._flush()

    def _flush(self):
        self._socket.sendall(self._h2.data_to_send())

    def _read(self):
        try:
            while data := self._socket.recv(65536):
                with self._changed:
                    for event in self._h2.receive_data(data):
                        self._take(event)
                    self._flush()
                    self._changed.notify_all()
                    if self._gone and not self._calls:
                        self._socket.shutdown(socket.SHUT_RDWR)
            self._lost('the server closed the connection')
        except Exception as error:
            self._lost(repr(error))

    def _take(self, event):
        if isinstance(event, SettingsAcknowledged):
            self._waiting = True
        elif isinstance(event, PingAckReceived):
            if event.ping_data != struct.pack('>q', self._ping_counter):
                raise ValueError('a PING came back with another payload')
            self._waiting = True
        elif isinstance(event, ConnectionTerminated):
            self._gone = f'GOAWAY {event.error_code} {event.additional_data}'
        if isinstance(event, (ResponseReceived, DataReceived, TrailersReceived)):
            self._measure()
        call = self._calls.get(getattr(event, 'stream_id', None))
        if call and isinstance(event, OF_A_CALL):
            call.events.put(event)
            if isinstance(event, (StreamEnded, StreamReset)):
                self._calls.pop(event.stream_id)

    def _measure(self):
        now = time.monotonic()
        if not self._waiting or self._gone or (self._burst == 0 and now - self._pinged_at < 2):
            return
        self._burst = max(0, self._burst - 1)
        self._ping_counter -= 1
        self._h2.ping(struct.pack('>q', self._ping_counter))
        self._waiting, self._pinged_at, self.pings = False, now, self.pings + 1

    def _lost(self, why):
        with self._changed:
            self._gone, self._closed = self._gone or why, True
            for call in self._calls.values():
                call.events.put(None)
            self._calls.clear()
            self._changed.notify_all()


class Call:
    """One call, with a request stream to write and an iterator over the answers; the iterator throws what is not OK."""

    def __init__(self, channel, path, serialize, parse, timeout=None, metadata=(), gzipped=False):
        self._channel, self._serialize, self._parse, self._gzipped = channel, serialize, parse, gzipped
        self.events, self.headers, self.trailers = queue.Queue(), {}, {}
        self._ends = time.monotonic() + timeout if timeout else None
        headers = [('user-agent', USER_AGENT), ('te', 'trailers'), ('grpc-accept-encoding', 'identity,gzip,deflate')]
        headers += [(name.lower(), base64.b64encode(value).decode() if name.endswith('-bin') else value) for name, value in metadata]
        headers += [('grpc-encoding', 'gzip')] if gzipped else []
        headers += [('grpc-timeout', timeout_text(timeout))] if timeout else []
        self._stream = channel.open(self, path, headers)
        self._answers = self._read()

    def write(self, message):
        data = self._serialize(message)
        data = gzip.compress(data, 1) if self._gzipped else data
        self._channel.send(self._stream, struct.pack('>BI', self._gzipped, len(data)) + data)

    def complete(self):
        self._channel.send(self._stream, b'', end=True)

    def cancel(self):
        self._channel.reset(self._stream)
        self.events.put(None)

    def __iter__(self):
        return self._answers

    def __next__(self):
        return next(self._answers)

    def _read(self):
        received = b''
        while True:
            event = self._next()
            if isinstance(event, ResponseReceived):
                self.headers = dict(event.headers)
                self.trailers = self.headers
                if self.headers[':status'] != '200' or not self.headers.get('content-type', '').startswith('application/grpc'):
                    raise RpcException(CANCELLED, f'Bad gRPC response. {self.headers}')
            elif isinstance(event, TrailersReceived):
                self.trailers = dict(event.headers)
            elif isinstance(event, DataReceived):
                self._channel.consumed(self._stream, event.flow_controlled_length)
                received += event.data
                while len(received) >= 5 and len(received) >= 5 + int.from_bytes(received[1:5], 'big'):
                    end = 5 + int.from_bytes(received[1:5], 'big')
                    yield self._parse(self._plain(received[5:end]) if received[0] else received[5:end])
                    received = received[end:]
            elif isinstance(event, StreamEnded):
                code = int(self.trailers['grpc-status'])
                if code != OK:
                    raise RpcException(code, self.trailers.get('grpc-message', ''), self.trailers)
                return
            else:
                raise RpcException(CANCELLED, f'the stream was reset: {event}')

    def _next(self):
        try:
            return self.events.get(timeout=self._ends and max(0, self._ends - time.monotonic()))
        except queue.Empty:
            self._channel.reset(self._stream)
            raise RpcException(DEADLINE_EXCEEDED, '') from None

    def _plain(self, data):
        return gzip.decompress(data) if self.headers['grpc-encoding'] == 'gzip' else zlib.decompress(data)


def merged(headers):
    """A name that comes twice is one header: products of the user agent with a space between, the token once."""
    values = {}
    for name, value in headers:
        if name == 'user-agent' and name in values:
            values[name] += ' ' + value
        else:
            values.setdefault(name, value)
    return list(values.items())
