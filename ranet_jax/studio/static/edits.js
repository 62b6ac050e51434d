// Changes of the label map that is shown: made, put into the history, and saved one after the other.

import { putLabels, sendJson } from "./api.js";
import { currentPicture, forgetLabels, isShown, labelsOf, rememberLabels, show } from "./frames.js";
import { difference, paste, record, stepBack, stepOn } from "./history.js";
import { attempt, say } from "./messages.js";
import { byId, canEdit, emit, objectOf, on, store } from "./store.js";

let queue = Promise.resolve();
let waiting = 0;

// Whether something may be drawn now with the chosen object; says why not.
export function ready() {
  if (!store.project) return false;
  if (!canEdit()) {
    say("This page only shows the project: another one has it open. Close that one to work here.", { error: true });
    return false;
  }
  if (!isShown()) {
    say("This frame is still being fetched: wait until it is shown.");
    return false;
  }
  const entry = objectOf(store.object);
  if (!entry) {
    say("Add an object first: press N, or Add in the list.");
    return false;
  }
  if (entry.locked) {
    say(`${entry.name} is locked: unlock it in the list to change it.`);
    return false;
  }
  if (entry.hidden) {
    say(`${entry.name} is hidden: show it in the list to change it.`);
    return false;
  }
  return true;
}

// Which ids may be painted over.
export function paintable() {
  const open = new Uint8Array(256).fill(1);
  for (const entry of store.project.objects) if (entry.locked) open[entry.id] = 0;
  return open;
}

// Puts what changed since `before` into the history, and saves it.
export function commit(before, more = {}) {
  const { width, height } = store.project;
  const box = difference(before, store.labels, width, height);
  if (!box) return false;
  const index = store.frame;
  record({ index, box, wasGiven: store.project.given.includes(index), ...more }, before, store.labels, width);
  rememberLabels(index, store.labels.slice());
  emit("edited", index);
  save(index, store.labels.slice());
  return true;
}

function save(index, labels) {
  enqueue(() => putLabels(index, labels));
}

function enqueue(request) {
  waiting++;
  byId("saved").textContent = "Saving…";
  queue = queue.then(async () => {
    const marks = await attempt(request);
    waiting--;
    if (marks) applyMarks(marks);
    if (!waiting) byId("saved").textContent = marks ? "Saved" : "Not saved";
  });
}

// What is under way, so that whatever needs a saved project can wait for it.
const underWay = new Set();
export function hold(work) {
  underWay.add(work);
  work.finally(() => underWay.delete(work));
}

export async function settled() {
  await Promise.allSettled([...underWay]);
  await queue;
}

function applyMarks({ given, stale, index, record }) {
  const project = store.project;
  project.given = given;
  const old = new Set(stale);
  project.records.forEach((entry, number) => { entry.stale = old.has(number); });
  project.records[index] = record;
  emit("records");
}

async function turn(entry, runs, restoresOriginal) {
  if (!entry) return;
  while (currentPicture().index !== entry.index || !isShown()) await show(entry.index);
  const labels = store.labels;
  paste(labels, store.project.width, entry.box, runs);
  emit("clicks", { index: entry.index, session: entry.session, points: restoresOriginal ? entry.clicksBefore : entry.clicks });
  if (restoresOriginal && !entry.wasGiven) {
    // The frame goes back to having no mask of the user's.
    rememberLabels(entry.index, labels.slice());
    enqueue(() => sendJson("DELETE", `api/given/${entry.index}`));
  } else {
    rememberLabels(entry.index, labels.slice());
    save(entry.index, labels.slice());
  }
  emit("edited", entry.index);
}

let turning = Promise.resolve();
export function undo() {
  if (!canEdit()) return;
  turning = turning.then(() => attempt(async () => {
    const entry = stepBack();
    await turn(entry, entry?.before, true);
  }));
}

export function redo() {
  if (!canEdit()) return;
  turning = turning.then(() => attempt(async () => {
    const entry = stepOn();
    await turn(entry, entry?.after, false);
  }));
}

// Takes the user's mask of the frame away.
export async function forgetFrame() {
  const index = store.frame;
  if (!canEdit() || !isShown() || !store.project.given.includes(index)) return;
  const before = store.labels.slice();
  await queue;
  await attempt(async () => {
    applyMarks(await sendJson("DELETE", `api/given/${index}`));
    forgetLabels(index);
    store.labels = (await labelsOf(index)).slice();
    const { width, height } = store.project;
    const box = difference(before, store.labels, width, height) ?? [0, 0, 1, 1];
    record({ index, box, wasGiven: true }, before, store.labels, width);
    emit("edited", index);
    byId("saved").textContent = "Saved";
  });
}

byId("undo").onclick = undo;
byId("redo").onclick = redo;
byId("forget").onclick = forgetFrame;
on("history", () => emit("buttons"));
