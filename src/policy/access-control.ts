import { Code } from '../errors.ts'
import type { AccessControlSpec, AccessPolicy } from '../resources/configuration-spec.ts'
import type { Logger } from '../telemetry/log.ts'
import type { RuntimeMetrics } from '../telemetry/runtime-metrics.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'
import type { SpiffeId } from '../transport/identity/spiffe.ts'
import { readings } from './access-control-paths.ts'
import { OperationRules } from './access-control-rules.ts'

/** A call of another sidecar to the app beside us. */
export interface AccessRequest {
  /** Normalised, in the form in which it goes on to the app. */
  method: string
  /** HTTP method; empty: none was given. */
  verb: string
  /** By HTTP; else the method is compared as it stands. */
  http: boolean
  /** Who calls, by its certificate; undefined without mTLS. */
  peer: SpiffeId | undefined
}

/** Throws a GrpcStatus, PermissionDenied, for a call that may not be made. */
export type Authorize = (request: AccessRequest) => void

interface Policy {
  readonly trustDomain: string
  /** Empty: the one of the whole list. */
  readonly defaultAction: string
  readonly operations: OperationRules
}

/**
 * The access control of a Configuration, decided at the callee. Undefined when it allows everything, so that nothing is asked.
 * @param http Whether the app speaks HTTP: then paths are compared without regard to case, and by verb.
 */
export function createAccessControl(
  spec: AccessControlSpec | undefined,
  http: boolean,
  log: Logger,
  metrics?: RuntimeMetrics,
): Authorize | undefined {
  if (!spec) return undefined
  const action = defaultAction(spec)
  const policies = new Map<string, Policy>()
  for (const policy of spec.policies ?? []) policies.set(`${policy.appId}||${policy.namespace}`, compile(policy, http))
  if (policies.size === 0 && allows(action)) return undefined
  if (policies.size > 0 && spec.defaultAction === undefined)
    log.warn('spec.accessControl has policies and no defaultAction: callers without a policy are allowed; set defaultAction: deny')

  return (request) => {
    const { peer, method, verb } = request
    const policy = policyOf(peer, policies)
    const allowed = permitted(request, action, policy)
    if (peer) metrics?.accessDecided(policy ? 'app' : 'global', allowed, peer)
    if (allowed) return
    throw new GrpcStatus(
      Code.PermissionDenied,
      `access control policy has denied access to id: ${peer?.uri ?? ''} operation: ${method} verb: ${(http && verb) || 'NONE'}`,
    )
  }
}

/** daprd starts from `allow` and puts the file's words over it: only an empty word there counts as none. */
function defaultAction({ defaultAction: action, policies }: AccessControlSpec): string {
  if (action === undefined) return 'allow'
  if (action !== '') return action
  return policies === undefined || policies.length > 0 ? 'deny' : 'allow'
}

function compile(policy: AccessPolicy, http: boolean): Policy {
  const operations = new OperationRules()
  for (const { name = '', httpVerb = [], action = '' } of policy.operations ?? []) {
    // As calls come: a rule written with a slash at its end, or two within, would never be met otherwise.
    const path = `/${name.split('/').filter(Boolean).join('/')}`
    operations.add(http ? path.toLowerCase() : path, { action, verbs: new Map(httpVerb.map((verb) => [verb, action])) })
  }
  return { trustDomain: policy.trustDomain ?? '', defaultAction: policy.defaultAction ?? '', operations }
}

function policyOf(peer: SpiffeId | undefined, policies: ReadonlyMap<string, Policy>): Policy | undefined {
  const policy = peer && policies.get(`${peer.appId}||${peer.namespace}`)
  return policy?.trustDomain === peer?.trustDomain ? policy : undefined
}

function permitted(request: AccessRequest, action: string, policy: Policy | undefined): boolean {
  const { method, http } = request
  if (!policy) return allows(action)
  if (!http) return allows(judge(policy, request, method.startsWith('/') ? method : `/${method}`, action))
  const paths = readings(method)
  return paths?.every((path) => allows(judge(policy, request, path.toLowerCase(), action))) === true
}

function judge({ operations, defaultAction: own }: Policy, { verb, http }: AccessRequest, path: string, action: string): string {
  const rule = operations.find(path)
  if (!rule) return own || action
  if (!http) return rule.action
  if (verb === '') return own
  return rule.verbs.get(verb) ?? rule.verbs.get('*') ?? (own || action)
}

function allows(action: string): boolean {
  return action.toLowerCase() === 'allow'
}
