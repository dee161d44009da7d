export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Waits for a condition, which may be asynchronous; its first true value is the result.
export async function until(condition, what, timeout = 15000) {
  const end = performance.now() + timeout;
  for (;;) {
    const value = await condition();
    if (value) return value;
    if (performance.now() > end) throw new Error(`not within ${timeout} ms: ${what}`);
    await pause(5);
  }
}
