// The list of objects.

import { sendJson } from "./api.js";
import { settled } from "./edits.js";
import { forgetAll, show } from "./frames.js";
import { forgetObject } from "./history.js";
import { attempt, say } from "./messages.js";
import { ask } from "./dialogs.js";
import { byId, canEdit, element, emit, icon, objectOf, on, set, store } from "./store.js";

const COLOURS = "#RRGGBB";

export async function addObject() {
  if (!canEdit()) return;
  await attempt(async () => {
    const known = new Set(store.project.objects.map((entry) => entry.id));
    adopt(await sendJson("POST", "api/objects"));
    const added = store.project.objects.find((entry) => !known.has(entry.id));
    set({ object: added.id });
    drawList();
    say(`${added.name} added: click on it in the picture.`);
  });
}

export async function changeObject(id, values) {
  if (!canEdit()) return;
  await attempt(async () => adopt(await sendJson("PATCH", `api/objects/${id}`, values)));
  drawList();
}

async function deleteObject(entry) {
  const sure = await ask(`Delete ${entry.name}?`, "All its masks go, in every frame. This cannot be undone.", "Delete");
  if (!sure) return;
  await settled();
  await attempt(async () => {
    const state = await sendJson("DELETE", `api/objects/${entry.id}`);
    forgetObject(entry.id);
    forgetAll();
    adopt(state);
    emit("records");
    await show(store.frame);
  });
  drawList();
}

function adopt(state) {
  store.project.objects = state.project.objects;
  store.project.given = state.project.given;
  store.project.records = state.project.records;
  if (!objectOf(store.object)) set({ object: store.project.objects[0]?.id ?? 0 });
  emit("objects");
}

function row(entry) {
  const chosen = entry.id === store.object;
  const locked = !canEdit();
  const toggle = (field, on, off, label) => element("button", {
    class: "quiet icon", "aria-pressed": String(entry[field]), "aria-label": `${label} ${entry.name}`, title: label, disabled: locked,
    onclick: () => changeObject(entry.id, { [field]: !entry[field] }),
  }, icon(entry[field] ? on : off));
  const colour = element("input", {
    type: "color", value: entry.colour, "aria-label": `Colour of ${entry.name}`, title: `Colour (${COLOURS})`, disabled: locked,
    onchange: ({ target }) => changeObject(entry.id, { colour: target.value.toLowerCase() }),
  });
  const name = element("input", {
    type: "text", value: entry.name, maxlength: "60", "aria-label": `Name of object ${entry.id}`, disabled: locked, spellcheck: "false",
    onchange: ({ target }) => changeObject(entry.id, { name: target.value }),
    onfocus: () => choose(entry.id, false),
  });
  const pick = element("button", {
    class: "pick", "aria-pressed": String(chosen), "aria-label": `Choose ${entry.name}, id ${entry.id}`, title: `Choose (key ${entry.id < 10 ? entry.id : "Tab"})`,
    onclick: () => choose(entry.id),
  }, String(entry.id));
  return element("li", { class: chosen ? "chosen" : "", "data-id": entry.id }, pick, colour, name,
    toggle("hidden", "eye-off", "eye", "Hide"), toggle("locked", "lock", "unlock", "Lock"),
    element("button", { class: "quiet icon", "aria-label": `Delete ${entry.name}`, title: "Delete", disabled: locked, onclick: () => deleteObject(entry) }, icon("delete")));
}

export function choose(id, redraw = true) {
  if (!objectOf(id)) return;
  set({ object: id });
  if (redraw) drawList();
  else for (const item of byId("objects").children) item.classList.toggle("chosen", Number(item.dataset.id) === id);
}

export function chooseNext(step) {
  const objects = store.project?.objects ?? [];
  if (!objects.length) return;
  const at = objects.findIndex((entry) => entry.id === store.object);
  choose(objects[(at + step + objects.length) % objects.length].id);
}

export function drawList() {
  const objects = store.project?.objects ?? [];
  const focus = document.activeElement?.getAttribute?.("aria-label");
  byId("objects").replaceChildren(...objects.map(row));
  if (store.project && !objects.length) byId("objects").append(element("li", { class: "empty" }, "None yet. Add the first one, then click on it in the picture."));
  if (focus) byId("objects").querySelector(`[aria-label="${CSS.escape(focus)}"]`)?.focus();
  byId("add-object").disabled = !canEdit() || objects.length >= 16;
}

byId("add-object").onclick = addObject;
on("objects", drawList);
on("writer", drawList);
