// Finds the endpoint for a method and a path; a segment `:id` takes anything.

export class Router {
  #root = new Map();

  constructor(endpoints) {
    for (const endpoint of endpoints) {
      let node = this.#root;
      for (const segment of [endpoint.method, ...segments(endpoint.path)]) {
        const name = segment.startsWith(':') ? ':' : segment;
        if (!node.has(name)) node.set(name, new Map());
        node = node.get(name);
      }
      node.endpoint = endpoint;
    }
  }

  // {endpoint, ids} or null; `ids` are what stood in the places of `:id`.
  find(method, path) {
    let node = this.#root.get(method);
    const ids = [];
    for (const segment of segments(path)) {
      if (node === undefined) return null;
      let next = node.get(segment);
      if (next === undefined) {
        next = node.get(':');
        ids.push(segment);
      }
      node = next;
    }
    return node?.endpoint === undefined ? null : { endpoint: node.endpoint, ids };
  }
}

const segments = (path) => path.slice(1).split('/');
