import { createHash } from 'node:crypto'
import { hostname, userInfo } from 'node:os'
import { messageOf } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'

/** As daprd: an address that cannot be bound is passed over, but one of them must work. */
export async function listenAny(
  what: string,
  flag: string,
  port: number,
  addresses: readonly string[],
  listen: (host: string) => Promise<unknown>,
  log: Logger,
): Promise<void> {
  const failures: string[] = []
  for (const host of addresses) {
    await listen(host).catch((error: unknown) => {
      failures.push(messageOf(error))
      log.debug(`${what} cannot listen on ${host}:${port}: ${messageOf(error)}`)
    })
  }
  if (failures.length === addresses.length)
    throw new Error(`could not listen on any endpoint: ${what}: ${failures.join('; ')}; choose another port with --${flag}`)
}

/** daprd's internal port for an app on this machine: the same at every start, so that callers need not look again. */
export function stablePort(appId: string): number {
  const digest = createHash('sha256').update(`${appId}${process.cwd()}${userInfo().uid}${hostname()}`).digest()
  return (digest.readUInt16LE(0) % (65_535 - 47_300)) + 47_300
}
