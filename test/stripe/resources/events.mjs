// /v1/events: retrieve and list; they are made in ../events.mjs.
import { boolean, list as listOf, paging, string, timeRange } from '../params.mjs';

const listParams = {
  ...paging,
  created: timeRange,
  delivery_success: boolean,
  type: string(),
  types: listOf(string(), { max: 20 }),
};

// 'charge.*' is any type that begins with 'charge.'.
const fits = (wanted, type) => wanted === type || (wanted.endsWith('*') && type.startsWith(wanted.slice(0, -1)));

function list(app, { params }) {
  const { created, delivery_success: delivered, type, types } = params;
  return app.store.events.page(
    params,
    (event) =>
      (type === undefined || fits(type, event.type)) &&
      (types === undefined || types.includes(event.type)) &&
      (created === undefined || created(event.created)) &&
      (delivered === undefined || delivered === (event.pending_webhooks === 0)),
  );
}

export const endpoints = [
  { method: 'GET', path: '/v1/events', params: listParams, run: list },
  { method: 'GET', path: '/v1/events/:id', run: (app, call) => app.store.events.need(call.id) },
];
