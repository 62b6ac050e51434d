// What the page shows, in one place; parts of the page listen for what they draw.

const bus = new EventTarget();

export const store = {
  project: null, // as the server describes it
  recent: [],
  writer: false, // whether this page may change things
  frame: 0,
  object: 0, // id of the chosen object
  tool: "click",
  brush: 16, // diameter in pixels of the frame
  opacity: 0.5,
  mode: "overlay", // "overlay", "outline" or "black"
  labels: null, // of the frame shown, one byte a pixel
  tracking: null, // progress of the pass that runs
  loop: null, // [first, last] where a span is looped
  playing: false,
};

export const on = (name, listener) => bus.addEventListener(name, (event) => listener(event.detail));
export const emit = (name, detail) => bus.dispatchEvent(new CustomEvent(name, { detail }));

export function set(values) {
  const changed = Object.keys(values).filter((key) => store[key] !== values[key]);
  Object.assign(store, values);
  for (const key of changed) emit(key, store[key]);
}

export const canEdit = () => Boolean(store.project && store.writer && store.project.writable);
export const objectOf = (id) => store.project?.objects.find((entry) => entry.id === id);
export const byId = (id) => document.getElementById(id);
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function icon(name) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `static/icons.svg#${name}`);
  made.append(use);
  return made;
}
