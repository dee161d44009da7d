// Answers POST /rpc/NAME as PostgREST would, from the database; and can be out of reach.
import { createServer } from 'node:http';

export class Postgrest {
  calls = [];
  #server;

  constructor(server) {
    this.#server = createServer(async (request, response) => {
      const chunks = [];
      for await (const chunk of request) chunks.push(chunk);
      const [, name] = /^\/rpc\/(\w+)$/.exec(request.url) ?? [];
      this.calls.push({ name, headers: request.headers });
      let status = 200;
      let body;
      try {
        body = await server.rpc(name, JSON.parse(Buffer.concat(chunks)));
      } catch (error) {
        status = Number(/^PT(\d+)$/.exec(error.sqlstate)?.[1] ?? 500);
        body = { code: error.sqlstate, message: error.message };
      }
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    });
  }

  // Listens, at the port that it had before; resolves to its URL.
  async listen() {
    await new Promise((resolve) => this.#server.listen(this.port ?? 0, '127.0.0.1', resolve));
    this.port = this.#server.address().port;
    return `http://127.0.0.1:${this.port}`;
  }

  close() {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    return closed;
  }
}
