// The hub's Prometheus API. Addresses are relative, so that a proxy may serve the hub below a path.

/** What the hub said no with. `position` is {line, column} of the expression, in bytes from 1, if it told one. */
export class ApiError extends Error {
  constructor(text, kind) {
    super(text);
    this.kind = kind;
    this.position = positionIn(text);
  }
}

/** `1:5` at the start of a parse error, or `(1:5)` at the end of a warning. */
export function positionIn(text) {
  const found = /(?:^|[ "])(\d+):(\d+): parse error/.exec(text) ?? /\((\d+):(\d+)\)$/.exec(text);
  return found && { line: Number(found[1]), column: Number(found[2]) };
}

/** Posts a form and gives the whole envelope: data, warnings, infos. */
export async function post(path, form, signal) {
  return read(await reach(path, { method: 'POST', body: new URLSearchParams(form), signal }));
}

/** Gets a path with parameters, some of which may stand several times: [[name, value], ...]. */
export async function get(path, params = [], signal) {
  const query = new URLSearchParams(params).toString();
  return read(await reach(query ? `${path}?${query}` : path, { signal }));
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError(`the hub does not answer: ${error.message}`, 'network');
  }
}

async function read(response) {
  const text = await response.text();
  let envelope;
  try {
    envelope = JSON.parse(text);
  } catch {
    throw new ApiError(`the hub answered ${response.status}: ${text.slice(0, 300) || response.statusText}`, 'network');
  }
  if (envelope.status !== 'success') throw new ApiError(envelope.error ?? text.slice(0, 300), envelope.errorType);
  return envelope;
}
