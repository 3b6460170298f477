import type { Schema } from '../../resources/json-schema.ts'
import { KINDS, OWN_KINDS, schemaOf, V1, V2 } from '../../resources/schema.ts'
import { OUTRIDER_V1 } from '../../resources/traffic-schema.ts'
import type { Manifest } from './manifest.ts'

const SHORT: Readonly<Record<string, string>> = { Component: 'comp', Configuration: 'daprconfig', Subscription: 'sub' }

/** The CustomResourceDefinitions of all kinds, with the schemas that sidecars read them by. @param namespace of the control plane. */
export function definitions(namespace: string): Manifest[] {
  return KINDS.map((kind) => {
    const group = OWN_KINDS.includes(kind) ? 'outrider.dev' : 'dapr.io'
    const plural = pluralOf(kind)
    const versions = [V1, V2, OUTRIDER_V1].flatMap((apiVersion) => {
      const schema = schemaOf(kind, apiVersion)
      return schema && apiVersion.startsWith(`${group}/`) ? [{ name: apiVersion.slice(group.length + 1), schema }] : []
    })
    const webhook = {
      clientConfig: { service: { namespace, name: 'dapr-webhook', path: '/convert', port: 443 } },
      conversionReviewVersions: ['v1'],
    }
    return {
      apiVersion: 'apiextensions.k8s.io/v1',
      kind: 'CustomResourceDefinition',
      metadata: { name: `${plural}.${group}`, labels: { 'app.kubernetes.io/part-of': group === 'dapr.io' ? 'dapr' : 'outrider' } },
      spec: {
        group,
        names: {
          kind,
          listKind: `${kind}List`,
          plural,
          singular: kind.toLowerCase(),
          ...(SHORT[kind] && { shortNames: [SHORT[kind]] }),
        },
        scope: 'Namespaced',
        ...(versions.length > 1 && { conversion: { strategy: 'Webhook', webhook } }),
        versions: versions.map(({ name, schema }, index) => ({
          name,
          served: true,
          // The newest is what is kept.
          storage: index === versions.length - 1,
          schema: { openAPIV3Schema: topLevel(schema) },
        })),
      },
    }
  })
}

/** Kinds that are plurals already, such as SecretFiles, stay as they are. */
function pluralOf(kind: string): string {
  const name = kind.toLowerCase()
  return name.endsWith('s') ? name : `${name.replace(/y$/, 'ie')}s`
}

/** Kubernetes says itself what apiVersion, kind and metadata are. */
function topLevel(schema: Schema): Manifest {
  const { apiVersion: _a, kind: _k, metadata: _m, ...own } = schema.properties ?? {}
  const text = { type: 'string' }
  const required = (schema.required ?? []).filter((name) => Object.hasOwn(own, name))
  return {
    type: 'object',
    properties: { apiVersion: text, kind: text, metadata: { type: 'object' }, ...mapped(own) },
    ...(required.length > 0 && { required }),
  }
}

function mapped(schemas: Readonly<Record<string, Schema>>): Record<string, Manifest> {
  return Object.fromEntries(Object.entries(schemas).map(([name, schema]) => [name, structural(schema)]))
}

/**
 * A structural schema of the same meaning. What a schema does not name is kept, not dropped: the sidecar that reads it says what it
 * makes of it.
 */
function structural(schema: Schema): Manifest {
  const { $schema: _s, title: _t, 'x-text': text, properties, additionalProperties, items, ...plain } = schema
  const anything = { 'x-kubernetes-preserve-unknown-fields': true }
  if (text || schema.type === undefined) return { ...(schema.description && { description: schema.description }), ...anything }
  return {
    ...plain,
    ...(properties && { properties: mapped(properties) }),
    ...(items && { items: structural(items) }),
    ...(additionalProperties !== null && typeof additionalProperties === 'object'
      ? { additionalProperties: structural(additionalProperties) }
      : schema.type === 'object' && additionalProperties !== false && anything),
  }
}
