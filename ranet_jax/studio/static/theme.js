// Light or dark: the system's choice, until the user makes one.

import { byId, emit } from "./store.js";

const system = matchMedia("(prefers-color-scheme: dark)");
const stored = () => {
  try {
    return localStorage.getItem("theme");
  } catch {
    return null;
  }
};

function apply(theme) {
  document.documentElement.dataset.theme = theme;
  emit("theme");
}

apply(stored() ?? (system.matches ? "dark" : "light"));
system.addEventListener("change", () => stored() || apply(system.matches ? "dark" : "light"));
byId("theme").onclick = () => {
  const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("theme", theme);
  } catch { /* a private window: the choice lasts as long as the page */ }
  apply(theme);
};
