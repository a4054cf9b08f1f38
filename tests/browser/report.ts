// How the page says what it saw: to the server that it came from, see website.py.

export type Checks = Record<string, () => Promise<void>>;

/** What the page is told when it starts. */
export type Settings = { server: string; key: string; allowed: boolean };

export async function settings(): Promise<Settings> {
  return (await fetch("settings.json")).json();
}

/** Runs checks in their order, reports each, and says at last that there are no more. */
export async function report(checks: Checks): Promise<void> {
  for (const [name, check] of Object.entries(checks)) {
    const failure = await check().then(
      () => null,
      (error: unknown) => (error instanceof Error ? (error.stack ?? error.message) : String(error)),
    );
    await control("POST", "report", { name, failure });
  }
  await control("POST", "done", Object.keys(checks).length);
}

/** Talks with the scripted model server, which is also the page's own. */
export async function control(method: string, path: string, body?: unknown): Promise<void> {
  const answer = await fetch(path, { method, body: body === undefined ? null : JSON.stringify(body) });
  equal(answer.status, 204, `${method} ${path}`);
}

export function equal(actual: unknown, expected: unknown, what = "value"): void {
  const [left, right] = [actual, expected].map((value) => JSON.stringify(value));
  if (left !== right) {
    throw new Error(`${what}: ${left} came, not ${right}`);
  }
}

export function matches(actual: unknown, pattern: RegExp, what = "value"): void {
  if (typeof actual !== "string" || !pattern.test(actual)) {
    throw new Error(`${what}: ${JSON.stringify(actual)} is not ${pattern}`);
  }
}

/** Expects a promise to be rejected, and returns why it was. */
export async function rejected(promise: Promise<unknown>): Promise<unknown> {
  const value = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ("error" in value) {
    return value.error;
  }
  throw new Error(`nothing failed: ${JSON.stringify(value.value)} came`);
}
