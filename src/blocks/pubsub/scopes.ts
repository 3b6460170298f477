/** Topic scopes of one pub/sub component: who may publish and subscribe to what. */
export interface TopicScopes {
  mayPublish(topic: string): boolean
  maySubscribe(topic: string): boolean
}

/**
 * Reads `allowedTopics`, `protectedTopics`, `publishingScopes` and `subscriptionScopes` for one app.
 * `properties`: names lower-cased, as Named holds them. An app that a scope does not mention has every unprotected topic.
 */
export function topicScopes(properties: Readonly<Record<string, string>>, appId: string): TopicScopes {
  const allowed = topics(properties.allowedtopics ?? '')
  const protectedTopics = topics(properties.protectedtopics ?? '')
  const permits = (scope: ReadonlySet<string> | undefined) => (topic: string) => {
    if (allowed.size > 0 && !allowed.has(topic)) return false
    if (protectedTopics.has(topic)) return scope?.has(topic) ?? false
    return scope === undefined || scope.has(topic)
  }
  return {
    mayPublish: permits(scopeOf(properties.publishingscopes ?? '', appId)),
    maySubscribe: permits(scopeOf(properties.subscriptionscopes ?? '', appId)),
  }
}

function topics(list: string): Set<string> {
  return new Set(list.replaceAll(' ', '').split(',').filter(Boolean))
}

/** The topics of `app1=t1,t2;app2=` for one app; undefined when it is not mentioned. */
function scopeOf(text: string, appId: string): Set<string> | undefined {
  for (const part of text.replaceAll(' ', '').split(';')) {
    const equals = part.indexOf('=')
    if (equals > 0 && part.slice(0, equals) === appId) return topics(part.slice(equals + 1))
  }
  return undefined
}
