// What stands around the database in a scenario: a local Stripe and who brings its webhooks, the relay, the clients' connections.
import { Relay, localStripe } from '../relay/support/relay.mjs';
import { webhookSecret } from '../relay/support/server.mjs';
import { PsqlPool } from '../stripe/psql-pool.mjs';
import { PostOffice } from './post_office.mjs';

// Clients are service_role, as edge functions are. Those bind what they send, so that the server's log has no
// arguments; psql 15 cannot, so its statements are kept out of the log.
// They lose their connections with each kill, which goes without saying.
const CLIENT = { environment: { PGOPTIONS: '-c role=service_role -c log_min_error_statement=panic' }, stderr: 'ignore' };

export class Scene {
  relays = []; // all that were started; the last one runs

  // So many connections for clients and for webhooks; `relay` is the relay's environment.
  static async set({ connections, hooks = 8, relay = {} }) {
    return new Scene(await localStripe({ webhookSecret: webhookSecret() }), connections, hooks, relay);
  }

  constructor(stripe, connections, hooks, environment) {
    this.stripe = stripe;
    this.clients = new PsqlPool(connections, 'psql', CLIENT);
    this.hooks = new PsqlPool(hooks, 'psql', CLIENT);
    this.office = new PostOffice(this.hooks, webhookSecret(), () => stripe.app.clock.seconds());
    this.environment = { DVNT_RELAY_DEBUG: '0', ...environment };
  }

  get relay() {
    return this.relays.at(-1);
  }

  // Stripe sends its webhooks, and the relay is ready.
  async open() {
    await this.office.open();
    this.stripe.app.webhooks.configure({ url: this.office.url });
    this.startRelay();
    await this.relay.until('ready');
  }

  startRelay() {
    this.relays.push(new Relay(this.stripe, this.environment));
  }

  // Kills the relay (-9) and starts another.
  async restartRelay() {
    await this.relay.kill('SIGKILL');
    this.startRelay();
  }

  async close() {
    await this.relay?.kill('SIGKILL');
    await this.office.close();
    await Promise.all([this.clients.close(), this.hooks.close()]);
    await this.stripe.stop();
  }
}
