// A heat map as colours: matplotlib's viridis, as in zoo/edge/_explain/occlusion.py; strength follows the drop.

import { VISIBLE } from "./explain.js";

const VIRIDIS = (
  "440154 481769 472a7a 433d84 3d4e8a 355e8d 2e6d8e 297b8e 23898e " +
  "1f978b 21a585 2eb37c 46c06f 65cb5e 89d548 b0dd2f d8e219 fde725"
)
  .split(" ")
  .map((colour) => [0, 2, 4].map((at) => Number.parseInt(colour.slice(at, at + 2), 16)));

/** The colour of a share in [0, 1]. */
export function viridis(share) {
  const place = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1);
  const below = Math.min(Math.floor(place), VIRIDIS.length - 2);
  return VIRIDIS[below].map((value, channel) => Math.round(value + (place - below) * (VIRIDIS[below + 1][channel] - value)));
}

/** As in zoo/edge/_explain/occlusion.py, for a map that the file makes itself: in logits. */
export const VISIBLE_EVIDENCE = 1;

/** The value that is drawn at full strength. */
export function top(heat) {
  return Math.max(heat.method === "evidence" ? VISIBLE_EVIDENCE : VISIBLE, ...heat.values.flat());
}

/** Draw the map over all of `canvas`, transparent where nothing matters. */
export function paint(canvas, heat) {
  const [rows, columns, most] = [heat.values.length, heat.values[0].length, top(heat)];
  const small = new ImageData(columns, rows);
  heat.values.flat().forEach((drop, index) => {
    const share = Math.max(0, drop) / most;
    small.data.set([...viridis(share), Math.round(255 * share)], 4 * index);
  });
  const source = document.createElement("canvas");
  [source.width, source.height] = [columns, rows];
  source.getContext("2d").putImageData(small, 0, 0);
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
}

/** The scale, one pixel high. */
export function paintLegend(canvas) {
  const line = new ImageData(canvas.width, 1);
  for (let x = 0; x < canvas.width; x += 1) {
    const share = x / (canvas.width - 1);
    line.data.set([...viridis(share), 255], 4 * x);
  }
  canvas.getContext("2d").putImageData(line, 0, 0);
}
