// What the pointer does on the picture.

import { click as askClick, prepareClicks } from "./api.js";
import { commit, hold, paintable, ready } from "./edits.js";
import { attempt, say } from "./messages.js";
import { fillArea, paintLine, paintPolygon, replaceObject } from "./painting.js";
import { byId, canEdit, clamp, element, emit, icon, objectOf, on, set, store } from "./store.js";
import { changed, inside, move, redraw, setExtra, toFrame, zoom } from "./view.js";

export const TOOLS = [
  { name: "click", key: "c", label: "Click", hint: "Click on the object; Alt, right button or a long press: not the object" },
  { name: "box", key: "r", label: "Box", hint: "Drag a box around the object" },
  { name: "brush", key: "b", label: "Brush", hint: "Paint; [ and ] change the size" },
  { name: "eraser", key: "e", label: "Eraser", hint: "Erase the chosen object; [ and ] change the size" },
  { name: "polygon", key: "g", label: "Polygon", hint: "Click corners; Enter or the first corner closes, Backspace takes one back" },
  { name: "fill", key: "f", label: "Fill", hint: "Click in a hole or an object: the area becomes the chosen object" },
  { name: "pan", key: "h", label: "Move", hint: "Drag to move the picture; the wheel or two fingers zoom" },
];

const canvas = byId("stage");
const pointers = new Map();
let stroke = null; // {before, last} while painting
let corners = []; // of the polygon
let box = null; // [x0, y0, x1, y1] while dragging
let hover = null;
let panning = false;
let spaceHeld = false;
let pinch = null;
let longPress = 0;
// Clicks on one object in one frame: what the mask is grown from, and what it was before the first.
let clicks = { index: -1, object: 0, session: 0, positives: [], negatives: [], box: null, trusted: false };
let asking = false;

const copyClicks = () => ({ ...clicks, positives: [...clicks.positives], negatives: [...clicks.negatives] });
const freshClicks = () => ({
  index: store.frame, object: store.object, session: Date.now(), positives: [], negatives: [], box: null,
  trusted: store.labels?.includes(store.object) ?? false, // a mask that is not from these clicks
});

export function choose(name) {
  if (name !== "polygon") corners = [];
  set({ tool: name });
  byId("hint").textContent = TOOLS.find((tool) => tool.name === name).hint;
  for (const button of byId("tools").children) button.setAttribute("aria-pressed", String(button.dataset.tool === name));
  canvas.dataset.tool = name;
  if ((name === "click" || name === "box") && store.project) warm();
  redraw();
}

let warmed = -1;
async function warm() {
  const index = store.frame;
  if (warmed === index || !canEdit() || store.playing || store.tracking) return;
  warmed = index;
  try {
    await prepareClicks(index);
  } catch { /* the click itself will say */ }
}

export function buildToolbar() {
  byId("tools").append(...TOOLS.map((tool) => element("button", {
    "data-tool": tool.name, "aria-pressed": "false", "aria-label": tool.label, title: `${tool.label} (${tool.key.toUpperCase()}): ${tool.hint}`,
    onclick: () => choose(tool.name),
  }, icon(tool.name), element("span", {}, tool.label))));
  choose("click");
}

// Grows the object from all clicks so far and this one.
export function clickAt(point, positive, dragged = null) {
  if (asking || !ready()) return;
  asking = true;
  canvas.classList.add("busy");
  hold(grow(point, positive, dragged).finally(() => {
    asking = false;
    canvas.classList.remove("busy");
    redraw();
  }));
}

async function grow([x, y], positive, dragged) {
  await attempt(async () => {
    if (clicks.index !== store.frame || clicks.object !== store.object) clicks = freshClicks();
    const clicksBefore = copyClicks();
    const next = copyClicks();
    if (dragged) next.box = dragged;
    else (positive ? next.positives : next.negatives).push([x, y]);
    if (!next.positives.length && !next.box && !store.labels.includes(store.object)) {
      say("The first click has to be on the object.");
      return;
    }
    const index = store.frame, id = store.object;
    const { positives, negatives, box: around, trusted } = next;
    const mask = await askClick({ frame: index, object: id, positives, negatives, box: around, trusted });
    if (store.frame !== index) return;
    const before = store.labels.slice();
    replaceObject(store.labels, mask, id, paintable());
    clicks = next;
    if (!commit(before, { clicks: next, clicksBefore, session: next.session })) say("This click changes nothing.");
  });
}

on("clicks", ({ points }) => {
  clicks = points ? { ...points } : { ...freshClicks(), index: -1 };
  redraw();
});

function startStroke(point) {
  if (!ready()) return;
  stroke = { before: store.labels.slice(), last: point };
  continueStroke(point);
}

function continueStroke(point) {
  const { width, height } = store.project;
  const open = paintable();
  if (store.tool === "brush") paintLine(store.labels, width, height, stroke.last, point, store.brush, store.object, open);
  else {
    const own = new Uint8Array(256);
    own[store.object] = 1;
    paintLine(store.labels, width, height, stroke.last, point, store.brush, 0, own);
  }
  stroke.last = point;
  changed();
}

function endStroke() {
  if (!stroke) return;
  const { before } = stroke;
  stroke = null;
  commit(before);
}

export function closePolygon() {
  if (corners.length < 3) return false;
  if (ready()) {
    const before = store.labels.slice();
    paintPolygon(store.labels, store.project.width, store.project.height, corners, store.object, paintable());
    commit(before);
  }
  corners = [];
  redraw();
  return true;
}

export function dropCorner() {
  if (!corners.length) return false;
  corners.pop();
  redraw();
  return true;
}

// Leaves whatever is half done; whether there was anything.
export function abandon() {
  const busy = corners.length > 0 || box !== null || stroke !== null;
  if (stroke) store.labels = stroke.before;
  corners = [];
  box = null;
  stroke = null;
  changed();
  return busy;
}

export function holdSpace(held) {
  spaceHeld = held;
  canvas.classList.toggle("panning", held);
}

function startPinch() {
  abandon();
  const [a, b] = [...pointers.values()];
  pinch = { distance: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2 };
}

function continuePinch() {
  const [a, b] = [...pointers.values()];
  const distance = Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY);
  const x = (a.clientX + b.clientX) / 2, y = (a.clientY + b.clientY) / 2;
  const area = canvas.getBoundingClientRect();
  move(x - pinch.x, y - pinch.y);
  zoom(distance / Math.max(1, pinch.distance), (x - area.left) * devicePixelRatio, (y - area.top) * devicePixelRatio);
  pinch = { distance, x, y };
}

canvas.addEventListener("contextmenu", (event) => event.preventDefault());

canvas.addEventListener("pointerdown", (event) => {
  if (!store.project || !store.labels) return;
  canvas.focus({ preventScroll: true });
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, event);
  if (pointers.size === 2) {
    clearTimeout(longPress);
    startPinch();
    return;
  }
  if (pointers.size > 2) return;
  const point = toFrame(event);
  if (spaceHeld || event.button === 1 || store.tool === "pan") {
    panning = true;
    canvas.classList.add("panning");
    return;
  }
  if (store.playing) emit("pause");
  const positive = !(event.altKey || event.button === 2);
  if (store.tool === "brush" || store.tool === "eraser") startStroke(point);
  else if (!inside(point)) return;
  else if (store.tool === "click") startClick(event, point, positive);
  else if (store.tool === "box") box = ready() ? [...point, ...point] : null;
  else if (store.tool === "polygon") addCorner(point);
  else if (store.tool === "fill" && ready()) {
    const before = store.labels.slice();
    fillArea(store.labels, store.project.width, store.project.height, point, store.object, paintable());
    commit(before);
  }
});

let pressed = null;
function startClick(event, point, positive) {
  if (event.pointerType !== "touch") {
    clickAt(point, positive);
    return;
  }
  // A finger has no second button: what is held for half a second is not the object.
  pressed = { point };
  longPress = setTimeout(() => {
    if (pressed) clickAt(pressed.point, false);
    pressed = null;
  }, 500);
}

function addCorner(point) {
  if (!corners.length && !ready()) return;
  const near = 10 / (scaleOf() || 1);
  if (corners.length >= 3 && Math.hypot(point[0] - corners[0][0], point[1] - corners[0][1]) < near) closePolygon();
  else corners.push(point);
  redraw();
}

const scaleOf = () => {
  const area = canvas.getBoundingClientRect();
  const [x0] = toFrame({ clientX: area.left, clientY: area.top });
  const [x1] = toFrame({ clientX: area.left + 100, clientY: area.top });
  return 100 / (x1 - x0);
};

canvas.addEventListener("pointermove", (event) => {
  const before = pointers.get(event.pointerId);
  if (before) pointers.set(event.pointerId, event);
  if (pinch && pointers.size >= 2) return continuePinch();
  if (panning && before) return move(event.clientX - before.clientX, event.clientY - before.clientY);
  hover = toFrame(event);
  if (stroke) for (const each of event.getCoalescedEvents?.() ?? [event]) continueStroke(toFrame(each));
  if (box) box = [box[0], box[1], ...hover];
  if (pressed && Math.hypot(hover[0] - pressed.point[0], hover[1] - pressed.point[1]) > 12 / scaleOf()) {
    clearTimeout(longPress);
    pressed = null;
  }
  redraw();
});

function release(event) {
  pointers.delete(event.pointerId);
  if (pointers.size < 2) pinch = null;
  if (panning && !pointers.size) {
    panning = false;
    canvas.classList.toggle("panning", spaceHeld);
  }
  clearTimeout(longPress);
  if (pressed && event.type === "pointerup") clickAt(pressed.point, true);
  pressed = null;
  endStroke();
  if (box) endBox();
}

function endBox() {
  const { width, height } = store.project;
  const [x0, y0, x1, y1] = box;
  box = null;
  const dragged = [clamp(Math.min(x0, x1), 0, width), clamp(Math.min(y0, y1), 0, height), clamp(Math.max(x0, x1), 0, width), clamp(Math.max(y0, y1), 0, height)];
  if (dragged[2] - dragged[0] >= 4 && dragged[3] - dragged[1] >= 4) {
    clicks = freshClicks();
    clickAt([0, 0], true, dragged);
  } else say("Drag a box around the whole object.");
}

canvas.addEventListener("pointerup", release);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerleave", () => { hover = null; redraw(); });

// A cross that keys move, for clicks without a pointer.
let cross = null;
export function moveCross([dx, dy]) {
  if (!store.project) return null;
  const { width, height } = store.project;
  if (!cross) cross = [width / 2, height / 2];
  cross = [clamp(cross[0] + dx, 0, width - 1), clamp(cross[1] + dy, 0, height - 1)];
  redraw();
  return [...cross];
}
canvas.addEventListener("pointermove", () => { cross = null; });

setExtra((context, scale) => {
  const line = 1.5 / scale * devicePixelRatio;
  const colour = objectOf(store.object)?.colour ?? "#ffffff";
  const twice = (path, fill) => {
    context.lineWidth = 3 * line;
    context.strokeStyle = "rgba(0,0,0,.75)";
    context.stroke(path);
    context.lineWidth = 1.3 * line;
    context.strokeStyle = fill ?? "#fff";
    context.stroke(path);
  };
  if (hover && (store.tool === "brush" || store.tool === "eraser")) {
    const circle = new Path2D();
    circle.arc(hover[0], hover[1], store.brush / 2, 0, 7);
    twice(circle);
  }
  if (corners.length) {
    const path = new Path2D();
    corners.forEach(([x, y], k) => (k ? path.lineTo(x, y) : path.moveTo(x, y)));
    if (hover) path.lineTo(...hover);
    twice(path, colour);
    for (const [x, y] of corners) {
      const dot = new Path2D();
      dot.arc(x, y, 3 * line, 0, 7);
      twice(dot);
    }
  }
  if (box) {
    const path = new Path2D();
    path.rect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    twice(path, colour);
  }
  if (cross) {
    const path = new Path2D();
    path.moveTo(cross[0] - 12 * line, cross[1]);
    path.lineTo(cross[0] + 12 * line, cross[1]);
    path.moveTo(cross[0], cross[1] - 12 * line);
    path.lineTo(cross[0], cross[1] + 12 * line);
    twice(path);
  }
  if (clicks.index === store.frame && clicks.object === store.object && (store.tool === "click" || store.tool === "box")) drawClicks(context, line);
});

function drawClicks(context, line) {
  for (const [points, fill, sign] of [[clicks.positives, "#0a7d33", "+"], [clicks.negatives, "#b3151f", "−"]]) {
    for (const [x, y] of points) {
      context.beginPath();
      context.arc(x, y, 7 * line, 0, 7);
      context.fillStyle = fill;
      context.fill();
      context.lineWidth = 1.3 * line;
      context.strokeStyle = "#fff";
      context.stroke();
      context.fillStyle = "#fff";
      context.font = `bold ${11 * line}px sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(sign, x, y + 0.6 * line);
    }
  }
}

// What was half drawn belongs to the frame that it was drawn on.
on("frame", () => { if (stroke || box) abandon(); });
on("frame", () => { clearTimeout(warmTimer); warmTimer = setTimeout(() => (store.tool === "click" || store.tool === "box") && warm(), 300); });
let warmTimer = 0;
on("opened", () => { warmed = -1; corners = []; clicks = { ...freshClicks(), index: -1 }; });

export function setBrush(size) {
  store.brush = clamp(Math.round(size), 1, 150);
  byId("brush-size").value = store.brush;
  byId("brush-value").textContent = store.brush;
  redraw();
}
byId("brush-size").oninput = ({ target }) => setBrush(Number(target.value));
