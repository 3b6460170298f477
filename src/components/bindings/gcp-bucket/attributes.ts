/** An object as Cloud Storage's JSON API gives it. */
export type StoredObject = Readonly<Record<string, unknown>> & { name: string }

const NEVER = '0001-01-01T00:00:00Z'

/** An object of a list with the members that Google's Go SDK, and so daprd, writes. */
export function attributesOf(object: StoredObject): Record<string, unknown> {
  const text = (name: string) => (typeof object[name] === 'string' ? (object[name] as string) : '')
  const time = (name: string) => text(name) || NEVER
  const number = (name: string) => Number(object[name] ?? 0)
  const within = (name: string, member: string) => ((object[name] ?? {}) as Record<string, string>)[member] ?? ''
  const crc = Buffer.from(text('crc32c'), 'base64')
  const acl = (object.acl ?? []) as Record<string, unknown>[]
  return {
    Bucket: text('bucket'),
    Name: text('name'),
    ContentType: text('contentType'),
    ContentLanguage: text('contentLanguage'),
    CacheControl: text('cacheControl'),
    EventBasedHold: object.eventBasedHold === true,
    TemporaryHold: object.temporaryHold === true,
    RetentionExpirationTime: time('retentionExpirationTime'),
    ACL: acl.length === 0 ? null : acl.map(ruleOf),
    PredefinedACL: '',
    Owner: within('owner', 'entity'),
    Size: number('size'),
    ContentEncoding: text('contentEncoding'),
    ContentDisposition: text('contentDisposition'),
    MD5: text('md5Hash') === '' ? (object.prefix === undefined ? '' : null) : text('md5Hash'),
    CRC32C: crc.length === 4 ? crc.readUInt32BE() : 0,
    MediaLink: text('mediaLink'),
    Metadata: object.metadata ?? null,
    Generation: number('generation'),
    Metageneration: number('metageneration'),
    StorageClass: text('storageClass'),
    Created: time('timeCreated'),
    Finalized: time('timeFinalized'),
    Deleted: time('timeDeleted'),
    Updated: time('updated'),
    CustomerKeySHA256: within('customerEncryption', 'keySha256'),
    KMSKeyName: text('kmsKeyName'),
    Prefix: text('prefix'),
    Etag: text('etag'),
    CustomTime: time('customTime'),
    ComponentCount: number('componentCount'),
    Retention: object.retention
      ? { Mode: within('retention', 'mode'), RetainUntil: within('retention', 'retainUntilTime') || NEVER }
      : null,
    SoftDeleteTime: time('softDeleteTime'),
    HardDeleteTime: time('hardDeleteTime'),
  }
}

function ruleOf(rule: Record<string, unknown>): Record<string, unknown> {
  const text = (name: string) => (typeof rule[name] === 'string' ? rule[name] : '')
  const team = rule.projectTeam as { projectNumber?: string; team?: string } | undefined
  return {
    Entity: text('entity'),
    EntityID: text('entityId'),
    Role: text('role'),
    Domain: text('domain'),
    Email: text('email'),
    ProjectTeam: team ? { ProjectNumber: team.projectNumber ?? '', Team: team.team ?? '' } : null,
  }
}
