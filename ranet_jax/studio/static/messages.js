// Messages to the user: what is wrong and what to do, until read or, where nothing is wrong, for a while.

import { byId, element } from "./store.js";

const SECONDS = 6;

export function say(text, { error = false } = {}) {
  const box = byId("messages");
  for (const other of box.children) if (other.dataset.text === text) other.remove();
  const close = element("button", { class: "quiet icon", "aria-label": "Close this message", onclick: () => note.remove() }, "×");
  const note = element("div", { class: error ? "message error" : "message", "data-text": text }, element("p", {}, text), close);
  box.append(note);
  if (!error) setTimeout(() => note.remove(), SECONDS * 1000);
}

// Runs something that talks to the server, and says what went wrong.
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    say(error.message, { error: true });
    if (error.name !== "Error") console.error(error);
    return undefined;
  }
}
