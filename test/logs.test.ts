import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, mkdtempSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

// The real program, killed again and again while files rotate under it and its output goes away.
const outrider = join(dirname(fileURLToPath(import.meta.url)), '..', 'bin', 'outrider')
const LINES = 40_000
const KILLS = 4
const ROTATIONS = 12

/** The bulk API as far as ids matter: a create of an id that is there is a conflict. */
class Sink {
  readonly ids = new Map<string, number>()
  readonly times = new Map<number, number>()
  conflicts = 0
  /** Refuses everything while it is set. */
  down = false
  readonly server: Server

  constructor() {
    this.server = createServer(async (request, response) => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      if (this.down) return void response.writeHead(503).end()
      const lines = Buffer.concat(chunks).toString().trim().split('\n')
      const items = []
      for (let at = 0; at + 1 < lines.length; at += 2) {
        const id = (JSON.parse(lines[at] as string) as { create: { _id: string } }).create._id
        const number = (JSON.parse(lines[at + 1] as string) as { n: number }).n
        const known = this.ids.has(id)
        if (known) this.conflicts++
        else {
          this.ids.set(id, number)
          this.times.set(number, (this.times.get(number) ?? 0) + 1)
        }
        items.push({ create: { status: known ? 409 : 201 } })
      }
      response.end(JSON.stringify({ errors: false, items }))
    })
  }
}

test('kill -9, rotation under load and an output that is away: nothing is lost', { timeout: 60_000 }, async (t) => {
  const home = mkdtempSync(join(tmpdir(), 'outrider-logs-'))
  const sink = new Sink()
  await new Promise<void>((resolve) => sink.server.listen(0, '127.0.0.1', resolve))
  const logs = join(home, 'logs')
  const resources = join(home, 'resources')
  mkdirSync(logs)
  mkdirSync(resources)
  writeFileSync(
    join(resources, 'pipeline.yaml'),
    `apiVersion: outrider.dev/v1
kind: LogPipeline
metadata: { name: shop }
spec:
  sources:
    - name: files
      tag: app
      tail: { paths: ["${join(logs, 'app.log')}"], format: json, poll: 20ms }
  buffer: { maxBytes: 4Mi, segmentBytes: 512Ki }
  outputs:
    - name: search
      elasticsearch: { urls: ["http://127.0.0.1:${(sink.server.address() as AddressInfo).port}"] }
      batch: { flushInterval: 20ms, maxEvents: 1000 }
      retry: { initial: 20ms, max: 100ms }
`,
  )
  let child: ChildProcess | undefined
  const start = () => {
    child = spawn(outrider, ['agent', '-f', resources, '--outrider-data-dir', join(home, 'data'), '--port', '0'], {
      cwd: home,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    child.stdout?.resume()
    child.stderr?.pipe(process.stderr)
  }
  const kill = async () => {
    const gone = new Promise((resolve) => child?.once('exit', resolve))
    child?.kill('SIGKILL')
    await gone
  }
  t.after(async () => {
    await kill()
    sink.server.closeAllConnections()
    sink.server.close()
    rmSync(home, { recursive: true, force: true })
  })

  const reaches = async (count: number) => {
    const end = performance.now() + 40_000
    while (sink.times.size < count && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 10))
    return sink.times.size
  }
  const path = join(logs, 'app.log')
  writeFileSync(path, `${JSON.stringify({ n: 0 })}\n`)
  start()
  // What is rotated away before anybody has ever looked is nobody's.
  await reaches(1)
  // The writer: lines at full speed, a rotation now and then. It waits for nobody.
  let number = 1
  for (let rotation = 0; rotation < ROTATIONS; rotation++) {
    const file = openSync(path, 'a')
    for (let each = 0; each < LINES / ROTATIONS; each++) {
      if (number >= LINES) break
      writeSync(file, `${JSON.stringify({ n: number, pad: 'x'.repeat(150) })}\n`)
      number++
      if (number % 500 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
    }
    if (rotation % 3 === 2 && rotation / 3 < KILLS) {
      sink.down = false
      await reaches(number / 4)
      await kill()
      renameSync(path, `${path}.${rotation}`)
      // Its writer has it open still.
      writeSync(file, `${JSON.stringify({ n: number++ })}\n`)
      start()
    } else if (rotation < ROTATIONS - 1) renameSync(path, `${path}.${rotation}`)
    closeSync(file)
    sink.down = rotation % 4 === 1
  }
  sink.down = false
  const came = await reaches(number)
  const lost = Array.from({ length: number }, (_, n) => n).filter((n) => !sink.times.has(n))
  const twice = [...sink.times.values()].filter((times) => times > 1).length
  t.diagnostic(
    `${number} lines, ${KILLS} kills, ${ROTATIONS} rotations: lost ${lost.length}, twice ${twice}, sent again and recognised ${sink.conflicts}`,
  )
  assert.equal(came, number, `lost ${lost.length}: ${lost.slice(0, 20).join(', ')}`)
  assert.equal(twice, 0)
})
