import { Code } from '../errors.ts'
import { GrpcStatus } from '../transport/grpc/status.ts'

const UNREACHABLE =
  /ECONNREFUSED|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|ECONNRESET|connect ENOENT|the database system is starting up|LOADING|timed out|Connection is closed|Connection terminated/i

/** Whether an error says that a server cannot be reached, and not that it was reached and refuses. */
export function isUnreachable(thrown: unknown): boolean {
  return says(thrown, UNREACHABLE)
}

/** What a connection that was up says when it is lost, and a call whose answer never comes. */
const LOST =
  /EPIPE|is away\b|(closed|lost) the connection|connection (to .+ )?(is|was|has been) (closed|lost)|(connection|channel|socket) (closed|lost)|socket hang up|did not answer|(not|n't) (answered|acknowledged)|no (answer within|connection)|takes no messages now|disconnect|not connected|time(d ?)?out|deadline exceeded|circuit breaker is open|CONNECTION_(CLOSED|REFUSED|TIMEOUT|DRAINING)/i

/**
 * The same for a call over a connection that was up: it is lost, or nothing comes back. An open circuit breaker counts too,
 * as the server is not asked. What a server that was reached answers does not. `names` that an error may mention (of a topic,
 * say) are not taken for its words.
 */
export function isLost(thrown: unknown, names: readonly string[] = []): boolean {
  const without = (text: string) => text.replace(/[^\s"'`,:;()]+/g, (word) => (names.includes(word) ? '' : word))
  return says(thrown, UNREACHABLE, without) || says(thrown, LOST, without)
}

function says(thrown: unknown, words: RegExp, clean = (text: string) => text): boolean {
  for (let error: unknown = thrown; error instanceof Error; error = error.cause) {
    const code = (error as NodeJS.ErrnoException).code
    if (words.test(clean(`${code ?? ''} ${error.message}`))) return true
    // Kafka's client finds no broker that answers.
    if (error.name === 'UnreachableError') return true
    // A pluggable component says so of what stands behind it.
    if (error instanceof GrpcStatus && error.code === Code.Unavailable) return true
    if (error instanceof AggregateError && error.errors.some((inner) => says(inner, words, clean))) return true
  }
  return false
}
