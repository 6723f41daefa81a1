/** Requests to the server of this page. */

/** What the server refused: what it expected, what it got, and what to do. */
export class ApiError extends Error {
  constructor({ expected, got, remedy, message }, status) {
    const told = expected ? `Expected ${expected}, got ${got}. ${sentence(remedy)}` : message;
    super(told || `The server answered with ${status}.`);
    this.name = "ApiError";
    this.status = status;
  }
}

function sentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
}

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new ApiError(
      { message: "The studio's server does not answer: is `smalti studio` still running?" },
      0,
    );
  }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(body, answer.status);
  return body;
}

/** Fetch JSON. */
export const get = (path) => asked(path, {});

/** Send JSON, get JSON. */
export function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return asked(path, { method: "POST", headers, body: JSON.stringify(body) });
}

/** Cancel what a path stands for, even while the page is being closed. */
export const cancel = (path) => asked(path, { method: "DELETE", keepalive: true });
