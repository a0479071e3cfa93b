// Asking the server. Every POST has a header that a page elsewhere cannot set.

const HEADER = { "X-Actsmith": "1" };

/** The answer to a job; an Error with the server's words where it refuses. */
export async function post(job, body) {
  return read(await send(job, body));
}

/** The file that a job makes, likewise. */
export async function file(job, body) {
  const answer = await send(job, body);
  return answer.headers.get("Content-Type") === "application/json" ? read(answer) : answer.blob();
}

async function send(job, body) {
  const binary = body instanceof ArrayBuffer;
  const headers = binary ? HEADER : { ...HEADER, "Content-Type": "application/json" };
  try {
    return await fetch(`/api/${job}`, { method: "POST", headers, body: binary ? body : JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer: start it again with `actsmith app`.");
  }
}

export async function get(name) {
  return read(await fetch(`/api/${name}`));
}

async function read(answer) {
  const found = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok || found.error) throw new Error(found.error || `the server answered ${answer.status}`);
  return found;
}

/** A function of a job's arguments that asks for the newest only: one request at a time, the last one next. */
export function newest(job, show, fail) {
  let busy = false;
  let next = null;
  return async function ask(body) {
    next = body;
    if (busy) return;
    busy = true;
    while (next !== null) {
      const asked = next;
      next = null;
      try {
        const found = await post(job, asked);
        if (next === null || job === "function") show(found, asked);
      } catch (error) {
        if (next === null) fail(error.message);
      }
    }
    busy = false;
  };
}
