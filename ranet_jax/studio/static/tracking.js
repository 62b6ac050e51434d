// Passes of the tracker: start, watch, stop.

import { inflate, sendJson } from "./api.js";
import { settled } from "./edits.js";
import { forgetLabels, show } from "./frames.js";
import { attempt, say } from "./messages.js";
import { byId, canEdit, emit, on, set, store } from "./store.js";

const FOLLOW_MILLISECONDS = 250; // the picture follows no faster, so that the tracker keeps the processor
let followed = 0;
let following = true;

// The last frame of a pass, from what the user chose.
function endOf(direction) {
  const { frames, given } = store.project;
  const limit = byId("limit").value;
  const forward = direction === "forward";
  if (limit === "all") return forward ? frames - 1 : 0;
  if (limit === "mark") {
    const marks = given.filter((index) => (forward ? index > store.frame : index < store.frame));
    return forward ? Math.min(frames, ...marks) - 1 : Math.max(-1, ...marks) + 1;
  }
  return forward ? Math.min(frames - 1, store.frame + Number(limit)) : Math.max(0, store.frame - Number(limit));
}

export async function track(direction) {
  if (!canEdit() || store.tracking) return;
  emit("pause");
  await settled();
  const limit = byId("limit").value;
  const distance = /^\d+$/.test(limit) ? Number(limit) : store.project.frames;
  const end = direction === "both" ? distance : endOf(direction);
  following = true;
  const started = await attempt(() => sendJson("POST", "api/track", { direction, start: store.frame, end }));
  if (started) prepare();
}

export async function stop() {
  if (!store.tracking) return;
  byId("progress-text").textContent = "Stopping…";
  await attempt(() => sendJson("POST", "api/stop"));
}

function prepare() {
  if (store.tracking) return;
  set({ tracking: { done: 0, total: 0 } });
  byId("progress").hidden = false;
  byId("progress-bar").removeAttribute("value");
  byId("progress-text").textContent = "Preparing the network…";
  byId("stop").hidden = false;
  emit("buttons");
}

const seconds = (value) => (value < 90 ? `${Math.ceil(value)} s` : `${Math.round(value / 60)} min`);

async function frameDone(message) {
  prepare();
  const { index, done, total, framesPerSecond, secondsLeft, record, packed } = message;
  store.tracking = { done, total };
  const bar = byId("progress-bar");
  bar.max = total;
  bar.value = done;
  const speed = framesPerSecond ? `, ${framesPerSecond.toFixed(1)} frames/s, ${seconds(secondsLeft)} left` : "";
  byId("progress-text").textContent = `${done} of ${total} frames${speed}`;
  if (!record) return;
  store.project.records[index] = record;
  emit("records");
  if (packed) emit("tracked", { index, content: await inflate(packed) });
  else forgetLabels(index);
  if (following && performance.now() - followed > FOLLOW_MILLISECONDS) {
    followed = performance.now();
    show(index).catch(() => {});
  } else if (index === store.frame) show(index).catch(() => {});
}

function ended({ finished, error }) {
  const was = store.tracking;
  set({ tracking: null });
  byId("progress").hidden = true;
  byId("stop").hidden = true;
  emit("buttons");
  if (error) say(error, { error: true });
  else if (was) say(finished ? "Tracked. Look through the frames, and correct one where it went wrong." : "Stopped. Track again from any frame to go on.");
  show(store.frame).catch(() => {});
}

on("message", (message) => {
  if (!store.project) return;
  if (message.type === "preparing") prepare();
  else if (message.type === "started") prepare();
  else if (message.type === "frame") frameDone(message);
  else if (message.type === "ended") ended(message);
});
// Whoever looks at another frame while the tracker works stays there.
on("go", () => { following = false; });

on("buttons", () => {
  const able = canEdit() && !store.tracking;
  for (const id of ["track-forward", "track-backward", "track-both", "limit"]) byId(id).disabled = !able;
  const again = store.project?.records.slice(store.frame + 1).some((record) => record.tracked);
  byId("forward-text").textContent = again ? "Track again from here" : "Track forward";
});
on("frame", () => emit("buttons"));
on("records", () => emit("buttons"));
byId("track-forward").onclick = () => track("forward");
byId("track-backward").onclick = () => track("backward");
byId("track-both").onclick = () => track("both");
byId("stop").onclick = stop;
