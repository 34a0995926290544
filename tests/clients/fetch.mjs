// Fetch and upload with Node: fetch.mjs fetch|http2 BASE CERT FILE
//
// Gets BASE/file, posts FILE to BASE/hash and prints a JSON object: the version that was spoken, the SHA-256 of what
// came, and what /hash said. fetch() believes the authority of NODE_EXTRA_CA_CERTS, http2 that of CERT.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http2 from 'node:http2'

const [way, base, cert, file] = process.argv.slice(2)
const body = readFileSync(file)

async function byFetch() {
  const got = await fetch(base + '/file')
  const content = Buffer.from(await got.arrayBuffer())
  const said = await fetch(base + '/hash', { method: 'POST', body })
  if (!got.ok || !said.ok) throw new Error(`answered ${got.status} and ${said.status}`)
  // undici speaks HTTP/1.1 only, unless told otherwise.
  return { version: '1.1', content, said: await said.text() }
}

async function byHttp2() {
  const session = http2.connect(base, { ca: readFileSync(cert) })
  session.on('error', fail)
  const content = await ask(session, { ':path': '/file' })
  const said = (await ask(session, { ':method': 'POST', ':path': '/hash' }, body)).toString()
  session.close()
  return { version: '2', content, said }
}

function ask(session, head, content) {
  return new Promise((resolve, reject) => {
    const stream = session.request(head)
    const parts = []
    stream.on('response', (answer) => {
      if (answer[':status'] !== 200) reject(new Error(`answered ${answer[':status']}`))
    })
    stream.on('data', (part) => parts.push(part))
    stream.on('end', () => resolve(Buffer.concat(parts)))
    stream.on('error', reject)
    stream.end(content)
  })
}

function fail(error) {
  console.error(error)
  process.exit(1)
}

const { version, content, said } = await (way === 'http2' ? byHttp2() : byFetch()).catch(fail)
console.log(JSON.stringify({ version, file: createHash('sha256').update(content).digest('hex'), hash: said }))
