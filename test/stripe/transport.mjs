// HTTPS with HTTP/2 and HTTP/1.1 by ALPN. Each request becomes an exchange, the same for both:
//   {http, method, path, query, headers, body}, respond(), cut(), truncate()
import http2 from 'node:http2';

const LARGEST_BODY = 1024 * 1024;
const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH, HTTP2_HEADER_STATUS } = http2.constants;

// Serves `onExchange(exchange)` with `key` and `cert` (PEM).
export function createTransport({ key, cert }, onExchange) {
  const server = http2.createSecureServer({ key, cert, allowHTTP1: true, settings: { maxConcurrentStreams: 128 } });
  const sockets = new Set();
  server.on('request', (request, response) => {
    collect(request, (body) => onExchange(new Exchange1(request, response, body)));
  });
  // Listening for requests made Node wrap HTTP/2 streams as well; the streams themselves are faster.
  server.removeAllListeners('stream');
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {});
    collect(stream, (body) => onExchange(new Exchange2(stream, headers, body)));
  });
  server.on('secureConnection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('session', (session) => session.on('error', () => {}));
  // Ends all connections, however busy.
  server.stop = () =>
    new Promise((resolve) => {
      server.close(resolve);
      for (const socket of sockets) socket.destroy();
    });
  return server;
}

// Reads a body and passes it on; null if it is too large.
function collect(stream, done) {
  const chunks = [];
  let size = 0;
  stream.on('data', (chunk) => {
    size += chunk.length;
    if (size <= LARGEST_BODY) chunks.push(chunk);
  });
  stream.on('end', () => {
    // The client has left before its request was whole: Node ends the stream all the same.
    if (stream.aborted || stream.complete === false) return;
    if (size > LARGEST_BODY) done(null);
    else if (chunks.length === 1) done(chunks[0].toString());
    else done(chunks.length === 0 ? '' : Buffer.concat(chunks).toString());
  });
}

class Exchange {
  constructor(http, method, target, headers, body) {
    const mark = target.indexOf('?');
    this.http = http;
    this.method = method;
    this.path = mark === -1 ? target : target.slice(0, mark);
    this.query = mark === -1 ? '' : target.slice(mark + 1);
    this.headers = headers;
    this.body = body;
  }

  respondJson(status, object) {
    const body = JSON.stringify(object, null, 2) + '\n';
    this.respond(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }, body);
  }
}

class Exchange1 extends Exchange {
  #request;
  #response;

  constructor(request, response, body) {
    super('1.1', request.method, request.url, request.headers, body);
    this.#request = request;
    this.#response = response;
    response.on('error', () => {});
  }

  respond(status, headers, body) {
    this.#response.writeHead(status, headers);
    this.#response.end(body);
  }

  // HTTP/1.1 has one request on a connection, so `scope` makes no difference.
  cut() {
    this.#request.socket.destroy();
  }

  truncate(status, headers, body) {
    this.#response.writeHead(status, headers);
    this.#response.write(body.slice(0, body.length / 2), () => this.cut());
  }
}

class Exchange2 extends Exchange {
  #stream;

  constructor(stream, headers, body) {
    super('2', headers[HTTP2_HEADER_METHOD], headers[HTTP2_HEADER_PATH], headers, body);
    this.#stream = stream;
  }

  respond(status, headers, body) {
    if (this.#isGone()) return;
    headers[HTTP2_HEADER_STATUS] = status;
    this.#stream.respond(headers);
    this.#stream.end(body);
  }

  // Whether the client has left: a stream of a connection that is going down is not destroyed yet, and takes no answer any more.
  #isGone() {
    return this.#stream.destroyed || this.#stream.closed || this.#stream.aborted || this.#stream.session === undefined || this.#stream.session.destroyed;
  }

  // Resets the stream with INTERNAL_ERROR; with scope 'connection', everything else on the connection goes too.
  cut(scope = 'stream') {
    if (this.#stream.destroyed) return;
    if (scope === 'connection') this.#stream.session.destroy();
    // close() would end the body first, and so seem to have sent all of it.
    else this.#stream.destroy(new Error('cut'));
  }

  truncate(status, headers, body, scope) {
    if (this.#isGone()) return;
    headers[HTTP2_HEADER_STATUS] = status;
    this.#stream.respond(headers);
    this.#stream.write(body.slice(0, body.length / 2), () => setImmediate(() => this.cut(scope)));
  }
}
