import type { OpenRole } from '../role.ts'
import { LogPipeline } from './pipeline.ts'

/** Opens a LogPipeline. */
export const openLogPipeline: OpenRole = (resource, context) => LogPipeline.open(resource, context)
