// Asks the admin API, one request after the other: the server answers few of them at one time.

const SECONDS = 8;
const RETRY_MS = 1000;

let token = "";
let before = Promise.resolve();
let silentSince = null;

/** A request that was not answered as asked: `status` of HTTP, 0 without an answer; the server's words. */
export class Refused extends Error {
  constructor(status, text, expected = "") {
    super(text);
    this.status = status;
    this.expected = expected;
  }

  get words() {
    return this.expected ? `${this.message}. Expected: ${this.expected}` : this.message;
  }
}

/** Since when the server does not answer, a Date; null while it does. */
export const silence = () => silentSince;

/** Keep `text` as the token until the page is closed: in memory only, so that no other page at this address gets it. */
export function keepToken(text) {
  token = text.trim();
}

export const hasToken = () => token !== "";

const headers = (more) => (token ? { ...more, Authorization: `Bearer ${token}` } : more);

function answered(does) {
  silentSince = does ? null : (silentSince ?? new Date());
}

async function send(path, options) {
  let answer;
  let text;
  try {
    answer = await fetch(`api/v1${path}`, { ...options, cache: "no-store", signal: AbortSignal.timeout(SECONDS * 1000) });
    text = await answer.text();
  } catch (error) {
    answered(false);
    throw new Refused(0, `the server does not answer (${error.message})`);
  }
  answered(true);
  let found = null;
  try {
    found = JSON.parse(text);
  } catch {
    found = null;
  }
  if (answer.ok && found) return found;
  throw new Refused(answer.status, found?.error ?? text.trim().slice(0, 300), found?.expected);
}

async function patiently(path, options) {
  try {
    return await send(path, options);
  } catch (error) {
    const reads = !options.method;
    if (!reads || error.status !== 503) throw error;
    await new Promise((done) => setTimeout(done, RETRY_MS));
    return send(path, options);
  }
}

function queue(path, options) {
  const found = before.then(() => patiently(path, options));
  before = found.catch(() => null);
  return found;
}

/** What `path` below /api/v1 answers; `parameters` are an object, whose arrays stand for several of one name. */
export function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== "" && one != null) query.append(name, one);
  }
  return queue(query.size ? `${path}?${query}` : path, { headers: headers({}) });
}

/** What the server answers when `body` is sent to `path`. */
export const post = (path, body) =>
  queue(path, { method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body) });

/** What the server answers when `path` is deleted. */
export const remove = (path) => queue(path, { method: "DELETE", headers: headers({}) });

/** Call `hear(kind, row)` for each event, until `signal` aborts; connects again where a stream ends. */
export async function listen(hear, signal) {
  let last = "";
  while (!signal.aborted) {
    try {
      const more = { Accept: "text/event-stream", ...(last ? { "Last-Event-ID": last } : {}) };
      const answer = await fetch("api/v1/events", { headers: headers(more), signal });
      if (answer.ok) last = await read(answer.body, hear, last);
    } catch {
      // The polls say that the server does not answer.
    }
    await new Promise((done) => setTimeout(done, RETRY_MS));
  }
}

async function read(body, hear, last) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let id = last;
  let waiting = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return id;
      const whole = (waiting + value).split("\n\n");
      waiting = whole.pop();
      for (const text of whole) {
        const fields = new Map(text.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
        if (!fields.has("data")) continue;
        id = fields.get("id") ?? id;
        hear(fields.get("event"), JSON.parse(fields.get("data")));
      }
    }
  } catch {
    return id;
  }
}
