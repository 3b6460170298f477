import { X509Certificate } from 'node:crypto'

/** PEM blocks of one text that are looked at. */
const MOST = 16

/** When what stands in a text ends first (epoch milliseconds): certificates by their end, tokens (JWT) by `exp`; undefined: nothing in it ends. */
export function expiryOf(text: string): number | undefined {
  const ends: number[] = []
  for (const [block] of [...text.matchAll(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g)].slice(0, MOST)) {
    try {
      ends.push(new X509Certificate(block as string).validToDate.getTime())
    } catch {
      // No certificate after all.
    }
  }
  for (const [, claims] of [...text.matchAll(/\beyJ[\w-]+\.(eyJ[\w-]+)\.[\w-]*/g)].slice(0, MOST)) {
    try {
      const { exp } = JSON.parse(Buffer.from(claims as string, 'base64url').toString()) as { exp?: unknown }
      if (typeof exp === 'number' && exp > 0) ends.push(exp * 1000)
    } catch {
      // No token after all.
    }
  }
  return ends.length > 0 ? Math.min(...ends) : undefined
}

export interface Pace {
  /** Milliseconds at most. */
  refresh: number
  /** Milliseconds before the end; undefined: a third of what is left. */
  renewBefore: number | undefined
  /** 0 to 0.5: by which part it may be earlier. */
  jitter: number
}

/** Milliseconds until secrets are read again; never less than a second. */
export function waitOf(expiry: number | undefined, now: number, { refresh, renewBefore, jitter }: Pace, random = Math.random): number {
  const left = expiry === undefined ? Number.POSITIVE_INFINITY : Math.max(0, expiry - now)
  const until = renewBefore === undefined ? (left * 2) / 3 : Math.max(0, left - renewBefore)
  return Math.max(1000, Math.min(refresh, until) * (1 - jitter * random()))
}
