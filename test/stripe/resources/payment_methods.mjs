// The test cards, by the names Stripe gives them, and what each does; and what a declined card says.

const DECLINES = {
  generic_decline: 'Your card was declined.',
  do_not_honor: 'Your card was declined.',
  fraudulent: 'Your card was declined.',
  insufficient_funds: 'Your card has insufficient funds.',
  lost_card: 'Your card was declined.',
  stolen_card: 'Your card was declined.',
};

// Failures that are codes of their own and not a reason for `card_declined`.
const FAILURES = {
  expired_card: 'Your card has expired.',
  incorrect_cvc: "Your card's security code is incorrect.",
  processing_error: 'An error occurred while processing your card. Try again in a little bit.',
};

export const TEST_CARDS = {
  pm_card_visa: null,
  pm_card_mastercard: null,
  pm_card_chargeDeclined: 'generic_decline',
  pm_card_visa_chargeDeclined: 'generic_decline',
  pm_card_chargeDeclinedInsufficientFunds: 'insufficient_funds',
  pm_card_visa_chargeDeclinedInsufficientFunds: 'insufficient_funds',
  pm_card_chargeDeclinedLostCard: 'lost_card',
  pm_card_chargeDeclinedStolenCard: 'stolen_card',
  pm_card_chargeDeclinedExpiredCard: 'expired_card',
  pm_card_chargeDeclinedIncorrectCvc: 'incorrect_cvc',
  pm_card_chargeDeclinedProcessingError: 'processing_error',
};

// The {code, decline_code, message} of a decline; null if there is no such decline.
export function declineOf(code) {
  if (Object.hasOwn(FAILURES, code)) return { code, message: FAILURES[code] };
  if (code === 'card_declined') code = 'generic_decline';
  if (Object.hasOwn(DECLINES, code)) return { code: 'card_declined', decline_code: code, message: DECLINES[code] };
  return null;
}
