// The picture with the objects drawn over it, zoomed and moved.

import { currentPicture } from "./frames.js";
import { byId, clamp, emit, on, store } from "./store.js";

const canvas = byId("stage");
const context = canvas.getContext("2d");
const overlay = document.createElement("canvas");
const cutout = document.createElement("canvas");
let overlayContext, pixels;
let fitted = 1; // scale at which the whole frame is seen
const view = { scale: 1, x: 0, y: 0 }; // frame pixel (0, 0) is drawn at (x, y), in pixels of the screen
let isFitted = true;
let stale = true;
let requested = false;
let extra = null; // draws what a tool is doing

export const setExtra = (draw) => { extra = draw; redraw(); };
export const scale = () => view.scale;

export function toFrame(event) {
  const box = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio;
  return [((event.clientX - box.left) * ratio - view.x) / view.scale, ((event.clientY - box.top) * ratio - view.y) / view.scale];
}

// Where a pixel of the frame is on the page.
export function toScreen([x, y]) {
  const box = canvas.getBoundingClientRect();
  return [box.left + (x * view.scale + view.x) / devicePixelRatio, box.top + (y * view.scale + view.y) / devicePixelRatio];
}

export const inside = ([x, y]) => store.project && x >= 0 && y >= 0 && x < store.project.width && y < store.project.height;

export function fit() {
  if (!store.project) return;
  const { width, height } = store.project;
  fitted = Math.min(canvas.width / width, canvas.height / height) * 0.97;
  view.scale = fitted;
  view.x = (canvas.width - width * fitted) / 2;
  view.y = (canvas.height - height * fitted) / 2;
  isFitted = true;
  redraw();
}

// Zooms so that the point under (x, y), in pixels of the canvas, stays where it is.
export function zoom(factor, x = canvas.width / 2, y = canvas.height / 2) {
  const scale = clamp(view.scale * factor, fitted * 0.5, 40 * devicePixelRatio);
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  isFitted = false;
  redraw();
}

export function move(dx, dy) {
  view.x += dx * devicePixelRatio;
  view.y += dy * devicePixelRatio;
  isFitted = false;
  redraw();
}

// To be called when labels, colours or the way of drawing changed.
export function changed() {
  stale = true;
  redraw();
}

export function redraw() {
  if (requested) return;
  requested = true;
  requestAnimationFrame(() => {
    requested = false;
    draw();
  });
}

const little = new Uint8Array(new Uint32Array([1]).buffer)[0] === 1;
const packed = (colour, alpha) => {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return little ? ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0 : ((r << 24) | (g << 16) | (b << 8) | alpha) >>> 0;
};

function buildOverlay() {
  const { width, height } = store.project;
  if (overlay.width !== width || overlay.height !== height) {
    overlay.width = cutout.width = width;
    overlay.height = cutout.height = height;
    overlayContext = overlay.getContext("2d");
    pixels = overlayContext.createImageData(width, height);
  }
  const target = new Uint32Array(pixels.data.buffer);
  const inner = new Uint32Array(256), edge = new Uint32Array(256);
  const black = store.mode === "black";
  for (const entry of store.project.objects) {
    if (entry.hidden) continue;
    inner[entry.id] = black ? packed("#ffffff", 255) : packed(entry.colour, store.mode === "outline" ? 0 : Math.round(255 * store.opacity));
    edge[entry.id] = black ? inner[entry.id] : packed(entry.colour, 255);
  }
  const labels = store.labels;
  for (let i = 0; i < target.length; i++) target[i] = inner[labels[i]];
  if (!black && store.opacity > 0) drawEdges(target, labels, width, height, edge);
  overlayContext.putImageData(pixels, 0, 0);
}

// The outermost two pixels of every object.
function drawEdges(target, labels, width, height, edge) {
  for (let y = 0; y < height; y++) {
    for (let x = 0, i = y * width; x < width; x++, i++) {
      const id = labels[i];
      if (!id || !edge[id]) continue;
      const near = (x > 0 && labels[i - 1] !== id) || (x < width - 1 && labels[i + 1] !== id)
        || (y > 0 && labels[i - width] !== id) || (y < height - 1 && labels[i + width] !== id)
        || (x > 1 && labels[i - 2] !== id) || (x < width - 2 && labels[i + 2] !== id)
        || (y > 1 && labels[i - 2 * width] !== id) || (y < height - 2 && labels[i + 2 * width] !== id);
      if (near) target[i] = edge[id];
    }
  }
}

function draw() {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const { bitmap } = currentPicture();
  if (!store.project || !bitmap) return;
  const { width, height } = store.project;
  context.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
  context.imageSmoothingEnabled = view.scale < 3;
  if (stale && store.labels) {
    buildOverlay();
    stale = false;
  }
  if (store.mode === "black") {
    const layer = cutout.getContext("2d");
    layer.globalCompositeOperation = "copy";
    layer.drawImage(bitmap, 0, 0, width, height);
    layer.globalCompositeOperation = "destination-in";
    layer.drawImage(overlay, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    context.drawImage(cutout, 0, 0);
  } else {
    context.drawImage(bitmap, 0, 0, width, height);
    if (store.labels) context.drawImage(overlay, 0, 0);
  }
  extra?.(context, view.scale);
  byId("zoom-value").textContent = `${Math.round((100 * view.scale) / devicePixelRatio)}%`;
  canvas.dataset.drawn = String(store.frame);
}

new ResizeObserver(() => {
  const box = canvas.parentElement.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(box.width * devicePixelRatio));
  canvas.height = Math.max(1, Math.round(box.height * devicePixelRatio));
  if (isFitted) fit();
  redraw();
}).observe(canvas.parentElement);

canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio;
  if (event.shiftKey) move(-event.deltaY - event.deltaX, 0);
  else zoom(Math.exp(-event.deltaY * 0.0015), (event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio);
}, { passive: false });

byId("zoom-in").onclick = () => zoom(1.3);
byId("zoom-out").onclick = () => zoom(1 / 1.3);
byId("zoom-fit").onclick = fit;
byId("opacity").oninput = ({ target }) => {
  store.opacity = target.value / 100;
  byId("opacity-value").textContent = `${target.value}%`;
  changed();
};
for (const choice of document.querySelectorAll("input[name=mode]")) {
  choice.onchange = () => {
    store.mode = choice.value;
    changed();
  };
}
on("shown", changed);
on("picture", redraw);
on("edited", changed);
on("objects", changed);
on("opened", () => { stale = true; fit(); });
export const describe = (text) => canvas.setAttribute("aria-label", text);
emit("view-ready");
