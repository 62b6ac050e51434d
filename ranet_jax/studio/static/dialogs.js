// Windows over the page: questions, export, help, the first tour, and opening.

import { exportAddress, sendJson } from "./api.js";
import { settled } from "./edits.js";
import { attempt } from "./messages.js";
import { byId, canEdit, element, emit, on, store } from "./store.js";
import { TOOLS } from "./tools.js";

function dialog(title, ...content) {
  const close = element("button", { class: "quiet icon close", "aria-label": "Close", onclick: () => made.close() }, "×");
  const made = element("dialog", { "aria-label": title }, element("header", {}, element("h2", {}, title), close), ...content);
  made.addEventListener("close", () => made.remove());
  made.addEventListener("click", (event) => event.target === made && made.close());
  byId("dialogs").append(made);
  made.showModal();
  return made;
}

export const isOpen = () => Boolean(document.querySelector("dialog[open]"));

export function ask(title, text, yes) {
  return new Promise((resolve) => {
    let answer = false;
    const made = dialog(title, element("p", {}, text), element("footer", {},
      element("button", { onclick: () => made.close() }, "Keep"),
      element("button", { class: "danger", onclick: () => { answer = true; made.close(); } }, yes)));
    made.addEventListener("close", () => resolve(answer));
  });
}

const EXPORTS = [
  ["masks", "Masks", "One palette PNG a frame in a zip, as the command “ranet-jax segment” writes them"],
  ["overlay", "Overlay video", "MP4 (H.264) with the objects drawn in"],
  ["coco", "COCO", "Run-length masks as COCO's instances JSON"],
  ["gif", "GIF", "The span as a picture that moves, at most 480 pixels wide"],
  ["webm", "WebM", "The span as a VP9 video"],
  ["project", "Project", "The whole folder in a zip: marks, results, and an uploaded video"],
];

export function openExport() {
  if (!store.project || !canEdit()) return;
  const { frames } = store.project;
  const [from, to] = store.loop ?? [0, frames - 1];
  const number = (id, label, value) => element("label", { for: id }, `${label} `, element("input", { id, type: "number", min: "1", max: String(frames), value: String(value + 1) }));
  const kinds = EXPORTS.map(([kind, name, text], at) => element("label", { class: "kind" },
    element("input", { type: "radio", name: "kind", value: kind, ...(at ? {} : { checked: true }) }),
    element("span", {}, element("b", {}, name), element("small", {}, text))));
  const status = element("p", { role: "status", id: "export-status" });
  const go = element("button", { class: "primary", id: "export-go", onclick: run }, "Export");
  const made = dialog("Export", element("fieldset", {}, element("legend", {}, "What"), ...kinds),
    element("div", { class: "span" }, number("export-from", "Frames", from), number("export-to", "to", to)), status, element("footer", {}, go));

  async function run() {
    go.disabled = true;
    status.textContent = "Writing…";
    await settled();
    const kind = made.querySelector("input[name=kind]:checked").value;
    const start = Number(byId("export-from").value) - 1, end = Number(byId("export-to").value) - 1;
    const done = await attempt(() => sendJson("POST", "api/export", { kind, start, end }));
    go.disabled = false;
    status.textContent = "";
    if (!done) return;
    const link = element("a", { href: exportAddress(done.name), download: done.name, id: "export-link" }, `Save ${done.name}`);
    status.append("Ready. ", link, ` It is also in ${store.project.folder}/exports.`);
    link.click();
  }
}

on("message", (message) => {
  const status = byId("export-status");
  if (message.type === "exporting" && status && !status.querySelector("a")) status.textContent = `Writing… ${message.done} of ${message.total}`;
});

const KEYS = [
  ["Left, Right", "one frame back, on (with Shift ten)"], ["Home, End", "first, last frame"], ["Comma, Period", "previous, next marked frame"],
  ["P", "play or pause"], ["I, U, L", "loop from here, to here; on or off"],
  ["N", "add an object"], ["1 to 9, Tab", "choose an object"], ["[ and ]", "smaller, larger brush"],
  ["Ctrl+Z, Ctrl+Shift+Z", "undo, redo"], ["Enter, Backspace", "close the polygon, take a corner back"],
  ["Alt + arrows, Alt + Enter, Alt + Backspace", "in the picture: move a cross, click there, click “not the object”"],
  ["T, Shift+T", "track forward, backward"], ["Esc", "stop tracking, or leave what is half drawn"],
  ["Space + drag, wheel, two fingers", "move and zoom"], ["+, -, 0", "zoom in, out, fit"],
  ["V, M", "overlay on or off, way of drawing"], ["O, X, ?", "open, export, this help"],
];

export function openHelp() {
  const rows = [...TOOLS.map((tool) => [tool.key.toUpperCase(), `${tool.label}: ${tool.hint}`]), ...KEYS];
  dialog("Keys", element("table", { class: "keys" }, element("tbody", {}, ...rows.map(([keys, text]) =>
    element("tr", {}, element("th", { scope: "row" }, ...keys.split(", ").flatMap((key, k) => (k ? [", ", element("kbd", {}, key)] : [element("kbd", {}, key)]))), element("td", {}, text))))),
  element("footer", {}, element("button", { onclick: (event) => { event.target.closest("dialog").close(); openTour(); } }, "Show the tour")));
}

const STEPS = [
  ["Mark", "Add an object, then click on it. More clicks make the mask better: with Alt, the right button or a long press they say what is not the object. A box, a brush, a polygon and a fill are there, too."],
  ["Track", "“Track forward” carries the masks through the video. They appear as they are made; stop at any moment."],
  ["Look", "The strips under the picture show every object's area, and how sure the tracker is. A gap is where it was lost. Play with P, step with the arrows."],
  ["Correct and take away", "Mend the mask in the first frame that is wrong, and track again from there: that frame is now a reference, too. Then export. All is saved as you work."],
];

export function openTour() {
  let at = 0;
  const text = element("p", { class: "tour-text", "aria-live": "polite" }), title = element("h3", {}), count = element("span", { class: "count" });
  const back = element("button", { onclick: () => turn(-1) }, "Back"), next = element("button", { class: "primary", id: "tour-next", onclick: () => turn(1) });
  const made = dialog("Four steps", title, text, element("footer", {}, count, back, next));
  made.classList.add("tour");
  function turn(by) {
    at += by;
    if (at >= STEPS.length) return made.close();
    title.textContent = `${at + 1}. ${STEPS[at][0]}`;
    text.textContent = STEPS[at][1];
    count.textContent = `${at + 1} of ${STEPS.length}`;
    back.disabled = at === 0;
    next.textContent = at === STEPS.length - 1 ? "Start" : "Next";
    return next.focus();
  }
  made.addEventListener("close", () => sendJson("POST", "api/tour").catch(() => {}));
  turn(0);
}

export function openOpener() {
  const input = element("input", { type: "file", accept: "video/*,.mp4,.mov,.avi,.mkv,.webm", id: "video-file", class: "file", onchange: ({ target }) => { made.close(); emit("files", [...target.files]); } });
  const recent = store.recent.map(({ id, name, place }) => element("li", {}, element("button", { class: "recent", onclick: () => { made.close(); emit("open-recent", id); } }, element("b", {}, name), element("small", {}, place))));
  const made = dialog("Open", element("p", {}, "Drop a video anywhere on the page, or choose one. It is copied into a project of its own; a mask (PNG) that is dropped goes to the frame you see."),
    element("label", { class: "button primary", for: "video-file" }, "Choose a video"), input,
    ...(recent.length ? [element("h3", {}, "Recently used"), element("ul", { class: "recents" }, ...recent)] : []));
}

byId("export-button").onclick = openExport;
byId("help-button").onclick = openHelp;
byId("open-button").onclick = openOpener;
