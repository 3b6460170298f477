import { setTimeout as delay } from 'node:timers/promises'
import { stringify } from 'yaml'
import { Cluster } from '../../components/kubernetes/cluster.ts'
import { applyManifest, pathOf } from '../../control/manifests/apply.ts'
import { allParts, installation } from '../../control/manifests/install.ts'
import { DEFAULT_VALUES, type InstallValues, LABELS } from '../../control/manifests/manifest.ts'
import { messageOf } from '../../errors.ts'
import { UsageError } from '../args.ts'
import { type Command, type CommandContext, JSON_FLAG } from '../command.ts'
import { CommandError } from '../status.ts'

export const k8s: Command = {
  usage: 'k8s <install | status | uninstall | annotate NAME | logs APP-ID> [flags]',
  summary: 'Put the control plane into a Kubernetes cluster, look after it, and give apps there a sidecar.',
  examples: [
    '# Into the cluster of the current kubeconfig, with the image that you built',
    'outrider k8s install --image registry.example/outrider:1',
    '# Only show what would be applied',
    'outrider k8s install --image registry.example/outrider:1 --dry-run',
    '# A sidecar for the Deployment orders, whose app listens on 8080',
    'outrider k8s annotate orders --app-port 8080',
    'outrider k8s logs orders',
  ],
  flags: [
    { name: 'kubeconfig', type: 'string', help: 'Path of a kubeconfig; default $KUBECONFIG, then ~/.kube/config' },
    { name: 'namespace', short: 'n', type: 'string', help: 'Of the control plane, default outrider-system; annotate, logs: of the app' },
    { name: 'image', type: 'string', help: 'install: image with the programs (deploy/Containerfile)' },
    { name: 'replicas', type: 'int', default: 1, help: 'install: of each Deployment' },
    { name: 'separate', type: 'boolean', help: 'install: a Deployment for each program, instead of one process with all' },
    { name: 'dry-run', type: 'boolean', help: 'install: print the manifests, change nothing' },
    { name: 'wait', type: 'int', default: 120, help: 'install: seconds to wait until everything runs; 0: not at all' },
    { name: 'all', type: 'boolean', help: 'uninstall: with the definitions and every resource of their kinds, and the trust bundle' },
    { name: 'app-id', type: 'string', help: 'annotate: default the name of the Deployment' },
    { name: 'app-port', type: 'int', help: 'annotate: port of the app' },
    { name: 'config', type: 'string', help: 'annotate: name of a Configuration' },
    JSON_FLAG,
  ],
  run: async (context) => {
    const { parsed } = context
    const [name = '', ...words] = parsed.words
    const action = ACTIONS[name]
    if (!action) throw new UsageError('name one of install, status, uninstall, annotate or logs')
    if (words.length !== action.words) throw new UsageError(`k8s ${name} takes ${action.words === 0 ? 'no name' : 'one name'}`)
    if (name === 'install' && parsed.on('dry-run')) return print(valuesOf(context))
    await using cluster = await Cluster.open(parsed.text('kubeconfig') || undefined, process.env).catch((error: unknown) => {
      throw new CommandError(messageOf(error), 'give --kubeconfig PATH')
    })
    try {
      return await action.run(cluster, context, words[0] ?? '')
    } catch (error) {
      throw error instanceof CommandError || error instanceof UsageError ? error : new CommandError(messageOf(error))
    }
  },
}

type Action = (cluster: Cluster, context: CommandContext, word: string) => Promise<number>
const FOREVER = new AbortController().signal
const PARTS = 'labelSelector=app.kubernetes.io%2Fpart-of%3Doutrider'

interface Deployment {
  metadata: { name: string }
  spec: { replicas?: number }
  status?: { readyReplicas?: number }
}
interface Pod {
  metadata: { name: string; namespace: string; labels?: Record<string, string> }
  status?: { containerStatuses?: { ready: boolean }[] }
}

const ACTIONS: Readonly<Record<string, { words: number; run: Action }>> = {
  install: {
    words: 0,
    async run(cluster, context) {
      const { parsed, reporter } = context
      const values = valuesOf(context)
      for (const { name, objects } of installation(values)) {
        for (const object of objects) await applyManifest(cluster, object, FOREVER)
        reporter.success(`${name}: ${objects.length} applied`)
      }
      const gone = await removeOther(cluster, values)
      if (gone > 0) reporter.success(`${gone} objects of the other form of the control plane deleted`)
      const deadline = performance.now() + parsed.number('wait') * 1000
      for (;;) {
        const waiting = (await deployments(cluster, values.namespace)).filter(({ ready, wanted }) => ready < wanted)
        if (waiting.length === 0) break
        if (performance.now() > deadline) {
          if (parsed.number('wait') === 0) break
          const names = waiting.map(({ name }) => name).join(', ')
          throw new CommandError(`not ready: ${names}`, `look at: kubectl -n ${values.namespace} describe pods`)
        }
        await delay(500)
      }
      reporter.success(`the control plane is in ${cluster.host}, namespace ${values.namespace}`)
      reporter.info('give a Deployment a sidecar with: outrider k8s annotate NAME --app-port PORT')
      return 0
    },
  },
  status: {
    words: 0,
    async run(cluster, { parsed, reporter }) {
      const namespace = parsed.text('namespace') || DEFAULT_VALUES.namespace
      const programs = await deployments(cluster, namespace)
      const list = (await cluster.get('/api/v1/pods?labelSelector=dapr.io%2Fsidecar-injected%3Dtrue')) as { items?: Pod[] } | undefined
      const pods = (list?.items ?? []).map(({ metadata, status }) => {
        const containers = status?.containerStatuses ?? []
        const ready = containers.filter((each) => each.ready).length
        return {
          namespace: metadata.namespace,
          pod: metadata.name,
          appId: metadata.labels?.['dapr.io/app-id'] ?? '',
          ready,
          containers: containers.length,
        }
      })
      if (parsed.on('json')) {
        console.log(JSON.stringify({ namespace, programs, pods }, undefined, 2))
        return 0
      }
      if (programs.length === 0)
        throw new CommandError(`there is no control plane in the namespace ${namespace}`, 'outrider k8s install --image IMAGE')
      for (const { name, ready, wanted } of programs) reporter.plain(`${name.padEnd(24)} ${ready}/${wanted}`)
      for (const { namespace: of, pod, appId, ready, containers } of pods)
        reporter.plain(`${`${of}/${pod}`.padEnd(48)} ${appId.padEnd(20)} ${ready}/${containers}`)
      return programs.some(({ ready, wanted }) => ready < wanted) ? 1 : 0
    },
  },
  uninstall: {
    words: 0,
    async run(cluster, context) {
      const values = { ...DEFAULT_VALUES, namespace: context.parsed.text('namespace') || DEFAULT_VALUES.namespace }
      const all = context.parsed.on('all')
      // With the namespace go the roots that sidecars trust: not unless it is asked for.
      const parts = allParts(values).filter(({ name }) => all || (name !== 'crds' && name !== 'namespace'))
      let gone = 0
      for (const { objects } of parts.reverse()) for (const object of objects.toReversed()) if (await cluster.delete(pathOf(object))) gone++
      context.reporter.success(
        `${gone} objects deleted${all ? '' : '; definitions, resources and the trust bundle stay (--all takes them too)'}`,
      )
      return 0
    },
  },
  annotate: {
    words: 1,
    async run(cluster, { parsed, reporter }, name) {
      const namespace = parsed.text('namespace') || cluster.namespace
      const annotations: Record<string, string> = { 'dapr.io/enabled': 'true', 'dapr.io/app-id': parsed.text('app-id') || name }
      if (parsed.given.includes('app-port')) annotations['dapr.io/app-port'] = String(parsed.number('app-port'))
      if (parsed.text('config') !== '') annotations['dapr.io/config'] = parsed.text('config')
      const path = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/deployments/${encodeURIComponent(name)}`
      if (!(await cluster.get(path)))
        throw new CommandError(`there is no Deployment ${name} in the namespace ${namespace}`, 'name another with --namespace')
      await cluster.patch(path, 'merge', { spec: { template: { metadata: { annotations } } } })
      reporter.success(`pods of ${namespace}/${name} are made anew, with a sidecar`)
      return 0
    },
  },
  logs: {
    words: 1,
    async run(cluster, { parsed, reporter }, appId) {
      const namespace = parsed.text('namespace') || cluster.namespace
      const pods = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods`
      const list = (await cluster.get(`${pods}?labelSelector=${encodeURIComponent(`dapr.io/app-id=${appId}`)}`)) as
        | { items?: Pod[] }
        | undefined
      if (!list?.items?.length)
        throw new CommandError(`no pod of ${appId} has a sidecar in the namespace ${namespace}`, 'outrider k8s status shows all of them')
      for (const { metadata } of list.items) {
        reporter.info(metadata.name)
        reporter.plain((await cluster.text(`${pods}/${metadata.name}/log?container=daprd&tailLines=200`)).trimEnd())
      }
      return 0
    },
  },
}

function valuesOf({ parsed }: CommandContext): InstallValues {
  const image = parsed.text('image')
  if (image === '') throw new UsageError('--image is missing: build one with deploy/Containerfile and name it')
  return {
    ...DEFAULT_VALUES,
    image,
    namespace: parsed.text('namespace') || DEFAULT_VALUES.namespace,
    replicas: parsed.number('replicas'),
    together: !parsed.on('separate'),
  }
}

/** What an installation of the other form had, if it was ours: Dapr's Deployments have the same names. */
async function removeOther(cluster: Cluster, values: InstallValues): Promise<number> {
  const wanted = new Set(installation(values).map(({ name }) => name))
  let gone = 0
  for (const { name, objects } of allParts(values)) {
    if (wanted.has(name)) continue
    for (const object of objects.toReversed()) {
      const found = (await cluster.get(pathOf(object))) as { metadata: { labels?: Record<string, string> } } | undefined
      const ours = found && Object.entries(LABELS).every(([label, value]) => found.metadata.labels?.[label] === value)
      if (ours && (await cluster.delete(pathOf(object)))) gone++
    }
  }
  return gone
}

function print(values: InstallValues): number {
  const objects = installation(values).flatMap((part) => part.objects)
  console.log(objects.map((object) => stringify(object, { lineWidth: 0, aliasDuplicateObjects: false })).join('---\n'))
  return 0
}

async function deployments(cluster: Cluster, namespace: string): Promise<{ name: string; ready: number; wanted: number }[]> {
  const path = `/apis/apps/v1/namespaces/${encodeURIComponent(namespace)}/deployments?${PARTS}`
  const list = (await cluster.get(path)) as { items?: Deployment[] } | undefined
  return (list?.items ?? []).map(({ metadata, spec, status }) => ({
    name: metadata.name,
    ready: status?.readyReplicas ?? 0,
    wanted: spec.replicas ?? 1,
  }))
}
