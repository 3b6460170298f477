import type { SecretStore } from '../../../blocks/secrets/driver.ts'
import { Code, messageOf } from '../../../errors.ts'
import { bytes, int32, message, nested, repeated, string } from '../../../transport/grpc/message.ts'
import { GrpcStatus } from '../../../transport/grpc/status.ts'
import type { DriverModule } from '../../component.ts'
import { addressOf, GoogleService } from '../../gcp/service.ts'
import { googleFields, readIdentity } from '../../gcp/settings.ts'
import { MetadataError, type MetadataField, parseMetadata } from '../../metadata.ts'

const fields: readonly MetadataField[] = [
  ...googleFields,
  {
    name: 'endpoint',
    kind: 'string',
    description: 'Address in place of Google, host:port; http:// in front for one without TLS. Ours, not in Dapr.',
  },
]

const PACKAGE = 'google.cloud.secretmanager.v1.'
const ListRequest = message(`${PACKAGE}ListSecretsRequest`, { parent: string(1), pageSize: int32(2), pageToken: string(3) })
const Secret = message(`${PACKAGE}Secret`, { name: string(1) })
const ListResponse = message(`${PACKAGE}ListSecretsResponse`, { secrets: repeated(nested(1, Secret)), nextPageToken: string(2) })
const AccessRequest = message(`${PACKAGE}AccessSecretVersionRequest`, { name: string(1) })
const Payload = message(`${PACKAGE}SecretPayload`, { data: bytes(1) })
const AccessResponse = message(`${PACKAGE}AccessSecretVersionResponse`, { name: string(1), payload: nested(2, Payload) })

const GOOGLE = 'secretmanager.googleapis.com:443'
/** A secret has up to 64 KiB. */
const MAX_MESSAGE = 8 << 20
/** Secrets asked for at once when all are wanted. */
const PARALLEL = 4

/** secretstores.gcp.secretmanager: secrets of one project. Among all they have their whole names, as with daprd. */
export const driver: DriverModule<SecretStore> = {
  summary: 'Secrets from Google Cloud Secret Manager.',
  metadata: fields,
  create(context) {
    const values = parseMetadata(fields, context.properties)
    if (values.projectID === undefined) throw new MetadataError('missing property `project_id` in metadata')
    const parent = `projects/${String(values.projectID)}`
    const endpoint = values.endpoint === undefined ? undefined : String(values.endpoint)
    const service = new GoogleService({
      package: 'google.cloud.secretmanager.v1',
      address: endpoint === undefined ? GOOGLE : addressOf('endpoint', endpoint),
      secure: !endpoint?.startsWith('http://'),
      identity: readIdentity(values),
      maxMessage: MAX_MESSAGE,
    })

    const access = async (secret: string, version: string, signal?: AbortSignal): Promise<string> => {
      const name = `${secret}/versions/${version}`
      const method = 'SecretManagerService/AccessSecretVersion'
      const { payload } = await service
        .call(method, `name=${name}`, AccessRequest, AccessResponse, { name }, signal)
        .catch((error: unknown) => {
          throw new Error(`failed to access secret version: ${messageOf(error)}`, { cause: error })
        })
      return payload?.data.toString() ?? ''
    }
    const list = (pageToken: string, pageSize: number, signal?: AbortSignal) => {
      const request = { parent, pageToken, pageSize }
      return service.call('SecretManagerService/ListSecrets', `parent=${parent}`, ListRequest, ListResponse, request, signal)
    }

    return {
      features: [],
      init: (signal) => service.open(signal),
      async ping(signal) {
        await list('', 1, signal).catch((error: unknown) => {
          // That the account may not list is an answer.
          if (!(error instanceof GrpcStatus && error.code === Code.PermissionDenied)) throw error
        })
      },
      async get(name, metadata, signal) {
        if (name === '') throw new Error('missing secret name in request')
        return { [name]: await access(`${parent}/secrets/${name}`, metadata.version_id ?? 'latest', signal) }
      },
      async bulkGet(_metadata, signal) {
        const found: Record<string, Record<string, string>> = {}
        let token = ''
        do {
          const { secrets, nextPageToken } = await list(token, 0, signal).catch((error: unknown) => {
            throw new Error(`failed to list secrets: ${messageOf(error)}`, { cause: error })
          })
          // In Google's order, whichever answer comes first.
          for (const { name } of secrets) found[name] = {}
          let at = 0
          const worker = async () => {
            for (let name = secrets[at++]?.name; name !== undefined; name = secrets[at++]?.name)
              found[name] = { [name]: await access(name, 'latest', signal) }
          }
          await Promise.all(Array.from({ length: Math.min(PARALLEL, secrets.length) }, worker))
          token = nextPageToken
        } while (token !== '')
        return found
      },
      [Symbol.asyncDispose]: () => service[Symbol.asyncDispose](),
    }
  },
}
