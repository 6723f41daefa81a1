/** Jobs of drawing: started, listened to, cancelled. */

import { ApiError, cancel, post } from "./api.js";

const STREAMS = 3; // a browser opens six connections to a host, and images and requests want theirs
const EVENTS = ["queued", "progress", "image", "done", "failed", "cancelled"];
const LAST = new Set(["done", "failed", "cancelled"]);

const waiting = [];
const running = new Set();
let open = 0;

/** A job of the server: its events go to `hooks`, by name. */
export class Job {
  /**
   * @param {"sample"|"complete"} what
   * @param {object} request as the API takes it
   * @param {Object<string, (data: any) => void>} hooks noted, queued, progress, image, done, failed, cancelled, ended
   */
  constructor(what, request, hooks) {
    this.hooks = hooks;
    this.id = null;
    this.stopped = false;
    this.over = false;
    post(`/api/${what}`, { ...request, cancel_when_closed: true }).then(
      (answer) => this.begin(answer),
      (error) => this.fail(error),
    );
  }

  begin({ job, notes }) {
    this.id = job;
    this.hooks.noted?.(notes);
    if (this.stopped) cancel(this.path).catch(() => {});
    running.add(this);
    waiting.push(this);
    next();
  }

  get path() {
    return `/api/jobs/${this.id}`;
  }

  /** Stop drawing; the event `cancelled` follows. */
  cancel() {
    this.stopped = true;
    if (this.id !== null && !this.over) cancel(this.path).catch((error) => this.fail(error));
  }

  /** Listen; events are replayed from the first, so a late start loses nothing. */
  listen() {
    open += 1;
    const source = new EventSource(`${this.path}/events`);
    const close = () => {
      source.close();
      open -= 1;
      running.delete(this);
      next();
    };
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        if (this.over) return;
        if (LAST.has(name)) close();
        this.tell(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      if (this.over || source.readyState !== EventSource.CLOSED) return; // else the browser connects again
      close();
      this.fail(new ApiError({ message: "The studio's server stopped answering." }, 0));
    });
  }

  tell(name, data) {
    if (name === "failed") this.hooks.failed?.(new ApiError(data, 500));
    else this.hooks[name]?.(data);
    if (!LAST.has(name)) return;
    this.over = true;
    this.hooks.ended?.(name);
  }

  fail(error) {
    if (this.over) return;
    this.over = true;
    running.delete(this);
    this.hooks.failed?.(error);
    this.hooks.ended?.("failed");
  }
}

function next() {
  while (open < STREAMS && waiting.length) waiting.shift().listen();
}

/** Cancel all jobs: nobody is there any more to look at them. */
export function cancelAll() {
  for (const job of running) job.cancel();
}
