import { Code, errorInfo, OutriderError } from '../../errors.ts'
import type { ApiRule } from '../http/allow.ts'
import { DAPR } from './method.ts'

/** Methods by what `spec.api` rules call them: `<name>.<version>`. */
const APIS: Readonly<Record<string, readonly string[]>> = {
  'invoke.v1': ['InvokeService'],
  'state.v1': ['GetState', 'GetBulkState', 'SaveState', 'DeleteState', 'DeleteBulkState', 'ExecuteStateTransaction'],
  'state.v1alpha1': ['QueryStateAlpha1'],
  'publish.v1': ['PublishEvent', 'BulkPublishEvent'],
  'publish.v1alpha1': ['BulkPublishEventAlpha1'],
  'bindings.v1': ['InvokeBinding'],
  'secrets.v1': ['GetSecret', 'GetBulkSecret'],
  'actors.v1': [
    'RegisterActorTimer',
    'UnregisterActorTimer',
    'RegisterActorReminder',
    'GetActorReminder',
    'UnregisterActorReminder',
    'UnregisterActorRemindersByType',
    'ListActorReminders',
    'GetActorState',
    'ExecuteActorStateTransaction',
    'InvokeActor',
  ],
  'actors.v1alpha1': ['SubscribeActorEventsAlpha1'],
  'metadata.v1': ['GetMetadata', 'SetMetadata'],
  'configuration.v1alpha1': ['GetConfigurationAlpha1', 'SubscribeConfigurationAlpha1', 'UnsubscribeConfigurationAlpha1'],
  'configuration.v1': ['GetConfiguration', 'SubscribeConfiguration', 'UnsubscribeConfiguration'],
  'lock.v1alpha1': ['TryLockAlpha1'],
  'unlock.v1alpha1': ['UnlockAlpha1'],
  'subtlecrypto.v1alpha1': ['GetKey', 'Encrypt', 'Decrypt', 'Sign', 'Verify', 'WrapKey', 'UnwrapKey'].map((name) => `Subtle${name}Alpha1`),
  'crypto.v1alpha1': ['EncryptAlpha1', 'DecryptAlpha1'],
  'workflows.v1alpha1': workflow('Alpha1'),
  'workflows.v1beta1': workflow('Beta1'),
  'jobs.v1alpha1': jobs('Alpha1'),
  'jobs.v1': jobs(''),
  'shutdown.v1': ['Shutdown'],
  'subscribe.v1alpha1': ['SubscribeTopicEventsAlpha1'],
  'conversation.v1alpha1': ['ConverseAlpha1'],
  'conversation.v1alpha2': ['ConverseAlpha2'],
}

function workflow(version: string): string[] {
  return ['Start', 'Get', 'Terminate', 'RaiseEvent', 'Purge', 'Pause', 'Resume'].map((verb) => `${verb}Workflow${version}`)
}

function jobs(version: string): string[] {
  return ['ScheduleJob', 'DeleteJob', 'GetJob', 'DeleteJobsByPrefix', 'ListJobs'].map((name) => name + version)
}

/**
 * A check after `spec.api`: denied methods are refused, and with an allow list all that are not on it.
 * Rules without protocol `grpc` or without a version say nothing here. Methods of other services always pass: they are
 * proxied. Undefined when nothing is restricted.
 */
export function accessRules(allowed: readonly ApiRule[], denied: readonly ApiRule[]): ((path: string) => void) | undefined {
  const allow = paths(allowed)
  const deny = paths(denied)
  if (allow.size === 0 && deny.size === 0) return undefined
  return (path) => {
    if (!path.startsWith('/dapr.proto.runtime.') || (!deny.has(path) && (allow.size === 0 || allow.has(path)))) return
    throw refusal(501, Code.Unimplemented, 'Not Implemented', 'requested endpoint is not available', 'change spec.api of the Configuration')
  }
}

function paths(rules: readonly ApiRule[]): Set<string> {
  const grpc = rules.filter((rule) => rule.protocol === 'grpc')
  return new Set(grpc.flatMap((rule) => APIS[`${rule.name}.${rule.version}`] ?? []).map((name) => DAPR + name))
}

/** Dapr's code for errors without one of their own; these are not counted. */
export const UNTYPED = 'ERROR'

/** A call refused before its method is looked at: Dapr describes these as the HTTP reply they would be. */
export function refusal(http: number, grpc: Code, text: string, detail: string, hint: string): OutriderError {
  return new OutriderError({
    code: UNTYPED,
    http,
    grpc,
    message: text,
    hint,
    details: [errorInfo(text, { 'http.code': String(http), 'http.error_message': detail })],
  })
}

const GROUPS = new Map(
  Object.entries(APIS).flatMap(([api, names]) => names.map((name) => [DAPR + name, api.slice(0, api.indexOf('.'))] as const)),
)

/** The API group a method counts under, e.g. `state`; undefined for methods of other services. */
export function apiGroup(path: string): string | undefined {
  return GROUPS.get(path)
}
