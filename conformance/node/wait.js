'use strict';
// Waiting with a limit, so that nothing hangs.

const SECONDS = 15;

// limit waits for a promise, but not for ever.
async function limit(what, promise, seconds = SECONDS) {
  let timer;
  try {
    return await Promise.race([promise, new Promise((_resolve, reject) => {
      timer = setTimeout(() => reject(new Error(`${what}: nothing happened for ${seconds} s`)), seconds * 1000);
    })]);
  } finally {
    clearTimeout(timer);
  }
}

// until waits for a condition.
async function until(what, condition, seconds = SECONDS) {
  for (const end = Date.now() + seconds * 1000; ;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what}: not within ${seconds} s`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

// settled gives the outcome of a promise, whatever it is.
function settled(promise) {
  return promise.then((value) => ({ value }), (error) => ({ error }));
}

module.exports = { limit, settled, until };
