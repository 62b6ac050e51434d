// Pure changes of label maps: what the tools do to pixels. `open` says which ids may be painted over.

// A disc of that diameter along a line, in pixels of the frame.
export function paintLine(labels, width, height, from, to, diameter, id, open) {
  const radius = diameter / 2;
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]);
  const steps = Math.max(1, Math.ceil(length / Math.max(0.5, radius / 2)));
  for (let step = 0; step <= steps; step++) {
    const x = from[0] + ((to[0] - from[0]) * step) / steps;
    const y = from[1] + ((to[1] - from[1]) * step) / steps;
    paintDisc(labels, width, height, x, y, radius, id, open);
  }
}

function paintDisc(labels, width, height, x, y, radius, id, open) {
  const top = Math.max(0, Math.floor(y - radius)), bottom = Math.min(height - 1, Math.floor(y + radius));
  for (let row = top; row <= bottom; row++) {
    const dy = row + 0.5 - y;
    const half = Math.sqrt(Math.max(0, radius * radius - dy * dy));
    if (half === 0 && Math.floor(y) !== row) continue;
    const left = Math.max(0, Math.min(Math.floor(x), Math.ceil(x - half - 0.5)));
    const right = Math.min(width - 1, Math.max(Math.floor(x), Math.floor(x + half - 0.5)));
    for (let i = row * width + left, end = row * width + right; i <= end; i++) if (open[labels[i]]) labels[i] = id;
  }
}

// Everything inside a polygon (even-odd rule at pixel centres).
export function paintPolygon(labels, width, height, points, id, open) {
  for (let row = 0; row < height; row++) {
    const y = row + 0.5;
    const crossings = [];
    for (let k = 0; k < points.length; k++) {
      const [x0, y0] = points[k], [x1, y1] = points[(k + 1) % points.length];
      if (y0 <= y !== y1 <= y) crossings.push(x0 + ((y - y0) / (y1 - y0)) * (x1 - x0));
    }
    crossings.sort((a, b) => a - b);
    for (let k = 0; k + 1 < crossings.length; k += 2) {
      const left = Math.max(0, Math.ceil(crossings[k] - 0.5)), right = Math.min(width - 1, Math.ceil(crossings[k + 1] - 0.5) - 1);
      for (let i = row * width + left, end = row * width + right; i <= end; i++) if (open[labels[i]]) labels[i] = id;
    }
  }
}

// The connected area of one label around a pixel becomes the object: holes are closed, objects renamed.
export function fillArea(labels, width, height, [x, y], id, open) {
  const start = Math.floor(y) * width + Math.floor(x);
  const old = labels[start];
  if (old === id || !open[old]) return;
  const stack = [start];
  while (stack.length) {
    let i = stack.pop();
    const row = Math.floor(i / width) * width;
    while (i > row && labels[i - 1] === old) i--;
    let above = false, below = false;
    for (; i < row + width && labels[i] === old; i++) {
      labels[i] = id;
      const up = i >= width && labels[i - width] === old, down = i + width < labels.length && labels[i + width] === old;
      if (up && !above) stack.push(i - width);
      if (down && !below) stack.push(i + width);
      above = up;
      below = down;
    }
  }
}

// The object becomes the mask, where nothing that is locked lies.
export function replaceObject(labels, mask, id, open) {
  for (let i = 0; i < labels.length; i++) {
    if (mask[i]) {
      if (open[labels[i]]) labels[i] = id;
    } else if (labels[i] === id) labels[i] = 0;
  }
}
