// Occlusion sensitivity in the browser: what zoo/edge/_explain/occlusion.py does, number for number; it gives the reasons.

import { decide } from "./decide.js";

const CELLS = 144;
const SPAN = 2;
const ENOUGH = 2;

/** As in zoo/edge/_explain/occlusion.py: the weakest map that is drawn at full strength. */
export const VISIBLE = 0.05;

/**
 * Map what the probability of a label depends on.
 *
 * @param {{data: Uint8Array | Uint16Array | Float32Array, height: number, width: number, channels: number}} image raw.
 * @param {{labels: string[], preprocess: object, members?: object[]}} manifest
 * @param {(image: object) => Promise<ArrayLike<number>>} answer one raw image to its probabilities.
 * @param {{label?: string, progress?: (share: number) => void}} [options]
 * @returns {Promise<{label: string, base: number, height: number, width: number, values: number[][]}>}
 */
export async function occlusion(image, manifest, answer, { label, progress = () => {} } = {}) {
  const seen = reduced(image, views(manifest));
  const whole = await answer(seen);
  const at = manifest.labels.indexOf(label ?? decide(whole, null, { ...manifest, abstention: null }).label);
  if (at < 0) throw new Error(`no label '${label}', expected one of ${manifest.labels.join(", ")}`);
  const base = whole[at];
  const [rows, columns] = edges(seen.height, seen.width);
  const [high, wide] = [span(rows), span(columns)];
  const [down, across] = [rows.length - high, columns.length - wide];
  const fill = means(seen);
  const drops = [];
  for (let i = 0; i < down; i += 1) {
    for (let j = 0; j < across; j += 1) {
      const hidden = covered(seen, fill, [rows[i], rows[i + high], columns[j], columns[j + wide]]);
      drops.push(base - (await answer(hidden))[at]);
      progress(drops.length / (down * across));
    }
  }
  const values = spread(drops, rows.length - 1, columns.length - 1);
  return { label: manifest.labels[at], base, height: image.height, width: image.width, values };
}

/** Beginnings and ends of cells along each side. */
export function edges(height, width) {
  const rows = Math.min(height, CELLS / 2, Math.max(2, Math.floor(Math.sqrt((CELLS * height) / width) + 0.5)));
  const columns = Math.min(width, Math.max(2, Math.floor(CELLS / rows + 0.5)));
  return [cuts(height, rows), cuts(width, columns)];
}

function cuts(length, pieces) {
  return Array.from({ length: pieces + 1 }, (_, index) => Math.floor((index * length) / pieces));
}

const span = (cut) => Math.min(SPAN, cut.length - 1);

const asStored = (mean, data) => (data instanceof Float32Array ? mean : Math.floor(mean + 0.5));

/** The preprocessing of the network, or of every member of an ensemble; bundles of older releases name no members. */
export const views = ({ preprocess, members }) => (members?.length ? members.map((member) => member.preprocess) : [preprocess]);

function reduced(image, specs) {
  const { data, height, width, channels } = image;
  const enough = ({ size }) => Math.min(Math.floor(height / (ENOUGH * size[0])), Math.floor(width / (ENOUGH * size[1])));
  const factor = Math.min(...specs.map(enough));
  if (factor < 2 || specs.some(({ denoise }) => denoise)) return image;
  const [down, across] = [cuts(height, Math.floor(height / factor)), cuts(width, Math.floor(width / factor))];
  const [rows, columns] = [down.length - 1, across.length - 1];
  const small = new data.constructor(rows * columns * channels);
  for (let i = 0; i < rows; i += 1) {
    for (let j = 0; j < columns; j += 1) {
      const block = [down[i], down[i + 1], across[j], across[j + 1]];
      means(image, block).forEach((mean, channel) => {
        small[(i * columns + j) * channels + channel] = mean;
      });
    }
  }
  return { data: small, height: rows, width: columns, channels };
}

/** The mean of each channel over a block, as pixels are stored. */
function means({ data, height, width, channels }, [top, bottom, left, right] = [0, height, 0, width]) {
  const sums = new Float64Array(channels);
  for (let y = top; y < bottom; y += 1) {
    for (let at = (y * width + left) * channels; at < (y * width + right) * channels; at += channels) {
      for (let channel = 0; channel < channels; channel += 1) sums[channel] += data[at + channel];
    }
  }
  return Array.from(sums, (sum) => asStored(sum / ((bottom - top) * (right - left)), data));
}

function covered(image, fill, [top, bottom, left, right]) {
  const data = image.data.slice();
  for (let y = top; y < bottom; y += 1) {
    for (let x = left; x < right; x += 1) data.set(fill, (y * image.width + x) * image.channels);
  }
  return { ...image, data };
}

function spread(drops, rows, columns) {
  const [high, wide] = [Math.min(SPAN, rows), Math.min(SPAN, columns)];
  const [down, across] = [rows - high + 1, columns - wide + 1];
  const grid = Array.from({ length: rows }, () => new Array(columns).fill(0));
  const count = Array.from({ length: rows }, () => new Array(columns).fill(0));
  for (let i = 0; i < down; i += 1) {
    for (let j = 0; j < across; j += 1) {
      for (let y = i; y < i + high; y += 1) {
        for (let x = j; x < j + wide; x += 1) {
          grid[y][x] += drops[i * across + j];
          count[y][x] += 1;
        }
      }
    }
  }
  return grid.map((row, y) => row.map((value, x) => value / count[y][x]));
}
