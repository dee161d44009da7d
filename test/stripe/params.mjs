// Parameters: what an endpoint takes, and the refusals Stripe gives for what it does not.
// A type is {parse(value, name), required?, clearable?}; a schema is an object of types.
// Only parameters that this stand-in acts on are known; all others are refused as unknown.
import { invalid, missing } from './errors.mjs';

const shown = (name, part) => (name === '' ? part : `${name}[${part}]`);

// Checks `form` (from decodeForm) against `schema`; returns the parsed values of what was given.
export function checkParams(schema, form, name = '') {
  const unknown = [];
  for (const part in form) if (!Object.hasOwn(schema, part)) unknown.push(shown(name, part));
  if (unknown.length > 0) {
    throw invalid(`Received unknown parameter${unknown.length > 1 ? 's' : ''}: ${unknown.join(', ')}`, {
      code: 'parameter_unknown',
      param: unknown[0],
    });
  }
  const params = {};
  for (const part in schema) {
    const type = schema[part];
    const value = form[part];
    if (value === undefined) {
      if (type.required) throw missing(shown(name, part));
    } else if (value === '') {
      if (!type.clearable) throw emptyValue(shown(name, part));
      params[part] = null;
    } else {
      params[part] = type.parse(value, shown(name, part));
    }
  }
  return params;
}

const emptyValue = (name) =>
  invalid(
    `You passed an empty string for '${name}'. We assume empty values are an attempt to unset a parameter; ` +
      `however '${name}' cannot be unset. You should remove '${name}' from your request or supply a non-empty value.`,
    { code: 'parameter_invalid_empty', param: name },
  );

export const required = (type) => ({ ...type, required: true });

// May be given as an empty string, which reads as null.
export const clearable = (type) => ({ ...type, clearable: true });

export const string = ({ max = 5000 } = {}) => ({
  parse(value, name) {
    if (typeof value !== 'string') throw invalid(`Invalid string: ${JSON.stringify(value)}`, { param: name });
    if (value.length > max) {
      throw invalid(`Invalid string: ${value.slice(0, 12)}…; must be at most ${max} characters`, { param: name });
    }
    return value;
  },
});

export const integer = ({ min = Number.MIN_SAFE_INTEGER, max = Number.MAX_SAFE_INTEGER } = {}) => ({
  parse(value, name) {
    const fields = { code: 'parameter_invalid_integer', param: name };
    if (typeof value !== 'string' || !/^[+-]?\d{1,15}$/.test(value)) {
      throw invalid(`Invalid integer: ${typeof value === 'string' ? value : JSON.stringify(value)}`, fields);
    }
    const number = Number(value);
    if (number < min) throw invalid(`This value must be greater than or equal to ${min}.`, fields);
    if (number > max) throw invalid(`This value must be less than or equal to ${max}.`, fields);
    return number;
  },
});

export const boolean = {
  parse(value, name) {
    if (value === 'true') return true;
    if (value === 'false') return false;
    throw invalid(`Invalid boolean: ${typeof value === 'string' ? value : JSON.stringify(value)}`, { param: name });
  },
};

export const oneOf = (...values) => ({
  parse(value, name) {
    if (values.includes(value)) return value;
    throw invalid(`Invalid ${name}: must be one of ${values.join(', ')}`, { param: name });
  },
});

export const email = {
  parse(value, name) {
    const text = string({ max: 512 }).parse(value, name);
    if (/^[^@\s]+@[^@\s]+$/.test(text)) return text;
    throw invalid(`Invalid email address: ${text}`, { code: 'email_invalid', param: name });
  },
};

export const url = {
  parse(value, name) {
    const text = string().parse(value, name);
    if (/^[a-z][a-z0-9+.-]*:\/\/./i.test(text)) return text;
    throw invalid('Not a valid URL', { code: 'url_invalid', param: name });
  },
};

// Stripe's presentment currencies.
const CURRENCIES = new Set(
  ('usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf ' +
    'clp cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gnf gtq gyd hkd hnl htg huf idr ils ' +
    'inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur mvr mwk ' +
    'mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr sek sgd shp ' +
    'sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx uyu uzs vnd vuv wst xaf xcd xof xpf yer zar zmw')
    .split(' '),
);

export const currency = {
  parse(value, name) {
    const text = string().parse(value, name).toLowerCase();
    if (CURRENCIES.has(text)) return text;
    throw invalid(`Invalid currency: ${text}. Stripe currently supports these currencies: ${[...CURRENCIES].join(', ')}`, {
      param: name,
    });
  },
};

export const object = (schema) => ({
  parse(value, name) {
    if (typeof value !== 'object') throw invalid('Invalid object', { param: name });
    return checkParams(schema, value, name);
  },
});

// `a[]=x` or `a[0]=x`
export const list = (type, { max = 100 } = {}) => ({
  parse(value, name) {
    if (typeof value !== 'object') throw invalid('Invalid array', { param: name });
    const keys = Object.keys(value);
    if (!keys.every((key) => /^\d+$/.test(key))) throw invalid('Invalid array', { param: name });
    if (keys.length > max) throw invalid(`Array too long: maximum ${max}`, { param: name });
    return keys.map((key) => {
      if (value[key] === '') throw emptyValue(shown(name, key));
      return type.parse(value[key], shown(name, key));
    });
  },
});

// Keys and strings; an empty value takes a key away, an empty whole takes all away (null).
export const metadata = clearable({
  parse(value, name) {
    if (typeof value !== 'object') throw invalid('Invalid object', { param: name });
    for (const key in value) {
      const text = value[key];
      if (typeof text !== 'string') throw invalid(`Invalid string: ${JSON.stringify(text)}`, { param: shown(name, key) });
      if (key.length > 40) throw invalid(`Metadata keys can have up to 40 characters: ${key}`, { param: name });
      if (text.length > 500) {
        throw invalid(`Metadata values can have up to 500 characters, but you passed in a value that is ${text.length} characters. Invalid value: ${text}`, {
          param: shown(name, key),
        });
      }
    }
    return value;
  },
});

// What an object's metadata is after `given` was applied.
export function mergeMetadata(before, given) {
  if (given === undefined) return before;
  if (given === null) return {};
  const merged = { ...before };
  for (const key in given) {
    if (given[key] === '') delete merged[key];
    else merged[key] = given[key];
  }
  if (Object.keys(merged).length > 50) throw invalid('Metadata can have up to 50 keys.', { param: 'metadata' });
  return merged;
}

// A unix time, or a range {gt, gte, lt, lte}; parses to a test, which has its bounds as `least` and `most`.
export const timeRange = {
  parse(value, name) {
    const time = integer();
    if (typeof value === 'string') {
      const exact = time.parse(value, name);
      return within(exact, exact);
    }
    const { gt = -Infinity, gte = -Infinity, lt = Infinity, lte = Infinity } = checkParams(
      { gt: time, gte: time, lt: time, lte: time },
      value,
      name,
    );
    return within(Math.max(gt + 1, gte), Math.min(lt - 1, lte));
  },
};

const within = (least, most) => Object.assign((at) => at >= least && at <= most, { least, most });

// Every endpoint takes these …
export const common = { expand: list(string(), { max: 20 }) };

// … and every list these.
export const paging = {
  ...common,
  limit: integer({ min: 1, max: 100 }),
  starting_after: string(),
  ending_before: string(),
};
