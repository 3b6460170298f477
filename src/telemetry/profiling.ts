import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { Session } from 'node:inspector/promises'
import { messageOf } from '../errors.ts'
import { createServer } from '../transport/node-http.ts'

/** Longest CPU profile that may be asked for, seconds. */
const MAX_SECONDS = 300

/**
 * The server of `--enable-profiling`: CPU and heap profiles in V8's own formats, which open in the DevTools of Chromium.
 * `GET /debug/pprof/profile?seconds=30` gives a .cpuprofile, `GET /debug/pprof/heap` a .heapsnapshot, and
 * `GET /debug/pprof/allocs?seconds=30` a .heapprofile of what was allocated meanwhile. One profile at a time; others wait for nothing: 409.
 * `GET /debug/pprof/resources` tells at any time how many timers, sockets and the like keep the process alive, and its memory in bytes.
 */
export function createProfilingServer(): Server {
  let busy = false
  const profile = async (path: string, seconds: number, response: ServerResponse) => {
    const session = new Session()
    session.connect()
    try {
      if (path === '/debug/pprof/heap') {
        download(response, 'heapsnapshot')
        session.on('HeapProfiler.addHeapSnapshotChunk', ({ params }) => response.write(params.chunk))
        await session.post('HeapProfiler.takeHeapSnapshot')
        response.end()
      } else if (path === '/debug/pprof/allocs') {
        await session.post('HeapProfiler.startSampling')
        await pause(seconds, response)
        const { profile } = await session.post('HeapProfiler.stopSampling')
        download(response, 'heapprofile').end(JSON.stringify(profile))
      } else {
        await session.post('Profiler.enable')
        await session.post('Profiler.start')
        await pause(seconds, response)
        const { profile } = await session.post('Profiler.stop')
        download(response, 'cpuprofile').end(JSON.stringify(profile))
      }
    } finally {
      session.disconnect()
    }
  }
  return createServer(async (request: IncomingMessage, response) => {
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
    const seconds = Number(searchParams.get('seconds') ?? 30)
    if (pathname === '/' || pathname === '/debug/pprof/' || pathname === '/debug/pprof') return void response.end(INDEX)
    if (pathname === '/debug/pprof/resources') return void response.setHeader('content-type', 'application/json').end(resources())
    if (!PATHS.has(pathname)) return void response.writeHead(404).end(INDEX)
    if (!(seconds > 0 && seconds <= MAX_SECONDS))
      return void response.writeHead(400).end(`seconds is a number above 0, at most ${MAX_SECONDS}\n`)
    if (busy) return void response.writeHead(409).end('another profile is being taken; ask again when it is over\n')
    busy = true
    try {
      await profile(pathname, seconds, response)
    } catch (error) {
      if (!response.headersSent) response.writeHead(500)
      response.end(`${messageOf(error)}\n`)
    } finally {
      busy = false
    }
  })
}

const PATHS = new Set(['/debug/pprof/profile', '/debug/pprof/heap', '/debug/pprof/allocs'])
const INDEX = `CPU:         GET /debug/pprof/profile?seconds=30  (.cpuprofile)
allocations: GET /debug/pprof/allocs?seconds=30   (.heapprofile)
heap:        GET /debug/pprof/heap                (.heapsnapshot)
resources:   GET /debug/pprof/resources           (JSON: timers, sockets, memory)
Open profiles in the DevTools of Chromium.
`

function resources(): string {
  const active: Record<string, number> = {}
  for (const kind of process.getActiveResourcesInfo()) active[kind] = (active[kind] ?? 0) + 1
  return `${JSON.stringify({ active, memory: process.memoryUsage() })}\n`
}

function download(response: ServerResponse, extension: string): ServerResponse {
  return response.writeHead(200, {
    'content-type': 'application/json',
    'content-disposition': `attachment; filename="outriderd-${process.pid}.${extension}"`,
  })
}

/** Waits, or until the client has gone. */
function pause(seconds: number, response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, seconds * 1000)
    function done() {
      clearTimeout(timer)
      response.removeListener('close', done)
      resolve()
    }
    response.once('close', done)
  })
}
