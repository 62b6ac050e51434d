// Talking to the server. Every address is below the page's own, whose path starts with the token.

const base = new URL(".", location.href);
let pageId = "";

export class ServerError extends Error {}

async function send(method, path, body, type) {
  const headers = { "x-page": pageId };
  if (type) headers["content-type"] = type;
  let response;
  try {
    response = await fetch(new URL(path, base), { method, body, headers });
  } catch {
    throw new ServerError("The studio does not answer: start `ranet-jax studio` again, with the same video, and nothing is lost.");
  }
  if (!response.ok) {
    const text = await response.text();
    let message = text;
    try {
      message = JSON.parse(text).error;
    } catch { /* not ours */ }
    throw new ServerError(message || `The studio answered ${response.status}: reload the page.`);
  }
  return response;
}

export const getJson = async (path) => (await send("GET", path)).json();
export const sendJson = async (method, path, values = {}) =>
  (await send(method, path, JSON.stringify(values), "application/json")).json();

export async function getFrame(index, exact) {
  const response = await send("GET", `api/frame/${index}${exact ? "?exact=1" : ""}`);
  const bitmap = await createImageBitmap(await response.blob());
  return { bitmap, exact: response.headers.get("x-exact") === "1" };
}

export const thumbnailAddress = (index) => new URL(`api/thumbnail/${index}`, base).href;
export const exportAddress = (name) => new URL(`api/exports/${name}`, base).href;

export async function inflate(data) {
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function deflate(data) {
  const stream = new Blob([data]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

export const getLabels = async (index) => inflate(await (await send("GET", `api/labels/${index}`)).arrayBuffer());
export const putLabels = async (index, labels) =>
  (await send("PUT", `api/labels/${index}`, await deflate(labels), "application/octet-stream")).json();
export const prepareClicks = (index) => send("POST", `api/encode/${index}`);

export async function click(values) {
  return inflate(await (await send("POST", "api/click", JSON.stringify(values), "application/json")).arrayBuffer());
}

export const uploadVideo = async (file) =>
  (await send("POST", `api/video?name=${encodeURIComponent(file.name)}`, file, "application/octet-stream")).json();
export const uploadMask = async (file, index) =>
  (await send("POST", `api/mask/${index}`, file, "application/octet-stream")).json();

// Messages of the server as they come; a binary one is JSON with a label map behind it.
export function connect(onMessage, onGone) {
  const address = new URL("api/live", base);
  address.protocol = "ws:";
  const socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      const message = JSON.parse(data);
      if (message.type === "hello") pageId = message.page;
      onMessage(message);
      return;
    }
    const length = new DataView(data).getUint32(0);
    const message = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    message.packed = data.slice(4 + length);
    onMessage(message);
  };
  socket.onclose = () => onGone();
}
