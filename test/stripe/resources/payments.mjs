// Payments: what a transfer is on the account that it went to. A charge of its own (py_), made and refunded (pyr_) by the platform.
import { newId } from '../ids.mjs';
import { applicationFee } from '../ledger.mjs';

const NO_ADDRESS = { city: null, country: null, line1: null, line2: null, postal_code: null, state: null };

// Books what a transfer brought; `fee` is the application fee that it leaves there, {id, amount} or null.
export function addPayment(to, { availableOn, fee, id, transfer }) {
  const { amount, currency } = transfer;
  const entry = to.ledger.post({
    amount,
    availableOn,
    currency,
    fees: fee === null ? [] : [applicationFee(fee.amount, currency)],
    source: id,
    type: 'payment',
  });
  to.elsewhere.set(id, to);
  return to.store.charges.add({
    id,
    object: 'charge',
    amount,
    amount_captured: amount,
    amount_refunded: 0,
    application: 'ca_local',
    application_fee: fee?.id ?? null,
    application_fee_amount: fee?.amount ?? null,
    balance_transaction: entry.id,
    billing_details: { address: NO_ADDRESS, email: null, name: null, phone: null, tax_id: null },
    calculated_statement_descriptor: null,
    captured: true,
    created: to.clock.seconds(),
    currency,
    customer: null,
    description: null,
    disputed: false,
    failure_balance_transaction: null,
    failure_code: null,
    failure_message: null,
    fraud_details: {},
    livemode: false,
    metadata: {},
    on_behalf_of: null,
    outcome: null,
    paid: true,
    payment_intent: null,
    payment_method: null,
    payment_method_details: { stripe_account: {}, type: 'stripe_account' },
    radar_options: {},
    receipt_email: null,
    receipt_number: null,
    receipt_url: null,
    refunded: false,
    review: null,
    shipping: null,
    source: null,
    source_transfer: transfer.id,
    statement_descriptor: null,
    statement_descriptor_suffix: null,
    status: 'succeeded',
    transfer_data: null,
    transfer_group: transfer.transfer_group,
  });
}

// Takes `amount` of a payment back, `feeBack` of it from its application fee.
export function refundPayment(to, payment, { amount, feeBack, reversal }) {
  const { currency } = payment;
  const id = newId.paymentRefund();
  const created = to.clock.seconds();
  const entry = to.ledger.post({
    amount: -amount,
    availableOn: to.store.balance_transactions.get(payment.balance_transaction).available_on,
    currency,
    description: 'REFUND FOR PAYMENT',
    fees: [applicationFee(-feeBack, currency)],
    source: id,
    type: 'payment_refund',
  });
  to.elsewhere.set(id, to);
  const refunded = payment.amount_refunded + amount;
  to.store.charges.put({ ...payment, amount_refunded: refunded, refunded: refunded === payment.amount });
  return to.store.refunds.add({
    id,
    object: 'refund',
    amount,
    balance_transaction: entry.id,
    charge: payment.id,
    created,
    currency,
    customer: null,
    customer_account: null,
    metadata: {},
    payment_intent: null,
    payment_method: null,
    reason: null,
    receipt_number: null,
    source_transfer_reversal: reversal,
    status: 'succeeded',
    transfer_reversal: null,
  });
}
