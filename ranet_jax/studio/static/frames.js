// Pictures and label maps of frames, a few of each kept: what is shown is fetched once.

import { getFrame, getLabels } from "./api.js";
import { clamp, emit, on, set, store } from "./store.js";

const KEPT_BYTES = 160 * 1024 ** 2; // of pictures, which take four bytes a pixel
const FEWEST = 12; // what playing fetches ahead, and more
const MOST = 40;
const pictures = new Map();
const coming = new Map(); // pictures on their way, so that none is fetched twice
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
export const isShown = () => shown.index === store.frame; // or the frame that was asked for is still on its way
const kept = () => clamp(Math.floor(KEPT_BYTES / (4 * store.project.width * store.project.height)), FEWEST, MOST);
const close = ({ bitmap }) => bitmap !== shown.bitmap && bitmap.close();

export async function picture(index, exact = false) {
  const known = pictures.get(index);
  if (known && (known.exact || !exact)) return known;
  const key = `${index} ${exact}`;
  if (!coming.has(key)) coming.set(key, fetchPicture(index, exact).finally(() => coming.delete(key)));
  return coming.get(key);
}

async function fetchPicture(index, exact) {
  const project = store.project;
  const fetched = await getFrame(index, exact);
  if (store.project?.folder !== project.folder) return fetched;
  if (pictures.has(index)) close(pictures.get(index));
  keep(pictures, index, fetched, kept(), close);
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

export const rememberLabels = (index, content) => keep(labels, index, content, kept());
export const forgetLabels = (index) => labels.delete(index);

export function forgetAll() {
  shown = { index: -1, bitmap: null, exact: false };
  for (const content of pictures.values()) close(content);
  pictures.clear();
  labels.clear();
}

let wanted = -1;
let loading = null;

// Shows a frame: both its picture and its labels, or neither. Of frames that are wished for while one is on its way,
// only the last is fetched: whoever drags along the timeline sees some frames of those passed, and waits for none.
export async function show(index) {
  const project = store.project;
  if (!project) return;
  wanted = index;
  set({ frame: index });
  while (loading) await loading;
  if (wanted !== index || store.project !== project) return;
  const both = Promise.all([picture(index), labelsOf(index)]);
  loading = both.then(() => {}, () => {});
  const [image, map] = await both.finally(() => { loading = null; });
  if (store.project !== project) return;
  if (!image.bitmap.width) return void await show(index); // it was closed for want of room
  shown = { index, ...image };
  store.labels = map.slice();
  emit("shown", index);
  if (!image.exact) setTimeout(() => refine(index), 150);
}

async function refine(index) {
  if (wanted !== index || shown.exact) return;
  const image = await picture(index, true);
  if (wanted !== index || !image.bitmap.width) return;
  shown = { index, ...image };
  emit("picture", index);
}

// What a pass of the tracker made of a frame.
on("tracked", ({ index, content }) => rememberLabels(index, content));
