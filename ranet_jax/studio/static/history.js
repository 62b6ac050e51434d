// Undo and redo without a limit: what an edit changed, as the box it lies in, before and after, in run lengths.

import { emit } from "./store.js";

let past = [];
let future = [];

function cut(labels, width, [left, top, right, bottom]) {
  const runs = [];
  let value = -1, length = 0;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const here = labels[y * width + x];
      if (here === value) length++;
      else {
        if (length) runs.push(value, length);
        value = here;
        length = 1;
      }
    }
  }
  runs.push(value, length);
  return Uint32Array.from(runs);
}

export function paste(labels, width, [left, top, right, bottom], runs) {
  let position = 0, rest = runs[1];
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      if (!rest) {
        position += 2;
        rest = runs[position + 1];
      }
      labels[y * width + x] = runs[position];
      rest--;
    }
  }
}

// The box in which two label maps differ; null where they are equal.
export function difference(before, after, width, height) {
  let left = width, top = -1, right = 0, bottom = 0;
  for (let y = 0; y < height; y++) {
    const start = y * width;
    for (let x = 0; x < width; x++) {
      if (before[start + x] !== after[start + x]) {
        if (top < 0) top = y;
        bottom = y + 1;
        if (x < left) left = x;
        if (x >= right) right = x + 1;
      }
    }
  }
  return top < 0 ? null : [left, top, right, bottom];
}

export function record(entry, before, after, width) {
  past.push({ ...entry, before: cut(before, width, entry.box), after: cut(after, width, entry.box) });
  future = [];
  emit("history");
}

export function stepBack() {
  const entry = past.pop();
  if (entry) future.push(entry);
  emit("history");
  return entry;
}

export function stepOn() {
  const entry = future.pop();
  if (entry) past.push(entry);
  emit("history");
  return entry;
}

// What is left of the edits when an object is gone from every frame.
export function forgetObject(id) {
  for (const entry of [...past, ...future]) {
    for (const runs of [entry.before, entry.after]) {
      for (let k = 0; k < runs.length; k += 2) if (runs[k] === id) runs[k] = 0;
    }
  }
  const changes = ({ before, after }) => before.length !== after.length || before.some((value, k) => value !== after[k]);
  past = past.filter(changes);
  future = future.filter(changes);
  emit("history");
}

// Another project has edits of its own.
export function clearHistory() {
  past = [];
  future = [];
  emit("history");
}

export const canUndo = () => past.length > 0;
export const canRedo = () => future.length > 0;
