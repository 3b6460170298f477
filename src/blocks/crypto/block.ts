import { type ComponentSet, explaining } from '../../components/sets.ts'
import { Code, messageOf, OutriderError } from '../../errors.ts'
import { type Around, once } from '../around.ts'
import { decryptDocument, encryptDocument, SegmentError } from './document.ts'
import { type CryptoProvider, WRAP_ALGORITHMS, type WrapAlgorithm } from './driver.ts'
import { CIPHERS, type CipherName } from './header.ts'

export interface EncryptOptions {
  keyName: string
  /** A256KW (or AES), RSA-OAEP-256 (or RSA), A128CBC-NOPAD, A192CBC-NOPAD, A256CBC-NOPAD, in any case; a provider may not know all. */
  keyWrapAlgorithm: string
  /** AES-GCM (default) or CHACHA20-POLY1305, in any case. */
  dataEncryptionCipher?: string | undefined
  omitDecryptionKeyName?: boolean | undefined
  /** Written into the document in place of keyName. */
  decryptionKeyName?: string | undefined
}

export interface CryptoOptions {
  components: ComponentSet<CryptoProvider>
  around?: Around
}

export interface CryptoBlock {
  /** Throws OutriderError unless the provider is there: for edges that answer that before they look at the rest of a request. */
  require(provider: string): void
  /** The plaintext as a `dapr.io/enc/v1` document. Provider and options are checked at once, the rest while reading. */
  encrypt(provider: string, options: EncryptOptions, plain: AsyncIterable<Buffer>, signal?: AbortSignal): AsyncGenerator<Buffer>
  /** A document's plaintext; `keyName` overrides the name in the document. */
  decrypt(
    provider: string,
    options: { keyName?: string | undefined },
    document: AsyncIterable<Buffer>,
    signal?: AbortSignal,
  ): AsyncGenerator<Buffer>
}

const ALIASES: Readonly<Record<string, WrapAlgorithm>> = { AES: 'A256KW', RSA: 'RSA-OAEP-256' }

/** Encrypts and decrypts streams with keys that stay with their provider. */
export function createCryptoBlock(options: CryptoOptions): CryptoBlock {
  const around = options.around ?? once

  const find = explaining(options.components, (provider: string): CryptoProvider => {
    if (options.components.size === 0) {
      throw new OutriderError({
        code: 'ERR_CRYPTO_PROVIDERS_NOT_CONFIGURED',
        http: 500,
        grpc: Code.Internal,
        message: 'crypto providers not configured',
        hint: 'add a component of a crypto.* type to the resources folder',
      })
    }
    if (provider === '') throw badRequest('missing component name', 'name the crypto component')
    const found = options.components.get(provider)
    if (found) return found.component
    throw new OutriderError({
      code: 'ERR_CRYPTO_PROVIDER_NOT_FOUND',
      http: 400,
      grpc: Code.InvalidArgument,
      message: `crypto provider ${provider} not found`,
      hint: `crypto providers loaded: ${[...options.components.keys()].join(', ')}`,
    })
  })

  return {
    require: (provider) => void find(provider),
    encrypt(provider, request, plain, signal) {
      const component = find(provider)
      const wanted = request.keyWrapAlgorithm.toUpperCase()
      const wrapAlgorithm = ALIASES[wanted] ?? known(WRAP_ALGORITHMS, wanted)
      if (!wrapAlgorithm)
        throw failure(
          new Error(`option Algorithm is not valid: algorithm ${wanted} is not supported`),
          `use one of ${[...Object.keys(WRAP_ALGORITHMS), ...Object.keys(ALIASES)].join(', ')}`,
        )
      const cipherName = request.dataEncryptionCipher?.toUpperCase() || 'AES-GCM'
      const cipher: CipherName | undefined = known(CIPHERS, cipherName)
      if (!cipher)
        throw failure(
          new Error(`option Cipher is not valid: cipher ${cipherName} is not supported`),
          `use one of ${Object.keys(CIPHERS).join(', ')}`,
        )
      return guarded(
        encryptDocument(plain, {
          keyName: request.omitDecryptionKeyName ? undefined : request.decryptionKeyName || request.keyName,
          wrapAlgorithm,
          cipher,
          wrap: (fileKey) =>
            around(provider, 'crypto_op', (inner) => component.wrapKey(fileKey, wrapAlgorithm, request.keyName, inner), signal),
        }),
      )
    },
    decrypt(provider, request, document, signal) {
      const component = find(provider)
      return guarded(
        decryptDocument(
          document,
          (manifest) => {
            const keyName = request.keyName || manifest.keyName
            if (!keyName) throw new Error("document's manifest does not contain a key name, and no key name was provided")
            return keyName
          },
          ({ wrappedKey, wrapAlgorithm }, keyName) =>
            around(provider, 'crypto_op', (inner) => component.unwrapKey(wrappedKey, wrapAlgorithm, keyName, inner), signal),
        ),
      )
    },
  }
}

function known<T extends object>(table: T, name: string): (keyof T & string) | undefined {
  return Object.hasOwn(table, name) ? (name as keyof T & string) : undefined
}

/** What fails is ERR_CRYPTO; a damaged segment stays a SegmentError, since the two wires name it differently. */
async function* guarded(stream: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* stream
  } catch (error) {
    if (error instanceof SegmentError || error instanceof OutriderError) throw error
    throw failure(error, 'check the key name, that the key fits the algorithm, and that the document is whole')
  }
}

/** ERR_BAD_REQUEST as the crypto API words it. */
export function badRequest(reason: string, hint: string): OutriderError {
  return new OutriderError({
    code: 'ERR_BAD_REQUEST',
    http: 400,
    grpc: Code.InvalidArgument,
    message: `invalid request: ${reason}`,
    hint,
  })
}

/** ERR_CRYPTO. */
export function failure(cause: unknown, hint: string): OutriderError {
  return new OutriderError({
    code: 'ERR_CRYPTO',
    http: 500,
    grpc: Code.Internal,
    message: `failed to perform operation: ${messageOf(cause)}`,
    hint,
    cause,
  })
}
