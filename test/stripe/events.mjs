// Events: each change of an object is told by one, which keeps the object as it then was.
import { newId } from './ids.mjs';

export const DEFAULT_API_VERSION = '2026-10-28.endive';

export class Events {
  // `webhooks` is told of every event; `apiVersion` is the one that events are rendered in.
  constructor({ clock, store, webhooks, apiVersion = DEFAULT_API_VERSION }) {
    this.clock = clock;
    this.store = store;
    this.webhooks = webhooks;
    this.apiVersion = apiVersion;
  }

  // The same for a connected account, with a store of its own.
  on(account, store) {
    return Object.create(this, { account: { value: account }, store: { value: store } });
  }

  // Tells that `object` came to be what it is, by `call` (null: of itself or from outside the API).
  // `previous` holds the members that changed, with their values before.
  emit(type, object, call, previous) {
    const event = this.store.events.add({
      id: newId.event(),
      object: 'event',
      ...(this.account !== undefined && { account: this.account }),
      api_version: this.apiVersion,
      created: this.clock.seconds(),
      data: previous === undefined ? { object } : { object, previous_attributes: previous },
      livemode: false,
      pending_webhooks: this.webhooks.wants(type) ? 1 : 0,
      request: { id: call?.requestId ?? null, idempotency_key: call?.idempotencyKey ?? null },
      type,
    });
    if (event.pending_webhooks > 0) this.webhooks.deliver(event);
    return event;
  }
}
