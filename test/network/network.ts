import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync } from 'node:fs'
import { join } from 'node:path'

export interface Link {
  /** Milliseconds one way. */
  delay: number
  /** Of a hundred frames, each way. */
  loss: number
}

/** Hosts, each a network namespace, on one switch, which is a namespace too: nothing of this machine's own network is touched. */
export interface Network extends AsyncDisposable {
  /** The address of a host. */
  address(host: string): string
  /** Starts a program on a host. */
  spawn(host: string, command: string, args: readonly string[], options?: { cwd?: string; env?: NodeJS.ProcessEnv }): ChildProcess
  /** Pulls the host's cable: packets vanish, connections stand. */
  cut(host: string): void
  restore(host: string): void
  /** Frames that the host's cable has lost. */
  lost(host: string): number
}

/** Why there can be no network here; undefined: there can. Throws where one has been promised. */
export function lacksNetwork(): string | undefined {
  if (process.platform !== 'linux') return 'network namespaces need Linux'
  if (process.getuid?.() !== 0) return 'network namespaces need root'
  const missing = ['ip', 'python3'].filter((program) => {
    try {
      execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' })
      return false
    } catch {
      return true
    }
  })
  try {
    accessSync('/dev/net/tun')
  } catch {
    missing.push('/dev/net/tun')
  }
  if (missing.length > 0 && process.env.OUTRIDER_REQUIRE_SERVERS === '1')
    throw new Error(`OUTRIDER_REQUIRE_SERVERS=1 but ${missing.join(', ')} is not on this machine: install iproute2 and python3`)
  if (missing.length > 0) return `${missing.join(', ')} is not on this machine`
  try {
    ip('netns', 'add', `probe${process.pid}`)
    ip('netns', 'del', `probe${process.pid}`)
    return undefined
  } catch {
    return 'this root may not make network namespaces'
  }
}

/** @param links Hosts by name, and how their cable is. Rejects when the system refuses. */
export async function startNetwork(links: Readonly<Record<string, Link>>): Promise<Network> {
  const mark = `o${process.pid}`
  const hosts = Object.keys(links)
  const namespace = (host: string) => `${mark}-${host}`
  const address = (host: string) => `10.213.0.${hosts.indexOf(host) + 1}`
  const plug = (host: string) => `p${hosts.indexOf(host)}`
  const hub = namespace('switch')
  const children = new Set<ChildProcess>()
  const made: string[] = []
  const lost = new Map<string, number>()
  const network: Network = {
    lost: (host) => lost.get(host) ?? 0,
    address,
    spawn(host, command, args, options = {}) {
      const child = spawn('ip', ['netns', 'exec', namespace(host), command, ...args], { stdio: ['ignore', 'pipe', 'pipe'], ...options })
      children.add(child)
      child.once('exit', () => children.delete(child))
      return child
    },
    cut: (host) => ip('-n', hub, 'link', 'set', plug(host), 'down'),
    restore: (host) => ip('-n', hub, 'link', 'set', plug(host), 'up'),
    async [Symbol.asyncDispose]() {
      const left = [...children]
      for (const child of left) child.kill('SIGKILL')
      await Promise.all(left.map((child) => child.exitCode ?? child.signalCode ?? once(child, 'exit')))
      for (const name of made) ip('netns', 'del', name)
    },
  }
  try {
    for (const name of [hub, ...hosts.map(namespace)]) {
      ip('netns', 'add', name)
      made.push(name)
      ip('-n', name, 'link', 'set', 'lo', 'up')
    }
    ip('-n', hub, 'link', 'add', 'hub', 'type', 'bridge')
    ip('-n', hub, 'link', 'set', 'hub', 'up')
    for (const host of hosts) {
      const { delay, loss } = links[host] as Link
      const [near, far] = [`${mark}n${plug(host)}`, `${mark}f${plug(host)}`]
      if (delay > 0 || loss > 0) {
        const cable = spawn('python3', [join(import.meta.dirname, 'cable.py'), near, far, String(delay), String(loss)], {
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        children.add(cable)
        await once(cable.stdout, 'data')
        cable.stdout.on('data', (lines: Buffer) => lost.set(host, network.lost(host) + lines.toString().split('\n').length - 1))
      } else ip('link', 'add', near, 'type', 'veth', 'peer', 'name', far)
      ip('link', 'set', near, 'netns', hub, 'name', plug(host))
      ip('link', 'set', far, 'netns', namespace(host), 'name', 'eth0')
      ip('-n', hub, 'link', 'set', plug(host), 'master', 'hub', 'up')
      ip('-n', namespace(host), 'addr', 'add', `${address(host)}/24`, 'dev', 'eth0')
      ip('-n', namespace(host), 'link', 'set', 'eth0', 'up')
    }
    return network
  } catch (error) {
    await network[Symbol.asyncDispose]()
    throw error
  }
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] })
}
