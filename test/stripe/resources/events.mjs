// /v1/events: retrieve and list; they are made in ../events.mjs.
import { invalid } from '../errors.mjs';
import { boolean, list as listOf, paging, string, timeRange } from '../params.mjs';

const listParams = {
  ...paging,
  created: timeRange,
  delivery_success: boolean,
  type: string(),
  types: listOf(string(), { max: 20 }),
};

// The types that are asked for; 'charge.*' is any that begins with 'charge.'.
function wantedTypes(events, { type, types }) {
  if (type !== undefined && types !== undefined) throw invalid('You may only specify one of these parameters: type, types.', { param: 'types' });
  if (!type?.endsWith('*')) return types ?? type;
  const start = type.slice(0, -1);
  return [...events.valuesOf('type')].filter((name) => name.startsWith(start));
}

function list(app, { params }) {
  const { events } = app.store;
  const { created, delivery_success: delivered } = params;
  return events.page(
    params,
    { type: wantedTypes(events, params), created },
    delivered === undefined ? null : (event) => delivered === (event.pending_webhooks === 0),
  );
}

export const endpoints = [
  { method: 'GET', path: '/v1/events', params: listParams, run: list },
  { method: 'GET', path: '/v1/events/:id', run: (app, call) => app.store.events.need(call.id) },
];
