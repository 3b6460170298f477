import { randomUUID } from 'node:crypto'
import { request } from 'node:https'
import { applyJsonPatch } from './patches.ts'
import type { User } from './rbac.ts'
import { selectorMatches } from './selectors.ts'
import { type ApiObject, type ObjectStore, StoreError } from './store.ts'

export interface AdmissionOptions {
  store: ObjectStore
  /** Where a service of the cluster really listens. */
  resolve(namespace: string, service: string, port: number): { host: string; port: number } | undefined
}

interface Webhook {
  name: string
  clientConfig: { caBundle?: string; service: { namespace: string; name: string; path?: string; port?: number } }
  rules?: { apiGroups: string[]; resources: string[]; operations: string[] }[]
  failurePolicy?: 'Ignore' | 'Fail'
  namespaceSelector?: Parameters<typeof selectorMatches>[0]
  objectSelector?: Parameters<typeof selectorMatches>[0]
  timeoutSeconds?: number
}

/** Sends a new object through the mutating webhooks that ask for it. Throws when one refuses it. */
export async function admit(
  { store, resolve }: AdmissionOptions,
  group: string,
  resource: string,
  object: ApiObject,
  user: User,
): Promise<{ object: ApiObject; warnings: string[] }> {
  const warnings: string[] = []
  let current = object
  const namespace = object.metadata.namespace ?? ''
  const labels = store.get('/namespaces', undefined, namespace)?.metadata.labels ?? {}
  for (const configuration of store.list('admissionregistration.k8s.io/mutatingwebhookconfigurations')) {
    for (const webhook of (configuration.webhooks ?? []) as Webhook[]) {
      const wanted = (webhook.rules ?? []).some(
        ({ apiGroups, resources, operations }) =>
          apiGroups.includes(group) && resources.includes(resource) && (operations.includes('CREATE') || operations.includes('*')),
      )
      if (!wanted || !selectorMatches(webhook.namespaceSelector, labels)) continue
      if (!selectorMatches(webhook.objectSelector, current.metadata.labels)) continue
      let answer: Awaited<ReturnType<typeof ask>>
      try {
        answer = await ask(webhook, resolve, reviewOf(current, namespace, resource, user))
      } catch (error) {
        // The object passes as it is.
        if (webhook.failurePolicy === 'Ignore') continue
        throw new StoreError(500, 'InternalError', `failed calling webhook "${webhook.name}": ${(error as Error).message}`)
      }
      warnings.push(...(answer.warnings ?? []))
      if (!answer.allowed)
        throw new StoreError(
          answer.status?.code ?? 400,
          'BadRequest',
          `admission webhook "${webhook.name}" denied the request: ${answer.status?.message ?? 'without explanation'}`,
        )
      if (answer.patch) current = applyJsonPatch(current, JSON.parse(Buffer.from(answer.patch, 'base64').toString()))
    }
  }
  return { object: current, warnings }
}

function reviewOf(object: ApiObject, namespace: string, resource: string, user: User) {
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: randomUUID(),
      kind: { group: '', version: 'v1', kind: object.kind },
      resource: { group: '', version: 'v1', resource },
      requestKind: { group: '', version: 'v1', kind: object.kind },
      name: object.metadata.name,
      namespace,
      operation: 'CREATE',
      userInfo: user,
      object,
      oldObject: null,
      dryRun: false,
      options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
    },
  }
}

/** Over TLS whose certificate must lead to the bundle of the webhook and name its service. */
function ask(
  { clientConfig, timeoutSeconds = 10 }: Webhook,
  resolve: AdmissionOptions['resolve'],
  review: unknown,
): Promise<{ allowed: boolean; patch?: string; warnings?: string[]; status?: { message?: string; code?: number } }> {
  const { namespace, name, path = '/', port = 443 } = clientConfig.service
  const at = resolve(namespace, name, port)
  if (!at) return Promise.reject(new Error(`no endpoints available for service "${name}"`))
  const body = JSON.stringify(review)
  return new Promise((done, reject) => {
    const call = request(
      {
        ...at,
        path: `${path}?timeout=${timeoutSeconds}s`,
        method: 'POST',
        servername: `${name}.${namespace}.svc`,
        ca: clientConfig.caBundle ? Buffer.from(clientConfig.caBundle, 'base64') : '',
        headers: { 'content-type': 'application/json', accept: 'application/json, */*' },
        timeout: timeoutSeconds * 1000,
        agent: false,
      },
      (reply) => {
        const chunks: Buffer[] = []
        reply.on('data', (chunk: Buffer) => chunks.push(chunk))
        reply.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          if (reply.statusCode !== 200) return reject(new Error(`${reply.statusCode}: ${text}`))
          done(JSON.parse(text).response)
        })
      },
    )
    call.on('timeout', () => call.destroy(new Error('context deadline exceeded')))
    call.on('error', reject)
    call.end(body)
  })
}
