// The timeline: thumbnails, which frames are marked, tracked or stale, and a strip for every object.

import { thumbnailAddress } from "./api.js";
import { byId, clamp, emit, on, store } from "./store.js";

const STATUS = 10;
const STRIP = 16;
const GAP = 2;
const box = byId("timeline");
const strips = byId("strips");
const context = strips.getContext("2d");
const records = document.createElement("canvas"); // what stays while one steps through the frames
let stale = true;
let requested = false;

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function drawThumbnails() {
  const holder = byId("thumbnails");
  if (!store.project) return holder.replaceChildren();
  const { frames, width, height } = store.project;
  const shownHeight = holder.clientHeight || 44;
  const each = shownHeight * clamp(width / height, 0.5, 2.2);
  const count = clamp(Math.floor(holder.clientWidth / each), 1, Math.min(frames, 40));
  if (holder.dataset.of === `${store.project.folder} ${count}`) return undefined;
  holder.dataset.of = `${store.project.folder} ${count}`;
  holder.replaceChildren();
  for (let k = 0; k < count; k++) {
    const image = new Image();
    image.alt = "";
    image.decoding = "async";
    image.src = thumbnailAddress(Math.min(frames - 1, Math.floor(((k + 0.5) * frames) / count)));
    holder.append(image);
  }
  return undefined;
}

export function draw() {
  if (requested) return;
  requested = true;
  requestAnimationFrame(() => {
    requested = false;
    paint();
  });
}

function paint() {
  const rows = Math.max(1, store.project?.objects.length ?? 0);
  const height = STATUS + GAP + rows * (STRIP + GAP);
  const ratio = devicePixelRatio;
  strips.style.height = `${height}px`;
  const size = [Math.max(1, Math.round(strips.clientWidth * ratio)), Math.round(height * ratio)];
  stale ||= size[0] !== records.width || size[1] !== records.height;
  [strips.width, strips.height] = size;
  if (!store.project) return;
  const colours = { tracked: colourOf("--tracked"), stale: colourOf("--stale"), given: colourOf("--given"), ground: colourOf("--sunken"), head: colourOf("--text") };
  const width = strips.clientWidth;
  if (stale) {
    [records.width, records.height] = size;
    const layer = records.getContext("2d");
    layer.setTransform(ratio, 0, 0, ratio, 0, 0);
    paintRecords(layer, width, rows, colours);
    stale = false;
  }
  context.drawImage(records, 0, 0);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const each = width / store.project.frames;
  if (store.loop) {
    context.fillStyle = colours.head;
    context.globalAlpha = 0.18;
    context.fillRect(store.loop[0] * each, 0, (store.loop[1] - store.loop[0] + 1) * each, height);
    context.globalAlpha = 1;
  }
  const x = (store.frame + 0.5) * each;
  context.fillStyle = colours.head;
  context.fillRect(x - 1, 0, 2, height);
}

function paintRecords(layer, width, rows, colours) {
  const { frames, records: all, given, objects } = store.project;
  const each = width / frames;
  const span = (index) => [index * each, Math.max(1, each - (each > 4 ? 0.5 : 0))];
  layer.fillStyle = colours.ground;
  layer.fillRect(0, 0, width, STATUS);
  for (let k = 0; k < rows; k++) layer.fillRect(0, STATUS + GAP + k * (STRIP + GAP), width, STRIP);
  all.forEach((record, index) => {
    if (!record.tracked) return;
    layer.fillStyle = record.stale ? colours.stale : colours.tracked;
    layer.fillRect(span(index)[0], 2, span(index)[1], STATUS - 4);
  });
  objects.forEach((entry, k) => paintStrip(layer, entry, STATUS + GAP + k * (STRIP + GAP), all, span));
  for (const index of given) paintMark(layer, index * each + each / 2, colours);
}

// Height is the area beside the largest in the video, strength how sure the tracker is: a break shows as a break.
function paintStrip(layer, entry, top, all, span) {
  const largest = all.reduce((most, record) => Math.max(most, record.areas[entry.id] ?? 0), 1);
  layer.fillStyle = entry.colour;
  all.forEach((record, index) => {
    const area = record.areas[entry.id] ?? 0;
    if (!area) return;
    const tall = Math.max(2, STRIP * Math.sqrt(area / largest));
    layer.globalAlpha = 0.35 + 0.65 * clamp(((record.scores[entry.id] ?? 1) - 0.5) * 2, 0, 1);
    layer.fillRect(span(index)[0], top + STRIP - tall, span(index)[1], tall);
  });
  layer.globalAlpha = 1;
}

function paintMark(layer, x, colours) {
  layer.beginPath();
  layer.moveTo(x, STATUS);
  layer.lineTo(x - 5, 0);
  layer.lineTo(x + 5, 0);
  layer.closePath();
  layer.fillStyle = colours.given;
  layer.fill();
  layer.lineWidth = 1;
  layer.strokeStyle = colours.ground;
  layer.stroke();
}

function goTo(event) {
  const area = box.getBoundingClientRect();
  const frames = store.project.frames;
  emit("go", clamp(Math.floor(((event.clientX - area.left) / area.width) * frames), 0, frames - 1));
}

let dragging = false;
box.addEventListener("pointerdown", (event) => {
  if (!store.project) return;
  dragging = true;
  box.setPointerCapture(event.pointerId);
  emit("pause");
  goTo(event);
});
box.addEventListener("pointermove", (event) => dragging && goTo(event));
box.addEventListener("pointerup", () => { dragging = false; });
box.addEventListener("pointercancel", () => { dragging = false; });

function describe() {
  if (!store.project) return;
  const { frames, given, records } = store.project;
  const record = records[store.frame];
  const status = [given.includes(store.frame) && "marked", record.tracked && (record.stale ? "stale" : "tracked")].filter(Boolean).join(", ") || "no mask";
  box.setAttribute("aria-valuemax", String(frames - 1));
  box.setAttribute("aria-valuenow", String(store.frame));
  box.setAttribute("aria-valuetext", `Frame ${store.frame + 1} of ${frames}, ${status}`);
  byId("position").textContent = `${store.frame + 1} / ${frames}`;
  byId("position").title = `Frame ${store.project.names[store.frame]}, ${status}`;
}

new ResizeObserver(() => { drawThumbnails(); draw(); }).observe(box);
for (const name of ["frame", "loop"]) on(name, () => { describe(); draw(); });
for (const name of ["records", "objects", "edited", "theme", "opened"]) on(name, () => { stale = true; describe(); draw(); });
on("opened", drawThumbnails);
