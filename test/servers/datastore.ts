import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { announced, end, findBinary, freePort } from './process.ts'
import type { ServerKind } from './server.ts'

const jar = '/usr/lib/google-cloud-sdk/platform/cloud-datastore-emulator/CloudDatastore.jar'

/** Google's own emulator of Firestore in Datastore mode, which comes with its command line tools and by no package registry. */
export const datastore: ServerKind = {
  name: 'Datastore emulator',
  variable: 'OUTRIDER_TEST_GCP_DATASTORE',
  form: 'host:port',
  wants: "google-cloud-cli-datastore-emulator of Google's own package archive, with Java",
  unlisted: true,
  available: () => existsSync(jar) && findBinary('java', []) !== undefined,
  async start() {
    const directory = mkdtempSync(join(tmpdir(), 'outrider-datastore-'))
    const port = await freePort()
    const java = [
      '-Xmx192m',
      '-XX:TieredStopAtLevel=1',
      '-XX:+UseSerialGC',
      '-cp',
      jar,
      'com.google.cloud.datastore.emulator.CloudDatastore',
    ]
    const flags = ['--host=127.0.0.1', `--port=${port}`, '--store_on_disk=False', '--firestore_in_datastore_mode']
    const child = spawn(findBinary('java', []) as string, [...java, 'start', ...flags, directory], {
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    await announced(child, /Dev App Server is now running/, 'datastore', directory)
    return { address: `127.0.0.1:${port}`, stop: () => end(child, 'SIGTERM', directory) }
  },
}
