import { spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

/** Mosquitto: MQTT 3.1.1 and 5, sessions kept in memory only. */
export const mosquitto: ServerKind = {
  name: 'Mosquitto',
  variable: 'OUTRIDER_TEST_MQTT',
  form: 'mqtt://host:port',
  wants: 'mosquitto',
  shared: true,
  available: () => findBinary('mosquitto', ['/usr/sbin']) !== undefined,
  async start() {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-mosquitto-'))
    const port = await freePort()
    const file = join(directory, 'mosquitto.conf')
    writeFileSync(file, `listener ${port} 127.0.0.1\nallow_anonymous true\nlog_dest stderr\nmax_queued_messages 0\n`)
    const child = spawn(findBinary('mosquitto', ['/usr/sbin']) as string, ['-c', file], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    await announced(child, /mosquitto version \S+ running/, 'mosquitto', directory)
    return { address: `mqtt://127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}
