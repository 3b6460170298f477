import type { Component } from '../../components/component.ts'

export interface BindingRequest {
  operation: string
  data: Buffer
  metadata: Readonly<Record<string, string>>
}

export interface BindingResponse {
  data?: Buffer | undefined
  metadata?: Record<string, string> | undefined
  contentType?: string | undefined
}

export interface BindingEvent {
  data: Buffer
  contentType?: string | undefined
  metadata: Readonly<Record<string, string>>
}

/** One binding; has `operations` and `invoke` when it is an output, `read` when it is an input. */
export interface Binding extends Component {
  readonly operations?: readonly string[]
  invoke?(request: BindingRequest, signal?: AbortSignal): Promise<BindingResponse | undefined>
  /** Feeds events to the handler until disposed; a rejecting handler means: not handled. */
  read?(handler: (event: BindingEvent) => Promise<Buffer | undefined>): Promise<AsyncDisposable>
}
