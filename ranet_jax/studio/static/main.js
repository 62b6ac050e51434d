// Starts the page: connects, opens what the server has open, and takes files that are dropped.

import { connect, getJson, sendJson, uploadMask, uploadVideo } from "./api.js";
import { openOpener, openTour } from "./dialogs.js";
import { settled } from "./edits.js";
import { currentPicture, forgetAll, show } from "./frames.js";
import { canRedo, canUndo, clearHistory } from "./history.js";
import "./keys.js";
import { attempt, say } from "./messages.js";
import { drawList } from "./objects.js";
import "./player.js";
import { byId, canEdit, emit, on, set, store } from "./store.js";
import "./theme.js";
import "./timeline.js";
import { buildToolbar } from "./tools.js";
import "./tracking.js";
import { describe, toScreen } from "./view.js";

buildToolbar();

function adopt(state, { keepFrame = false } = {}) {
  store.recent = state.recent;
  const before = store.project;
  const same = before && state.project && before.folder === state.project.folder;
  store.project = state.project;
  forgetAll();
  if (!same) clearHistory();
  if (!state.project) {
    drawList();
    emit("buttons");
    return openOpener();
  }
  const { objects, given, frames, name } = state.project;
  document.title = `${name} – ranet-jax studio`;
  byId("project-name").textContent = name;
  set({ object: objects.find((entry) => entry.id === store.object)?.id ?? objects[0]?.id ?? 0 });
  const frame = same && keepFrame ? Math.min(store.frame, frames - 1) : given[0] ?? 0;
  if (!same) {
    set({ loop: null });
    emit("opened");
  }
  emit("objects");
  emit("records");
  emit("writer", store.writer);
  return attempt(() => show(frame));
}

const reload = async (options) => attempt(async () => adopt(await getJson("api/state"), options));

on("writer", () => {
  const readOnly = store.project && !canEdit();
  byId("read-only").hidden = !readOnly;
  byId("read-only").title = "Another page, or another ranet-jax studio, has this project open";
  emit("buttons");
});

on("buttons", () => {
  byId("undo").disabled = !canUndo() || !canEdit();
  byId("redo").disabled = !canRedo() || !canEdit();
  byId("export-button").disabled = !store.project || !canEdit();
  byId("forget").disabled = !canEdit() || !store.project?.given.includes(store.frame);
});

on("shown", (index) => {
  const { names, objects } = store.project;
  const present = objects.filter((entry) => store.labels.includes(entry.id)).map((entry) => entry.name);
  describe(`Frame ${names[index]}: ${present.length ? present.join(", ") : "nothing marked"}`);
});

let first = true;
connect(async (message) => {
  if (message.type === "hello") {
    set({ writer: message.writer });
    const state = await attempt(() => getJson("api/state"));
    if (!state) return;
    await adopt(state);
    if (state.tracking) emit("message", { type: "preparing" });
    if (!message.writer) say("Another page has this project open. This one only shows it, and takes over when the other is closed.", { error: true });
    else if (state.project && !state.project.writable) say("Another ranet-jax studio has this project open: this one only shows it.", { error: true });
    else if (state.tour && first) openTour();
    first = false;
    document.body.dataset.ready = "1";
  } else if (message.type === "writer") {
    set({ writer: true });
    say("The other page was closed: you can work here now.");
    await reload({ keepFrame: true });
  } else if (message.type === "changed") await reload({ keepFrame: true });
  else if (message.type === "error") say(message.error, { error: true });
  else emit("message", message);
}, () => {
  set({ writer: false });
  emit("writer");
  say("The studio has ended or is out of reach. Start `ranet-jax studio` again with the same video: all that was saved is there.", { error: true });
});

async function take(files) {
  const video = files.find((file) => file.type.startsWith("video/") || /\.(mp4|mov|avi|mkv|webm|m4v)$/i.test(file.name));
  const masks = files.filter((file) => file.type.startsWith("image/"));
  if (!store.writer) return say("This page only shows the project, so it takes no files.", { error: true });
  if (!video && !masks.length) return say("This is neither a video nor a mask: drop a video file, or a PNG with ids.", { error: true });
  await settled();
  if (video) {
    say(`Reading ${video.name}…`);
    const state = await attempt(() => uploadVideo(video));
    if (!state) return undefined;
    await adopt(state);
    say(`${video.name} is open. Add an object and click on it.`);
  }
  for (const mask of masks) {
    const index = store.project?.names.indexOf(mask.name.replace(/\.[^.]*$/, "")) ?? -1;
    const target = index >= 0 ? index : video ? 0 : store.frame;
    const state = await attempt(() => uploadMask(mask, target));
    if (state) say(`${mask.name} is now the mask of frame ${target + 1}.`);
  }
  return undefined;
}

on("files", take);
on("open-recent", async (id) => {
  await settled();
  const state = await attempt(() => sendJson("POST", "api/open", { id }));
  if (state) await adopt(state);
});

const drop = byId("drop");
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  drop.hidden = false;
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) drop.hidden = true; });
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.hidden = true;
  if (event.dataTransfer.files.length) take([...event.dataTransfer.files]);
});

// For tests and for whoever is curious: what is shown.
window.studio = { store, currentPicture, settled, toScreen };
