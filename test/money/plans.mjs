// What may happen to an order's money, as a list of steps that makes sense: a plan. The same plan can be lived through twice.

export const PRICES = [2500, 999, 333];

// Numbers that follow from the seed (mulberry32): random(n) is a whole number from 0 below n.
export function randomOf(seed) {
  return (below) => {
    seed = (seed + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

export function shuffled(list, random) {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = random(i + 1);
    [copy[i], copy[j]] = [copy[j], copy[i]];
  }
  return copy;
}

// {quantity, price, seats, steps}. Refunds are on their way until a step settles them; each is named by its number.
export function planOf(random) {
  const quantity = 1 + random(3);
  const steps = [];
  const late = random(8) === 0;
  const stolen = late && random(2) === 0;
  const valid = new Set(Array.from({ length: quantity }, (_, i) => i + 1));
  const pending = [];
  const arrived = [];
  let refunds = 0;
  let dispute = null; // open, won, lost
  let disputes = 0;
  let dashboard = false;
  let duplicate = false;

  while (random(3) === 0) steps.push(['decline']);
  steps.push(late ? ['late', stolen] : ['pay']);
  if (!stolen) for (let i = random(7); i > 0; i--) steps.push(...next());
  for (const refund of pending) steps.push(['settle', refund.number, 'succeeded']);
  return { quantity, price: PRICES[random(PRICES.length)], seats: late ? quantity : quantity + 2, steps };

  function next() {
    const kind = random(12);
    const free = dispute === null || dispute === 'won';
    if (kind < 4 && free && valid.size > 0) {
      const tickets = shuffled([...valid], random).slice(0, 1 + random(valid.size));
      for (const ticket of tickets) valid.delete(ticket);
      const refund = { number: refunds++, tickets };
      pending.push(refund);
      return [['refund', tickets.sort()]];
    }
    if (kind < 6 && pending.length > 0) {
      const [refund] = pending.splice(random(pending.length), 1);
      if (random(3) > 0) {
        arrived.push(refund);
        return [['settle', refund.number, 'succeeded']];
      }
      // it fails, and is asked for once more
      if (!free) return [['settle', refund.number, 'failed']];
      pending.push({ number: refunds++, tickets: refund.tickets });
      return [['settle', refund.number, 'failed'], ['refund', refund.tickets]];
    }
    if (kind === 6 && !dashboard && free && valid.size > 0) {
      dashboard = true;
      return [['dashboard', 1 + random(99)]];
    }
    if (kind < 9 && dispute === null && pending.length === 0 && disputes === 0 && valid.size > 0) {
      dispute = 'open';
      disputes++;
      return [['dispute']];
    }
    if (kind < 10 && dispute === 'open') {
      dispute = random(2) === 0 ? 'won' : 'lost';
      return [['decide', dispute]];
    }
    if (kind === 9 && arrived.length > 0 && free) {
      // days after it had arrived it has not
      const [refund] = arrived.splice(random(arrived.length), 1);
      pending.push({ number: refunds++, tickets: refund.tickets });
      return [['settle', refund.number, 'failed'], ['refund', refund.tickets]];
    }
    if (kind === 10 && !duplicate && dispute === null) {
      duplicate = true;
      return [['duplicate']];
    }
    return [['again']];
  }
}
