// A golden set read and replayed without Python: in a browser, in node, wherever an ONNX runtime has JavaScript.
//
// An ES module without dependencies. It reads what numpy's savez and savez_compressed write (.npz: a zip of .npy
// files) and says what `zoo verify` says: how far each logit is from the expected one, whether probabilities are those
// of the logits, and whether a label changed.
//
// What this module does not know: ONNX, hashes, pages.

const MOST_BYTES = 2 ** 31; // that a set may unpack to, as in zoo/edge/_replay.py

const END_OF_DIRECTORY = 0x06054b50;
const DIRECTORY_ENTRY = 0x02014b50;
const LOCAL_HEADER = 0x04034b50;

const LAST_STEP = 1e-5; // these two and what they mean: zoo/edge/_last_step.py
const NEAR_ZERO = 1e-3;

const KINDS = {
  b1: Uint8Array,
  u1: Uint8Array,
  i1: Int8Array,
  u2: Uint16Array,
  i2: Int16Array,
  u4: Uint32Array,
  i4: Int32Array,
  u8: BigUint64Array,
  i8: BigInt64Array,
  f4: Float32Array,
  f8: Float64Array,
};

const NAMES = { u1: "uint8", u2: "uint16", f4: "float32" }; // of raw images, as the manifest writes them

/**
 * One array as numpy's save wrote it (numpy.lib.format, versions 1 to 3).
 *
 * @param {Uint8Array} bytes the .npy file.
 * @returns {{kind: string, shape: number[], data: ArrayBufferView}} kind such as "u1" or "f4"; data in C order.
 * @throws {Error} not such a file, cut short, or of objects.
 */
export function readNpy(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 12 || String.fromCharCode(...bytes.subarray(1, 6)) !== "NUMPY") {
    throw new Error("not an .npy file");
  }
  const wide = bytes[6] > 1;
  const start = wide ? 12 : 10;
  const end = start + (wide ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder().decode(bytes.subarray(start, end));
  const [, order, kind] = /'descr':\s*'([<>|=])([a-zA-Z]\d+)'/.exec(header) ?? [];
  const [, sides] = /'shape':\s*\(([\d,\s]*)\)/.exec(header) ?? [];
  if (!(kind in KINDS) || sides === undefined) {
    throw new Error(`array of ${header.trim().slice(0, 80)}, expected whole numbers or floats`);
  }
  const shape = sides.split(",").filter((side) => side.trim()).map(Number);
  const count = shape.reduce((product, side) => product * side, 1);
  const size = KINDS[kind].BYTES_PER_ELEMENT;
  if (bytes.length - end !== count * size) {
    throw new Error(`array of ${bytes.length - end} bytes, its header says ${count * size}`);
  }
  const copy = bytes.slice(end); // aligned
  if (order === ">") {
    for (let at = 0; at < copy.length; at += size) copy.subarray(at, at + size).reverse();
  }
  const data = new KINDS[kind](copy.buffer, 0, count);
  return { kind, shape, data: /'fortran_order':\s*True/.test(header) ? inRows(data, shape) : data };
}

/**
 * Every array of an .npz file, stored or deflated.
 *
 * @param {Uint8Array} bytes the file.
 * @returns {Promise<Map<string, {kind: string, shape: number[], data: ArrayBufferView}>>} by name, without ".npy".
 * @throws {Error} not such a file, damaged, or larger than 2 GiB unpacked.
 */
export async function readNpz(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let tail = bytes.length - 22;
  while (tail >= 0 && view.getUint32(tail, true) !== END_OF_DIRECTORY) tail -= 1;
  if (tail < 0) throw new Error("not a zip archive");
  const arrays = new Map();
  let at = view.getUint32(tail + 16, true);
  let total = 0;
  for (let left = view.getUint16(tail + 10, true); left > 0; left -= 1) {
    if (at + 46 > tail || view.getUint32(at, true) !== DIRECTORY_ENTRY) throw new Error("damaged zip directory");
    const [method, crc] = [view.getUint16(at + 10, true), view.getUint32(at + 16, true)];
    const [packed, size] = [view.getUint32(at + 20, true), view.getUint32(at + 24, true)];
    const [named, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    const local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + named));
    total += size;
    if (total > MOST_BYTES) throw new Error(`unpacks to more than ${MOST_BYTES} bytes`);
    if (local + 30 > tail || view.getUint32(local, true) !== LOCAL_HEADER) throw new Error(`${name}: damaged`);
    // The lengths before the bytes are the local header's own: numpy writes another extra field there.
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const content = await unpacked(bytes.subarray(from, from + packed), method, size, name);
    if (crc32(content) !== crc) throw new Error(`${name}: damaged (its checksum differs)`);
    arrays.set(name.replace(/\.npy$/, ""), readNpy(content));
    at += 46 + named + extra + comment;
  }
  return arrays;
}

/**
 * The golden set of a bundle.
 *
 * @param {Uint8Array} bytes its golden.npz.
 * @returns {Promise<{images: {name: string, dtype: string, shape: number[], data: ArrayBufferView}[],
 *   logits: Float32Array[], novelty: ArrayLike<number>, tolerance: number}>} shape is [H, W, C]; one row of logits for
 *   each image; novelty: scores of the first images, none where the set has none.
 * @throws {Error} not a golden set.
 */
export async function readGolden(bytes) {
  const arrays = await readNpz(bytes);
  const names = [...arrays.keys()].filter((name) => name.startsWith("image_")).sort();
  const images = names.map((name) => {
    const { kind, shape, data } = arrays.get(name);
    return { name, dtype: NAMES[kind], shape, data };
  });
  const [logits, tolerance] = [arrays.get("logits"), arrays.get("tolerance")?.data[0]];
  const rows = logits?.shape[0];
  if (!images.length || rows !== images.length || images.some(({ dtype, shape }) => !dtype || shape.length !== 3)) {
    throw new Error(`${images.length} images and ${rows ?? "no"} rows of logits, expected as many, (H, W, C) each`);
  }
  if (!(tolerance >= 0 && tolerance < 1)) throw new Error(`tolerance ${tolerance}, expected a number in [0, 1)`);
  const width = logits.shape[1];
  const row = (index) => Float32Array.from(logits.data.subarray(index * width, (index + 1) * width));
  const novelty = arrays.get("novelty")?.data ?? [];
  return { images, logits: names.map((_, index) => row(index)), novelty, tolerance };
}

/**
 * @typedef {ArrayLike<number> | {logits: ArrayLike<number>, probabilities?: ArrayLike<number>,
 *   novelty?: ArrayLike<number>}} Answer
 */

/**
 * Run every golden image from raw pixels and compare each logit, each score of novelty and each label that is given.
 * Probabilities must be those of the logits that came with them: answers are made of probabilities.
 *
 * @param {Uint8Array | Awaited<ReturnType<typeof readGolden>>} golden the file's bytes, or the set read before.
 * @param {(image: {name: string, dtype: string, shape: number[], data: ArrayBufferView}) =>
 *   Promise<Answer> | Answer} run the model: one raw image to {logits, probabilities, novelty}, K, K and 1 numbers, or to
 *   its K logits alone; what is not given is not compared.
 * @param {{labels?: string[], task?: "multiclass" | "multilabel" | "ordinal", temperature?: number}} [manifest] for names
 *   in messages; because a label of a multilabel model is given by its own logit; and for the step to probabilities.
 * @returns {Promise<{images: number, max_abs_logit: number, max_abs_novelty: number | null, tolerance: number,
 *   open_labels: number, mismatches: string[]}>} open_labels: those that may come or go within the tolerance, which are
 *   not compared; max_abs_logit: largest |difference| / max(1, |expected|) of the images that are within the
 *   tolerance; max_abs_novelty: the same, null where no score was compared. The proof holds when mismatches is empty.
 * @throws {Error} not a golden set, or what `run` throws.
 */
export async function replay(golden, run, { labels, task = "multiclass", temperature = 1 } = {}) {
  const { images, logits, novelty, tolerance } = golden instanceof Uint8Array ? await readGolden(golden) : golden;
  const called = (index) => `'${labels?.[index] ?? index}'`;
  const mismatches = [];
  let [worst, worstScore, openCount] = [0, null, 0];
  for (const [index, image] of images.entries()) {
    const expected = logits[index];
    const answer = await run(image);
    const actual = Array.from(answer.logits ?? answer, Number);
    if (actual.length !== expected.length) {
      mismatches.push(`${image.name}: expected ${expected.length} logits, actual ${actual.length}`);
      continue;
    }
    const apart = actual.map((value, at) => apartBy(value, expected[at]));
    const at = best(apart);
    if (apart[at] > tolerance) {
      const [wanted, got] = [expected[at], actual[at]].map((value) => value.toPrecision(6));
      mismatches.push(`${image.name}: logit of ${called(at)} expected ${wanted}, actual ${got}`);
    } else {
      worst = Math.max(worst, apart[at]);
      const off = answer.probabilities ? lastStepOff(actual, answer.probabilities, temperature, task) : 0;
      if (!(off <= LAST_STEP)) {
        mismatches.push(`${image.name}: probabilities expected of its logits at temperature ${temperature} within ${LAST_STEP}, actual off by ${off.toPrecision(2)}`);
      }
    }
    if (answer.novelty && index < novelty.length) {
      const off = apartBy(Number(answer.novelty[0]), novelty[index]);
      if (off > tolerance) mismatches.push(`${image.name}: novelty expected ${novelty[index].toPrecision(6)}, actual ${Number(answer.novelty[0]).toPrecision(6)}`);
      else worstScore = Math.max(worstScore ?? 0, off);
    }
    const open = openLabels(expected, task, tolerance);
    openCount += task === "multilabel" ? open.length : Math.min(1, open.length);
    if (task === "multilabel") {
      const given = (value) => (value > 0 ? "given" : "not given");
      actual.forEach((value, index) => {
        const wanted = expected[index];
        if (value > 0 === wanted > 0 || open.includes(index)) return;
        mismatches.push(`${image.name}: label expected ${called(index)} ${given(wanted)}, actual ${called(index)} ${given(value)}`);
      });
    } else if (best(expected) !== best(actual) && !open.includes(best(actual))) {
      mismatches.push(`${image.name}: label expected ${called(best(expected))}, actual ${called(best(actual))}`);
    }
  }
  return { images: images.length, max_abs_logit: worst, max_abs_novelty: worstScore, tolerance, open_labels: openCount, mismatches };
}

/** How far probabilities are from those of the logits; Infinity where they are no numbers, or not as many. */
function lastStepOff(logits, probabilities, temperature, task) {
  const scaled = logits.map((value) => value / Math.fround(temperature));
  const largest = Math.max(...scaled);
  const powers = scaled.map((value) => Math.exp(task === "multilabel" ? -value : value - largest));
  const sum = powers.reduce((total, value) => total + value, 0);
  const exact = powers.map((value) => (task === "multilabel" ? 1 / (1 + value) : value / sum));
  const size = Math.max(1, ...scaled.map(Math.abs));
  const off = Math.max(...exact.map((value, index) => Math.abs(value - probabilities[index]))) / size;
  return probabilities.length === exact.length && Number.isFinite(off) ? off : Infinity;
}

/** Places of labels that may come or go where each logit moves by the tolerance: find_open_labels of _last_step.py. */
function openLabels(expected, task, tolerance) {
  const room = Array.from(expected, (value) => tolerance * Math.max(1, Math.abs(value)));
  const top = best(expected);
  const isOpen = (value, at) =>
    task === "multilabel" ? Math.abs(value) <= Math.max(room[at], NEAR_ZERO) : at !== top && expected[top] - value <= room[top] + room[at];
  return Array.from(expected, (value, at) => (isOpen(value, at) ? at : -1)).filter((at) => at >= 0);
}

function apartBy(actual, expected) {
  const relative = Math.abs(actual - expected) / Math.max(1, Math.abs(expected));
  return Number.isNaN(relative) ? Infinity : relative;
}

function best(values) {
  let found = 0;
  for (let index = 1; index < values.length; index += 1) if (values[index] > values[found]) found = index;
  return found;
}

/** An array in Fortran order, its first index running fastest, in C order. */
function inRows(data, shape) {
  const result = new data.constructor(data.length);
  for (let index = 0; index < data.length; index += 1) {
    let [rest, at, stride] = [index, 0, data.length];
    for (const side of shape) {
      stride /= side;
      at += (rest % side) * stride;
      rest = Math.floor(rest / side);
    }
    result[at] = data[index];
  }
  return result;
}

async function unpacked(packed, method, size, name) {
  if (method === 0 && packed.length === size) return packed;
  if (method !== 8) throw new Error(`${name}: cut short, or packed by zip method ${method}`);
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const content = new Uint8Array(size);
  let at = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > size) throw new Error(`${name}: unpacks to more than the ${size} bytes it states`);
    content.set(part.value, at);
    at += part.value.length;
  }
  if (at !== size) throw new Error(`${name}: unpacks to ${at} bytes, it states ${size}`);
  return content;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, value) => {
  let crc = value;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  return crc;
});

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = (crc >>> 8) ^ CRC_TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}
