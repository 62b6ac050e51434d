// Everything by keyboard.

import { undo, redo } from "./edits.js";
import { isOpen, openExport, openHelp, openOpener } from "./dialogs.js";
import { addObject, choose as chooseObject, chooseNext } from "./objects.js";
import { go, loopEdge, pause, toggle, toggleLoop } from "./player.js";
import { byId, store } from "./store.js";
import { abandon, choose, clickAt, closePolygon, dropCorner, holdSpace, moveCross, setBrush, TOOLS } from "./tools.js";
import { stop, track } from "./tracking.js";
import { changed, fit, zoom } from "./view.js";

function cycleMode() {
  const choices = [...document.querySelectorAll("input[name=mode]")];
  const at = choices.findIndex((choice) => choice.checked);
  choices[(at + 1) % choices.length].click();
}

let lastOpacity = 0.5;
function toggleOverlay() {
  const slider = byId("opacity");
  if (store.opacity > 0) lastOpacity = store.opacity;
  slider.value = store.opacity > 0 ? 0 : lastOpacity * 100;
  slider.dispatchEvent(new Event("input"));
  changed();
}

function goToMark(direction) {
  const marks = store.project?.given.filter((index) => (index - store.frame) * direction > 0) ?? [];
  if (marks.length) go(direction > 0 ? marks[0] : marks[marks.length - 1]);
}

const step = (by) => { pause(); go(store.frame + by); };

const ACTIONS = {
  ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
  ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
  Home: () => go(0),
  End: () => go(Infinity),
  ",": () => goToMark(-1),
  ".": () => goToMark(1),
  p: toggle,
  i: () => loopEdge("start"),
  u: () => loopEdge("end"),
  l: toggleLoop,
  n: addObject,
  "[": () => setBrush(store.brush / 1.25 - 0.5),
  "]": () => setBrush(store.brush * 1.25 + 0.5),
  t: (event) => track(event.shiftKey ? "backward" : "forward"),
  "+": () => zoom(1.3),
  "=": () => zoom(1.3),
  "-": () => zoom(1 / 1.3),
  0: fit,
  v: toggleOverlay,
  m: cycleMode,
  o: openOpener,
  x: openExport,
  "?": openHelp,
  Escape: () => abandon() || stop(),
  Enter: closePolygon,
  Backspace: dropCorner,
};

const isTyping = (target) => target.matches("input[type=text], input[type=number], select, textarea");
const usesArrows = (target) => target.matches("input[type=range], input[type=radio], input[type=color]");

document.addEventListener("keydown", (event) => {
  if (isOpen() || isTyping(event.target)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") (event.shiftKey ? redo : undo)();
    else if (key === "y") redo();
    else return;
    event.preventDefault();
    return;
  }
  const onStage = event.target === byId("stage");
  if (onStage && event.altKey && (key.startsWith("Arrow") || key === "Enter" || key === "Backspace")) {
    event.preventDefault();
    pointByKeys(event, key);
    return;
  }
  if (event.altKey) return;
  if (key === " ") {
    if (event.target.matches("button, a, input, summary")) return;
    holdSpace(true);
    event.preventDefault();
    return;
  }
  if (key === "Enter" && event.target.matches("button, a, input, label")) return;
  if (key.startsWith("Arrow") && usesArrows(event.target)) return;
  if (key === "Tab" && onStage && (store.project?.objects.length ?? 0) > 1 && !event.shiftKey) {
    chooseNext(1);
    event.preventDefault();
    return;
  }
  const tool = TOOLS.find((entry) => entry.key === key);
  if (tool) choose(tool.name);
  else if (/^[1-9]$/.test(key)) chooseObject(Number(key));
  else if (ACTIONS[key]) ACTIONS[key](event);
  else return;
  event.preventDefault();
});

// Alt with arrows moves a cross over the picture, Enter clicks there, Backspace clicks "not the object".
function pointByKeys(event, key) {
  const far = event.shiftKey ? 40 : 8;
  const by = { ArrowLeft: [-far, 0], ArrowRight: [far, 0], ArrowUp: [0, -far], ArrowDown: [0, far] }[key];
  const point = moveCross(by ?? [0, 0]);
  if (!by && point) clickAt(point, key === "Enter");
}

document.addEventListener("keyup", (event) => event.key === " " && holdSpace(false));
window.addEventListener("blur", () => holdSpace(false));
