import { spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

/** Mosquitto: MQTT 3.1.1 and 5, sessions kept in memory only. */
export const mosquitto: ServerKind = {
  name: 'Mosquitto',
  variable: 'OUTRIDER_TEST_MQTT',
  form: 'mqtt://host:port',
  wants: 'mosquitto',
  shared: true,
  available: () => findBinary('mosquitto', ['/usr/sbin']) !== undefined,
  start: () => startMosquitto(),
}

/** A Mosquitto that belongs to a test alone. */
export interface OwnMosquitto extends RunningServer {
  /** Its working directory, where files of its settings are found. */
  directory: string
  /** It reads its files again. */
  reload(): void
}

/** With other lines of its configuration than those that let everybody in. */
export async function startMosquitto(
  settings = 'allow_anonymous true\nmax_queued_messages 0\n',
  prepare = (_directory: string) => {},
): Promise<OwnMosquitto> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-mosquitto-'))
  // It gives up being root.
  chmodSync(directory, 0o755)
  prepare(directory)
  const port = await freePort()
  const file = join(directory, 'mosquitto.conf')
  writeFileSync(file, `listener ${port} 127.0.0.1\nlog_dest stderr\n${settings}`)
  const child = spawn(findBinary('mosquitto', ['/usr/sbin']) as string, ['-c', file], {
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await announced(child, /mosquitto version \S+ running/, 'mosquitto', directory)
  return {
    address: `mqtt://127.0.0.1:${port}`,
    directory,
    reload: () => void child.kill('SIGHUP'),
    stop: () => end(child, 'SIGTERM', directory),
  }
}
