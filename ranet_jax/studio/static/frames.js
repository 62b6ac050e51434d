// Pictures and label maps of frames, a few of each kept: what is shown is fetched once.

import { getFrame, getLabels } from "./api.js";
import { emit, on, set, store } from "./store.js";

const KEPT_PICTURES = 40;
const KEPT_LABELS = 40;
const pictures = new Map();
const labels = new Map();
let shown = { index: -1, bitmap: null, exact: false };

function keep(map, key, value, most, drop) {
  map.delete(key);
  map.set(key, value);
  while (map.size > most) {
    const [oldest, content] = map.entries().next().value;
    map.delete(oldest);
    drop?.(content);
  }
}

export const currentPicture = () => shown;

export async function picture(index, exact = false) {
  const known = pictures.get(index);
  if (known && (known.exact || !exact)) return known;
  const fetched = await getFrame(index, exact);
  keep(pictures, index, fetched, KEPT_PICTURES);
  return fetched;
}

export async function labelsOf(index) {
  const known = labels.get(index);
  if (known) return known;
  const project = store.project;
  const empty = !project.given.includes(index) && !project.records[index].tracked;
  const fetched = empty ? new Uint8Array(project.width * project.height) : await getLabels(index);
  if (store.project === project || store.project?.name === project.name) rememberLabels(index, fetched);
  return fetched;
}

export const rememberLabels = (index, content) => keep(labels, index, content, KEPT_LABELS);
export const forgetLabels = (index) => labels.delete(index);

export function forgetAll() {
  pictures.clear();
  labels.clear();
  shown = { index: -1, bitmap: null, exact: false };
}

let wanted = -1;

// Shows a frame: both its picture and its labels, or neither.
export async function show(index) {
  const project = store.project;
  if (!project) return;
  wanted = index;
  set({ frame: index });
  const [image, map] = await Promise.all([picture(index), labelsOf(index)]);
  if (wanted !== index || store.project !== project) return;
  shown = { index, ...image };
  store.labels = map.slice();
  emit("shown", index);
  if (!image.exact) setTimeout(() => refine(index), 150);
}

async function refine(index) {
  if (wanted !== index || shown.exact) return;
  const image = await picture(index, true);
  if (wanted !== index) return;
  shown = { index, ...image };
  emit("picture", index);
}

// What a pass of the tracker made of a frame.
on("tracked", ({ index, content }) => rememberLabels(index, content));
