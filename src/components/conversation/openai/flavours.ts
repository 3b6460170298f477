import { MetadataError } from '../../metadata.ts'
import { chatDriver } from './driver.ts'

/** Services that speak the chat completions protocol, with the fields and defaults of Dapr's components. */

const PLAIN = { developerRole: 'system', responseFormat: 'json_schema', extensions: false } as const

export const openai = chatDriver({
  summary: 'OpenAI, Azure OpenAI, or any server that speaks the chat completions protocol.',
  modelVariable: 'OPENAI_MODEL',
  defaultModel: 'gpt-5-nano',
  defaultEndpoint: 'https://api.openai.com/v1',
  keyRequired: true,
  dialect: { developerRole: 'developer', responseFormat: 'json_schema', extensions: true },
  fields: [
    {
      name: 'apiType',
      kind: 'enum',
      values: ['open_ai', 'azure'],
      default: 'open_ai',
      description: 'With azure, endpoint and apiVersion are required, AZURE_OPENAI_MODEL names the model, and its default is gpt-4.1-nano.',
    },
    { name: 'apiVersion', kind: 'string', description: 'Version of the Azure API, e.g. 2025-01-01-preview.' },
  ],
  models: ({ apiType }) => (apiType === 'azure' ? { variable: 'AZURE_OPENAI_MODEL', fallback: 'gpt-4.1-nano' } : undefined),
  address({ apiType, apiVersion, endpoint, key }, model) {
    if (apiType !== 'azure') return undefined
    if (!apiVersion || endpoint === 'https://api.openai.com/v1')
      throw new MetadataError("endpoint and apiVersion must be provided when apiType is set to 'azure'")
    const base = String(endpoint).replace(/\/+$/, '')
    const version = encodeURIComponent(String(apiVersion))
    return {
      url: `${base}/openai/deployments/${encodeURIComponent(model)}/chat/completions?api-version=${version}`,
      headers: { 'api-key': String(key) },
    }
  },
})

export const ollama = chatDriver({
  summary: 'Models that Ollama runs, by its chat completions endpoint.',
  modelVariable: 'OLLAMA_MODEL',
  defaultModel: 'llama3.2:latest',
  defaultEndpoint: 'http://localhost:11434/v1',
  keyRequired: false,
  dialect: PLAIN,
})

export const mistral = chatDriver({
  summary: "Mistral's models.",
  modelVariable: 'MISTRAL_MODEL',
  defaultModel: 'open-mistral-7b',
  defaultEndpoint: 'https://api.mistral.ai/v1',
  keyRequired: true,
  dialect: PLAIN,
})

export const deepseek = chatDriver({
  summary: "DeepSeek's models.",
  modelVariable: undefined,
  defaultModel: 'deepseek-chat',
  defaultEndpoint: 'https://api.deepseek.com',
  keyRequired: true,
  dialect: { ...PLAIN, responseFormat: 'json_object' },
  fields: [{ name: 'maxTokens', kind: 'int', min: 1, description: 'Tokens of one answer at most.' }],
})

export const huggingface = chatDriver({
  summary: 'Models that Hugging Face serves.',
  modelVariable: 'HUGGINGFACE_MODEL',
  defaultModel: 'deepseek-ai/DeepSeek-R1-Distill-Qwen-32B',
  defaultEndpoint: 'https://router.huggingface.co/hf-inference/models/{{model}}/v1',
  keyRequired: true,
  dialect: PLAIN,
})
