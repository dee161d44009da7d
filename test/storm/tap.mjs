// Results as TAP.
let number = 0;
let failures = 0;

// A figure or a table, as a comment.
export const say = (text) => console.log(`# ${text}`);

// Passes if there is nothing wrong: `problems` is what is.
export function none(name, problems) {
  const shown = problems.slice(0, 20);
  console.log(`${problems.length === 0 ? 'ok' : 'not ok'} ${++number} - ${name}`);
  for (const problem of shown) console.log(`#   ${typeof problem === 'string' ? problem : JSON.stringify(problem)}`);
  if (problems.length > shown.length) console.log(`#   and ${problems.length - shown.length} more`);
  failures += problems.length > 0;
}

export const is = (name, have, want) => none(name, have === want ? [] : [`have ${have}, want ${want}`]);

export const ok = (name, condition, problem = 'it is not so') => none(name, condition ? [] : [problem]);

export function done() {
  console.log(`1..${number}`);
  process.exitCode = failures > 0 ? 1 : 0;
}
