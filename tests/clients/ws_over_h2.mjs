// Carries WebSocket over HTTP/2: ws_over_h2.mjs BASE [CERT]
//
// Accepts WebSocket over HTTP/1.1 on a free loopback port, which it prints, and asks the proxy at BASE for each by an
// extended CONNECT (RFC 8441), so that any WebSocket client can be run over HTTP/2. A further connection is opened when
// one has no stream left, as browsers do. An https BASE needs CERT, the authority to believe.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import http from 'node:http'
import http2 from 'node:http2'

const [base, cert] = process.argv.slice(2)
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const PASSED = ['origin', 'sec-websocket-extensions', 'sec-websocket-protocol', 'sec-websocket-version', 'user-agent']
const WINDOW = 1 << 20
let sessions = []

// A connection to the proxy, once its settings are known.
function open() {
  const session = http2.connect(base, { ca: cert && readFileSync(cert), settings: { initialWindowSize: WINDOW } })
  session.tunnels = 0
  session.setMaxListeners(0)
  session.on('error', (error) => console.error(`session: ${error.message}`))
  session.on('close', () => { sessions = sessions.filter((one) => one !== session) })
  session.on('connect', () => session.setLocalWindowSize(16 * WINDOW))
  session.ready = new Promise((resolve, reject) => {
    session.on('remoteSettings', (settings) => {
      session.room = settings.maxConcurrentStreams
      settings.enableConnectProtocol ? resolve(session) : reject(new Error('extended CONNECT is not offered'))
    })
    session.on('close', () => reject(new Error('the connection has ended')))
  })
  sessions.push(session)
  return session
}

// A connection with a stream left, whose place is taken.
async function place() {
  for (;;) {
    const session = sessions.find((one) => one.tunnels < (one.room ?? Infinity) && !one.destroyed) ?? open()
    await session.ready
    if (session.tunnels < session.room) {
      session.tunnels += 1
      return session
    }
  }
}

async function carry(request, socket) {
  socket.on('error', () => {})
  const session = await place()
  const head = { ':method': 'CONNECT', ':protocol': 'websocket', ':path': request.url }
  for (const name of PASSED) if (request.headers[name]) head[name] = request.headers[name]
  const stream = session.request(head, { endStream: false })
  stream.on('close', () => { session.tunnels -= 1 })
  stream.on('response', (answer) => {
    if (answer[':status'] !== 200) {
      socket.end(`HTTP/1.1 ${answer[':status']} Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`)
      stream.close()
      return
    }
    socket.write(agreed(request, answer))
    socket.pipe(stream)
    stream.pipe(socket)
  })
  // What is cut on one side is cut on the other.
  stream.on('error', () => socket.destroy())
  stream.on('aborted', () => socket.destroy())
  stream.on('close', () => { if (stream.rstCode !== 0) socket.destroy() })
  socket.on('close', () => { if (!stream.writableFinished) stream.close(http2.constants.NGHTTP2_CANCEL) })
}

function agreed(request, answer) {
  const proof = createHash('sha1').update(request.headers['sec-websocket-key'] + GUID).digest('base64')
  const fields = ['Upgrade: websocket', 'Connection: Upgrade', `Sec-WebSocket-Accept: ${proof}`]
  for (const name of ['sec-websocket-extensions', 'sec-websocket-protocol']) {
    if (answer[name]) fields.push(`${name}: ${answer[name]}`)
  }
  return `HTTP/1.1 101 Switching Protocols\r\n${fields.join('\r\n')}\r\n\r\n`
}

const server = http.createServer((_, answer) => answer.writeHead(426).end())
server.on('upgrade', (request, socket, early) => {
  socket.unshift(early)
  socket.setNoDelay(true)
  carry(request, socket).catch((error) => {
    console.error(error.message)
    socket.destroy()
  })
})
server.listen(0, '127.0.0.1', () => console.log(`listening ${server.address().port}`))
