// The Prisma CLI on its WASM engine with @prisma/adapter-pg, which needs no engine download, mended so that it behaves as the native engine does.
import path from 'node:path'
import { PrismaPg } from '@prisma/adapter-pg'

const folder = process.env.PRISMA_DIR
const connectionString = process.env.DATABASE_URL
const parameters = new URL(connectionString).searchParams
const schema = parameters.get('schema') ?? undefined

// The engine's timer around the advisory lock would keep the process alive for ten seconds after it is done.
const setTimer = globalThis.setTimeout
globalThis.setTimeout = (callback, milliseconds, ...rest) => {
  const timer = setTimer(callback, milliseconds, ...rest)
  if (milliseconds === 10_000) timer.unref?.()
  return timer
}

// The object ids of "char", name, regproc, regclass and regtype: the adapter does not know them, the native engine reads them as text (25).
const NAME_LIKE = [18, 19, 24, 2205, 2206]
const TEXT = 25

function mend(connection) {
  const performIO = connection.performIO.bind(connection)
  connection.performIO = async (query) => {
    const result = await performIO(query)
    for (const field of result.fields ?? []) if (NAME_LIKE.includes(field.dataTypeID)) field.dataTypeID = TEXT
    return result
  }
  // The stock adapter splits a script at every ';'. The native engine sends it whole, as one simple query.
  connection.executeScript = async (script) => {
    try {
      await connection.client.query(script)
    } catch (error) {
      connection.onError(error)
    }
  }
  return connection
}

class Factory extends PrismaPg {
  async connect() {
    return mend(await super.connect())
  }
  async connectToShadowDb() {
    return mend(await super.connectToShadowDb())
  }
}

const options = schema && !parameters.has('options') ? { options: `-c search_path="${schema}"` } : {}

export default {
  experimental: { adapter: true },
  engine: 'js',
  schema: path.join(folder, 'schema.prisma'),
  migrations: { path: path.join(folder, 'migrations') },
  // One session for everything: the advisory lock lives on it.
  adapter: async () =>
    new Factory({ connectionString, max: 1, idleTimeoutMillis: 0, allowExitOnIdle: true, ...options }, schema ? { schema } : undefined),
}
