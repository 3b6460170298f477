import { crc32 } from 'node:zlib'
import { textOf } from '../event.ts'
import type { FilterSpec } from '../spec.ts'
import type { Filter } from './filter.ts'

/** Leaves out a share of the events. */
export function sample({ percent, by }: NonNullable<FilterSpec['sample']>): Filter {
  const share = percent / 100
  return ({ record }) => {
    const key = by === undefined ? undefined : textOf(record, by)
    // Without the field chance decides.
    const place = key === undefined ? Math.random() : crc32(key) / 2 ** 32
    return place < share ? 'keep' : 'leave'
  }
}
