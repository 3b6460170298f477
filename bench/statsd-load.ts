/**
 * node bench/statsd-load.ts PORT PACKETS_A_SECOND SECONDS: sends one StatsD packet after the other by libc's own send (Node's costs more than
 * what is measured), in steps of a millisecond. Prints how many the system took and in how many seconds.
 */
const [port = 0, rate = 0, seconds = 0] = process.argv.slice(2).map(Number)
const ffi = process.getBuiltinModule('node:ffi') as typeof import('node:ffi')
const { functions } = ffi.dlopen(null, {
  socket: { arguments: ['int32', 'int32', 'int32'], return: 'int32' },
  connect: { arguments: ['int32', 'buffer', 'uint32'], return: 'int32' },
  send: { arguments: ['int32', 'buffer', 'uint64', 'int32'], return: 'int64' },
})
const fd = functions.socket(2, 2, 0)
const address = Buffer.alloc(16)
address.writeUInt16LE(2, 0)
address.writeUInt16BE(port, 2)
address.set([127, 0, 0, 1], 4)
if (functions.connect(fd, address, 16) !== 0) throw new Error('no socket')

// What an app sends: few names, tags, values that differ.
const packets = Array.from({ length: 512 }, (_, at) => {
  const kinds = [
    `shop.orders:${at % 9}|c|#kind:k${at % 20}`,
    `shop.depth:${at}|g`,
    `shop.latency:${at / 7}|ms|#route:r${at % 50},method:get`,
  ]
  return Buffer.from(kinds[at % 3] as string)
})
let sent = 0
const began = performance.now()
for (;;) {
  const elapsed = (performance.now() - began) / 1000
  if (elapsed >= seconds) break
  const due = Math.min(rate * elapsed, sent + rate / 100)
  while (sent < due) {
    const packet = packets[sent & 511] as Buffer
    if (functions.send(fd, packet, BigInt(packet.length), 0) < 0n) break
    sent++
  }
  // Gives the core away until the next millisecond.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1)
}
console.log(JSON.stringify({ sent, seconds: (performance.now() - began) / 1000 }))
