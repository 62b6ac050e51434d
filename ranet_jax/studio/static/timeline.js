// The timeline: thumbnails, which frames are marked, tracked or stale, and a strip for every object.

import { thumbnailAddress } from "./api.js";
import { byId, clamp, emit, on, store } from "./store.js";

const STATUS = 10;
const STRIP = 16;
const GAP = 2;
const box = byId("timeline");
const strips = byId("strips");
const context = strips.getContext("2d");
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
  const objects = store.project?.objects ?? [];
  const height = STATUS + GAP + Math.max(1, objects.length) * (STRIP + GAP);
  const ratio = devicePixelRatio;
  strips.style.height = `${height}px`;
  strips.width = Math.max(1, Math.round(strips.clientWidth * ratio));
  strips.height = Math.round(height * ratio);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const width = strips.clientWidth;
  if (!store.project) return;
  const { frames, records, given } = store.project;
  const each = width / frames;
  const span = (index) => [index * each, Math.max(1, each - (each > 4 ? 0.5 : 0))];
  const colours = { tracked: colourOf("--tracked"), stale: colourOf("--stale"), given: colourOf("--given"), ground: colourOf("--sunken"), head: colourOf("--text") };
  context.fillStyle = colours.ground;
  context.fillRect(0, 0, width, STATUS);
  for (let k = 0; k < Math.max(1, objects.length); k++) context.fillRect(0, STATUS + GAP + k * (STRIP + GAP), width, STRIP);
  records.forEach((record, index) => {
    if (!record.tracked) return;
    context.fillStyle = record.stale ? colours.stale : colours.tracked;
    context.fillRect(span(index)[0], 2, span(index)[1], STATUS - 4);
  });
  objects.forEach((entry, k) => paintStrip(entry, STATUS + GAP + k * (STRIP + GAP), records, span));
  for (const index of given) paintMark(index * each + each / 2, colours);
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

// Height is the area beside the largest in the video, strength how sure the tracker is: a break shows as a break.
function paintStrip(entry, top, records, span) {
  const largest = Math.max(1, ...records.map((record) => record.areas[entry.id] ?? 0));
  context.fillStyle = entry.colour;
  records.forEach((record, index) => {
    const area = record.areas[entry.id] ?? 0;
    if (!area) return;
    const tall = Math.max(2, STRIP * Math.sqrt(area / largest));
    context.globalAlpha = 0.35 + 0.65 * clamp(((record.scores[entry.id] ?? 1) - 0.5) * 2, 0, 1);
    context.fillRect(span(index)[0], top + STRIP - tall, span(index)[1], tall);
  });
  context.globalAlpha = 1;
}

function paintMark(x, colours) {
  context.beginPath();
  context.moveTo(x, STATUS);
  context.lineTo(x - 5, 0);
  context.lineTo(x + 5, 0);
  context.closePath();
  context.fillStyle = colours.given;
  context.fill();
  context.lineWidth = 1;
  context.strokeStyle = colours.ground;
  context.stroke();
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
for (const name of ["frame", "records", "objects", "edited", "loop", "theme"]) on(name, () => { describe(); draw(); });
on("opened", () => { drawThumbnails(); describe(); draw(); });
