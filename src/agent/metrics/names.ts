import type { MappingSpec } from '../../resources/metrics-adapter-schema.ts'

/** What a StatsD name becomes. */
export interface Mapped {
  name: string
  labels: Readonly<Record<string, string>>
  buckets: readonly number[] | undefined
}

/** Longer values of labels are cut. */
const LONGEST_VALUE = 1024

/** Finds what a name becomes; undefined: it is dropped. */
export function nameMapper(mappings: readonly MappingSpec[]): (name: string) => Mapped | undefined {
  const rules = mappings.map((spec) => {
    const parts = spec.match.split('*').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    return { spec, pattern: new RegExp(`^${parts.join('([^.]*)')}$`) }
  })
  return (name) => {
    for (const { spec, pattern } of rules) {
      const found = pattern.exec(name)
      if (!found) continue
      if (spec.drop) return undefined
      const fill = (text: string) => text.replace(/\$(\d+)/g, (_, number: string) => found[Number(number)] ?? '')
      const labels = Object.entries(spec.labels ?? {}).map(([label, value]) => [labelName(label), fill(value).slice(0, LONGEST_VALUE)])
      return {
        name: metricName(spec.name === undefined ? name : fill(spec.name)),
        labels: Object.fromEntries(labels),
        buckets: spec.buckets,
      }
    }
    return { name: metricName(name), labels: {}, buckets: undefined }
  }
}

/** As Prometheus allows names of metrics. */
export function metricName(text: string): string {
  const name = text.replaceAll(/[^a-zA-Z0-9_:]/g, '_')
  return /^\d/.test(name) ? `_${name}` : name
}

/** As Prometheus allows names of labels; those it keeps for itself get a word before them. */
export function labelName(text: string): string {
  const name = text.replaceAll(/[^a-zA-Z0-9_]/g, '_')
  if (/^(__|le$|quantile$)/.test(name)) return `tag_${name}`
  return /^\d/.test(name) || name === '' ? `_${name}` : name
}

/** Tags of DogStatsD (`a:b,c`), InfluxDB and Graphite (`a=b`) as labels; a tag without a value is `true`. Of more than 32 the rest goes. */
export function tagLabels(tags: string, between: RegExp = /,/, equals = ':'): Record<string, string> {
  const labels: Record<string, string> = {}
  for (const tag of tags.split(between, 32)) {
    if (tag === '') continue
    const at = tag.indexOf(equals)
    labels[labelName(at < 0 ? tag : tag.slice(0, at))] = at < 0 ? 'true' : tag.slice(at + 1, at + 1 + LONGEST_VALUE)
  }
  return labels
}

export function escapedLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
