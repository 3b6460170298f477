import assert from 'node:assert/strict'
import { globSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { parse } from 'yaml'
import { Metrics } from '../src/telemetry/metrics.ts'

/** Every series a sidecar may show: each name with its labels. */
function families(): Map<string, Set<string>> {
  const metrics = new Metrics({
    appId: 'a',
    namespace: 'n',
    http: { increasedCardinality: true, pathMatching: [], excludeVerbs: false },
    rules: [],
  })
  const { components, http, grpcClient, grpcServer, runtime } = metrics
  http.served('GET', '/x', 200, 1, 1, 1)
  http.called('GET', '/x', 200, 1, 1, 1)
  http.probed(200, 1)
  grpcServer.unary('/m', 'OK', 1, 1, 1)
  grpcClient.unary('/m', 'OK', 1, 1, 1)
  for (const kind of ['state', 'secret', 'configuration', 'crypto', 'output_binding'] as const)
    components.operation(kind, 'c', 'get', true, 1)
  components.conversed('c', true, 1)
  components.bindingEvent('c', true, 1)
  components.published('c', 't', true, 1)
  components.bulkPublished('c', 't', true, 1)
  components.delivered('c', 't', 'success', 'success', 1)
  components.bulkDelivered('c', 't', { success: 1, retry: 0, drop: 0 }, 1)
  runtime.componentFailed('state.x', 'c', 'init')
  runtime.rotationFailed('sign')
  runtime.requestSent('b', 'unary')
  runtime.requestReceived('b')
  runtime.responseReceived('b', 200, 'unary', 1)
  const event = { name: 'p', namespace: 'n', target: 't', direction: 'outbound', kind: 'circuitbreaker', status: 'open' }
  metrics.resiliency.of('a').executed(event)
  metrics.resiliency.of('a').activated(event)
  const found = new Map<string, Set<string>>()
  for (const [, name = '', labels = ''] of metrics.text().matchAll(/^([a-z_]+)(?:\{([^}]*)\})? /gm)) {
    found.set(name, new Set([...labels.matchAll(/(\w+)="/g)].map(([, label]) => label as string)))
  }
  return found
}

/** Labels that Prometheus adds when it scrapes. */
const SCRAPED = ['job', 'instance']

function check(expression: string, known: Map<string, Set<string>>): void {
  const names = [...expression.matchAll(/\b(?:dapr|outrider|process_cpu|process_resident)_\w+/g)].map(([name]) => name)
  assert.ok(names.length > 0, expression)
  const labels = new Set(SCRAPED)
  for (const name of names) {
    assert.ok(known.has(name), `no metric ${name}: ${expression}`)
    for (const label of known.get(name) ?? []) labels.add(label)
  }
  const used = [
    ...[...expression.matchAll(/\b(\w+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label]) => label as string),
    ...[...expression.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) => (list as string).split(',').map((label) => label.trim())),
  ]
  for (const label of used) assert.ok(labels.has(label), `no label ${label}: ${expression}`)
}

test('every alert asks for metrics and labels that a sidecar has', () => {
  const known = families()
  const { groups } = parse(readFileSync('deploy/prometheus/alerts.yaml', 'utf8')) as {
    groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[]
  }
  const rules = groups.flatMap((group) => group.rules)
  assert.ok(rules.length > 5)
  for (const { expr } of rules) check(expr, known)
})

test('every panel of the dashboard asks for metrics and labels that a sidecar has', () => {
  const known = families()
  const dashboard = JSON.parse(readFileSync('deploy/grafana/outrider-sidecars.json', 'utf8')) as {
    panels: { title: string; targets: { expr: string; legendFormat: string }[] }[]
  }
  for (const { targets } of dashboard.panels) for (const { expr } of targets) check(expr, known)
  assert.throws(() => check('rate(dapr_no_such_metric[5m])', known), /no metric/)
  assert.throws(() => check('dapr_component_state_count{colour="red"}', known), /no label/)
})

const manifests = (path: string) =>
  readFileSync(new URL(`../deploy/${path}`, import.meta.url), 'utf8')
    .split(/^---$/m)
    .map((text) => parse(text) as { kind: string; metadata: { name: string; namespace?: string }; spec?: Record<string, unknown> })

test('the chart with its own values is the plain manifests; it has the same kinds of resources', () => {
  const values = parse(readFileSync(new URL('../deploy/helm/outrider/values.yaml', import.meta.url), 'utf8')) as Record<string, unknown>
  const chosen = (path: string) =>
    path === '.Release.Namespace'
      ? 'outrider-system'
      : path
          .slice('.Values.'.length)
          .split('.')
          .reduce((at: unknown, name) => (at as Record<string, unknown>)[name], values)
  const templates = globSync('deploy/helm/outrider/templates/*.yaml', { cwd: new URL('..', import.meta.url) })
  const rendered = templates.flatMap((path) =>
    readFileSync(new URL(`../${path}`, import.meta.url), 'utf8')
      .replace(
        /^\{\{- if (not )?(\.[\w.]+) \}\}\n([\s\S]*)^\{\{- end \}\}\n/gm,
        (_, not: string | undefined, name: string, inner: string) => (Boolean(chosen(name)) === (not === undefined) ? inner : ''),
      )
      .replace(/\{\{ (\.[\w.]+) \| quote \}\}/g, (_, name: string) => JSON.stringify(String(chosen(name))))
      .replace(/\{\{ (\.[\w.]+) \}\}/g, (_, name: string) => String(chosen(name)))
      .split(/^---$/m)
      .flatMap((text) => (parse(text) as { kind: string; metadata: { name: string; namespace?: string } } | null) ?? []),
  )
  const key = ({ kind, metadata }: { kind: string; metadata: { name: string; namespace?: string } }) =>
    `${kind} ${metadata.namespace ?? ''}/${metadata.name}`
  const sorted = <T extends Parameters<typeof key>[0]>(list: T[]) => list.toSorted((a, b) => key(a).localeCompare(key(b)))
  const plain = manifests('kubernetes/outrider.yaml').filter(({ kind }) => kind !== 'Namespace')
  assert.deepEqual(sorted(rendered), sorted(plain))
  const crds = globSync('deploy/helm/outrider/crds/*.yaml', { cwd: new URL('..', import.meta.url) })
  assert.deepEqual(sorted(crds.flatMap((path) => manifests(path.replace('deploy/', '')))), sorted(manifests('kubernetes/crds.yaml')))
})

test('every program of the control plane runs without privileges, and names only what the roles let it do', () => {
  for (const { kind, metadata, spec } of manifests('kubernetes/outrider.yaml')) {
    if (kind !== 'Deployment') continue
    const { template } = spec as { template: { spec: { containers: Record<string, unknown>[]; serviceAccountName: string } } }
    for (const container of template.spec.containers) {
      const security = container.securityContext as Record<string, unknown>
      const { readOnlyRootFilesystem, runAsNonRoot, allowPrivilegeEscalation } = security
      assert.deepEqual([readOnlyRootFilesystem, runAsNonRoot, allowPrivilegeEscalation], [true, true, false], metadata.name)
      assert.ok(container.readinessProbe && container.livenessProbe && container.resources, metadata.name)
    }
    assert.match(template.spec.serviceAccountName, /^(outrider-control|dapr-(sentry|operator|injector))$/)
  }
})
