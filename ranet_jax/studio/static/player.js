// Moving through the frames: steps, play, and a span in a loop.

import { picture, labelsOf, show } from "./frames.js";
import { attempt } from "./messages.js";
import { byId, clamp, emit, on, set, store } from "./store.js";

const AHEAD = 6;
let timer = 0;

export async function go(index) {
  if (!store.project) return;
  const target = clamp(index, 0, store.project.frames - 1);
  if (target === store.frame && store.labels) return;
  await attempt(() => show(target));
}

export function pause() {
  if (!store.playing) return;
  set({ playing: false });
  clearTimeout(timer);
}

export function toggle() {
  if (!store.project) return;
  if (store.playing) return pause();
  set({ playing: true });
  const [first, last] = span();
  if (store.frame < first || store.frame >= last) go(first);
  tick(performance.now());
}

const span = () => store.loop ?? [0, store.project.frames - 1];

async function tick(due) {
  if (!store.playing) return;
  const [first, last] = span();
  const next = store.frame < last ? store.frame + 1 : store.loop ? first : null;
  if (next === null) return pause();
  // What comes next is fetched while this one is shown.
  for (let k = 1; k <= AHEAD; k++) {
    const index = next + k <= last ? next + k : first + k;
    if (index < store.project.frames) picture(index).then(() => labelsOf(index)).catch(() => {});
  }
  await attempt(() => show(next));
  const wait = 1000 / store.project.framesPerSecond;
  const now = performance.now();
  const at = Math.max(now, due + wait);
  timer = setTimeout(() => tick(at), at - now);
}

// Sets the start or the end of the looped span to this frame, or ends looping.
export function loopEdge(which) {
  if (!store.project) return;
  const [first, last] = span();
  const edges = which === "start" ? [store.frame, Math.max(store.frame, last)] : [Math.min(first, store.frame), store.frame];
  set({ loop: edges });
}

export function toggleLoop() {
  if (!store.project) return;
  set({ loop: store.loop ? null : [0, store.project.frames - 1] });
}

on("loop", () => {
  byId("loop").setAttribute("aria-pressed", String(Boolean(store.loop)));
  byId("loop-text").textContent = store.loop ? `Loop ${store.loop[0] + 1}–${store.loop[1] + 1}` : "Loop";
});
on("playing", () => {
  byId("play").setAttribute("aria-label", store.playing ? "Pause" : "Play");
  byId("play-icon").setAttribute("href", `static/icons.svg#${store.playing ? "pause" : "play"}`);
});
on("pause", pause);
on("go", go);
byId("play").onclick = toggle;
byId("loop").onclick = toggleLoop;
byId("first").onclick = () => go(0);
byId("last").onclick = () => go(Infinity);
byId("back").onclick = () => go(store.frame - 1);
byId("next").onclick = () => go(store.frame + 1);
for (const id of ["first", "last", "back", "next"]) byId(id).addEventListener("click", () => emit("pause"));
