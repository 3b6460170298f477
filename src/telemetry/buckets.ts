/** Milliseconds; Dapr's, unless the Configuration has `latencyDistributionBuckets`. */
export const LATENCY_BUCKETS: readonly number[] = [
  1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 30, 40, 50, 65, 80, 100, 130, 160, 200, 250, 300, 400, 500, 650, 800, 1000, 2000, 5000, 10_000,
  20_000, 50_000, 100_000,
]

/** Bytes. */
export const SIZE_BUCKETS: readonly number[] = [1, 2, 4, 16, 64, 256, 1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304].map(
  (kibibytes) => kibibytes * 1024,
)
