import type { Component } from '../../components/component.ts'

/** How file keys are wrapped, by the ids that documents store. */
export const WRAP_ALGORITHMS = { A256KW: 1, 'A128CBC-NOPAD': 2, 'A192CBC-NOPAD': 3, 'A256CBC-NOPAD': 4, 'RSA-OAEP-256': 5 } as const
export type WrapAlgorithm = keyof typeof WRAP_ALGORITHMS

/** One place of keys. The keys never leave it: it wraps and unwraps the file keys of documents. */
export interface CryptoProvider extends Component {
  /** Rejects when the key does not exist, may not be used so, or the provider does not know the algorithm. */
  wrapKey(plaintext: Buffer, algorithm: WrapAlgorithm, keyName: string, signal?: AbortSignal): Promise<Buffer>
  unwrapKey(wrapped: Buffer, algorithm: WrapAlgorithm, keyName: string, signal?: AbortSignal): Promise<Buffer>
}
