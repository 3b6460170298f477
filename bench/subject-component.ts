import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Subject } from './certify-subjects.ts'

/** Writes the one component of a sidecar under measurement, called `target`, into a folder; resolves with the folder. */
export function writeSubject(folder: string, subject: Subject, address: string, more: Readonly<Record<string, string>> = {}): string {
  mkdirSync(folder, { recursive: true })
  const metadata = Object.entries({ ...subject.properties(address), ...more }).map(([name, value]) => ({ name, value }))
  const spec = { type: subject.driver, version: 'v1', metadata }
  writeFileSync(
    join(folder, 'target.yaml'),
    JSON.stringify({ apiVersion: 'dapr.io/v1alpha1', kind: 'Component', metadata: { name: 'target' }, spec }),
  )
  return folder
}
