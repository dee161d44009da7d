// Form decoding and parameters: a form that is decoded wrongly would let a wrong encoder pass.
import assert from 'node:assert/strict';
import test from 'node:test';
import { decodeForm } from './form.mjs';
import { boolean, checkParams, clearable, integer, list, mergeMetadata, metadata, object, required, string } from './params.mjs';

// Plain objects, to compare with.
const plain = (text) => JSON.parse(JSON.stringify(decodeForm(text)));

test('nested names, lists and escapes are decoded', () => {
  assert.deepEqual(plain(''), {});
  assert.deepEqual(plain('a=1&b=two+words&c=%26%3D%25%20%C3%A9'), { a: '1', b: 'two words', c: '&=% é' });
  assert.deepEqual(plain('a[b][0]=x&a[b][1]=y'), { a: { b: { 0: 'x', 1: 'y' } } });
  assert.deepEqual(plain('a%5Bb%5D%5B0%5D=x'), { a: { b: { 0: 'x' } } });
  assert.deepEqual(plain('a[]=x&a[]=y'), { a: { 0: 'x', 1: 'y' } });
  assert.deepEqual(plain('a[][b]=1&a[][c]=2&a[][b]=3'), { a: { 0: { b: '1', c: '2' }, 1: { b: '3' } } });
  assert.deepEqual(plain('a=1&a=2&b'), { a: '2', b: '' });
});

test('names of the language are only names', () => {
  const form = decodeForm('__proto__[x]=1&constructor=2&toString=3');
  assert.equal({}.x, undefined);
  assert.deepEqual(Object.keys(form).sort(), ['__proto__', 'constructor', 'toString']);
});

test('what is no form is refused', () => {
  for (const text of ['a[b=1', 'a]=1', '=1', '[a]=1', 'a[b]c=1', 'a=%', 'a=%zz', 'a=%ff', 'a=1&a[b]=2', 'a[b]=1&a=2', 'a[b][c][d][e][f][g][h][i]=1']) {
    assert.throws(() => decodeForm(text), { status: 400 }, text);
  }
});

const schema = {
  amount: required(integer({ min: 1, max: 100 })),
  flag: boolean,
  items: list(object({ name: required(string({ max: 5 })) })),
  metadata,
  note: clearable(string()),
};
const check = (text) => checkParams(schema, decodeForm(text));
const refused = (text, fields) =>
  assert.throws(
    () => check(text),
    (error) => {
      assert.equal(error.status, 400);
      for (const name in fields) assert.equal(error.body().error[name], fields[name], `${text}: ${name}`);
      return true;
    },
  );

test('parameters are parsed by their types', () => {
  assert.deepEqual({ ...check('amount=7&flag=true&items[0][name]=a&items[1][name]=b&note=') }, {
    amount: 7,
    flag: true,
    items: [{ name: 'a' }, { name: 'b' }],
    note: null,
  });
});

test('parameters that are not right are refused as Stripe refuses them', () => {
  refused('flag=true', { code: 'parameter_missing', param: 'amount', message: 'Missing required param: amount.', type: 'invalid_request_error' });
  refused('amount=1&items[0][x]=1', { code: 'parameter_unknown', param: 'items[0][x]', message: 'Received unknown parameter: items[0][x]' });
  refused('amount=1&p=1&q=1', { code: 'parameter_unknown', param: 'p', message: 'Received unknown parameters: p, q' });
  refused('amount=1&items[0][x][y]=1', { code: 'parameter_unknown' });
  refused('amount=1&constructor=1', { code: 'parameter_unknown', param: 'constructor' });
  refused('amount=1&items[0]=x', { param: 'items[0]', message: 'Invalid object' });
  refused('amount=1&items[a][name]=x', { param: 'items', message: 'Invalid array' });
  refused('amount=1&items[0][name]=abcdef', { param: 'items[0][name]' });
  refused('amount=', { code: 'parameter_invalid_empty', param: 'amount' });
  for (const amount of ['1.5', 'x', '1e3', '0x10', '-0x1', '99999999999999999', '%201']) {
    refused(`amount=${amount}`, { code: 'parameter_invalid_integer', param: 'amount' });
  }
  refused('amount=0', { code: 'parameter_invalid_integer', message: 'This value must be greater than or equal to 1.' });
  refused('amount=101', { code: 'parameter_invalid_integer', message: 'This value must be less than or equal to 100.' });
  refused('amount=1&flag=1', { param: 'flag', message: 'Invalid boolean: 1' });
  refused(`amount=1&metadata[k]=${'x'.repeat(501)}`, { param: 'metadata[k]' });
  refused(`amount=1&metadata[${'k'.repeat(41)}]=x`, { param: 'metadata' });
});

test('metadata is merged; an empty value takes a key away, an empty whole takes all', () => {
  const before = { a: '1', b: '2' };
  assert.equal(mergeMetadata(before, undefined), before);
  assert.deepEqual(mergeMetadata(before, decodeForm('b=&c=3')), { a: '1', c: '3' });
  assert.deepEqual(mergeMetadata(before, null), {});
  assert.throws(() => mergeMetadata({}, Object.fromEntries(Array.from({ length: 51 }, (_, i) => [`k${i}`, 'x']))), { status: 400 });
});
