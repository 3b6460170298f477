import type { Middleware } from '../../../blocks/middleware/driver.ts'
import type { DriverModule } from '../../component.ts'
import { type MetadataField, parseMetadata } from '../../metadata.ts'
import { parsePattern } from '../pattern.ts'
import { step } from '../step.ts'

const metadata: readonly MetadataField[] = [
  { name: 'rule', kind: 'string', description: 'Regular expression that the path with its query must match. Default: all match.' },
]

export const driver: DriverModule<Middleware> = {
  summary: 'Refuses requests whose path and query do not match a rule, with status 400.',
  metadata,
  create(context) {
    const { rule } = parseMetadata(metadata, context.properties)
    const pattern = parsePattern('rule', String(rule ?? ''))
    return step((passing) =>
      pattern.test(passing.query ? `${passing.path}?${passing.query}` : passing.path) ? undefined : { status: 400, body: 'invalid router' },
    )
  },
}
