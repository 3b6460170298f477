import { execFile, execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { announced, end, findBinary, freePort } from './process.ts'
import type { RunningServer, ServerKind } from './server.ts'

// Not the wrapper of Debian's /usr/sbin: that one changes to the user rabbitmq and its folders.
const FOLDERS = ['/usr/lib/rabbitmq/bin', '/opt/homebrew/sbin']

export const rabbitmq: ServerKind = {
  name: 'RabbitMQ',
  variable: 'OUTRIDER_TEST_RABBITMQ',
  form: 'amqp://user:password@host:port',
  wants: 'rabbitmq-server',
  shared: true,
  available: () => findBinary('rabbitmq-server', FOLDERS) !== undefined,
  start: () => startRabbitmq(),
}

/** A RabbitMQ that belongs to a test alone. */
export interface OwnRabbitmq extends RunningServer {
  /** rabbitmqctl with these arguments; takes a second or two. */
  control(...args: string[]): Promise<void>
}

export async function startRabbitmq(): Promise<OwnRabbitmq> {
  const directory = mkdtempSync(join(tmpdir(), 'outrider-rabbitmq-'))
  const [port, distribution, epmd] = [await freePort(), await freePort(), await freePort()]
  // Beside its own protocol it speaks AMQP 1.0 on the same port.
  writeFileSync(join(directory, 'plugins'), '[rabbitmq_amqp1_0].\n')
  const environment = {
    PATH: process.env.PATH,
    HOME: directory,
    LC_ALL: 'C.UTF-8',
    RABBITMQ_NODENAME: `test${port}@localhost`,
    RABBITMQ_MNESIA_BASE: join(directory, 'data'),
    RABBITMQ_LOG_BASE: join(directory, 'log'),
    RABBITMQ_LOGS: '-',
    RABBITMQ_NODE_IP_ADDRESS: '127.0.0.1',
    RABBITMQ_NODE_PORT: String(port),
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, 'plugins'),
    ERL_EPMD_PORT: String(epmd),
    ERL_EPMD_ADDRESS: '127.0.0.1',
  }
  const child = spawn(findBinary('rabbitmq-server', FOLDERS) as string, [], {
    env: environment,
    cwd: directory,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  await announced(child, /Server startup complete/, 'rabbitmq-server', directory)
  return {
    address: `amqp://guest:guest@127.0.0.1:${port}`,
    async control(...args) {
      await promisify(execFile)(findBinary('rabbitmqctl', FOLDERS) as string, args, { env: environment, cwd: directory })
    },
    async stop() {
      await end(child, 'SIGTERM', directory)
      // Erlang's port mapper was started beside the server and stays.
      try {
        execFileSync('epmd', ['-port', String(epmd), '-kill'], { stdio: 'ignore', env: environment })
      } catch {}
    },
  }
}
