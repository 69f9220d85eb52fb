// Whether every line of a JPEG was decoded, by the rules of zoo/readers/_jpeg.py: browsers fill a stream that ends early
// with gray and say nothing. Marker names are those of ITU-T T.81, table B.1.

const [RST0, RST7, SOI, EOI, SOS, DRI] = [0xd0, 0xd7, 0xd8, 0xd9, 0xda, 0xdd];
const JUNK = Uint8Array.from({ length: 64 }, (_, value) => 0xc0 | (value * 37 + 42) % 0x3f);

const isFrame = (marker) => marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
const isRestart = (marker) => marker >= RST0 && marker <= RST7;

/**
 * Whether the stream brings every line of the picture that was decoded from it, but for a part of the last MCU.
 *
 * @param {Uint8Array} bytes a JPEG, and whatever follows it.
 * @param {Uint8ClampedArray} shown what `show` made of it, four bytes a pixel.
 * @param {(bytes: Uint8Array) => Promise<Uint8ClampedArray>} show decodes such bytes.
 */
export async function isWhole(bytes, shown, show) {
  const more = addJunk(bytes);
  if (!more) return false;
  const again = await show(more.bytes);
  let changed = 0;
  for (let at = 0; at < shown.length; at += 4) {
    const same = shown[at] === again[at] && shown[at + 1] === again[at + 1] && shown[at + 2] === again[at + 2];
    changed += same ? 0 : 1;
  }
  return changed <= more.spare;
}

/**
 * The same stream with bytes that nobody needs before each marker that ends coded data: a decoder that lacks data takes
 * them, and the picture changes.
 *
 * @param {Uint8Array} bytes a JPEG, and whatever follows it.
 * @returns {{bytes: Uint8Array, spare: number}|null} null: the stream does not bring every coefficient of every
 *   component, or has no end. spare: pixels of one MCU, 0 in a picture of fewer than 16.
 */
export function addJunk(bytes) {
  const parts = [];
  const known = new Map(); // component: lowest bit known of each coefficient, -1: none
  let [frame, interval, from] = [null, 0, 0];
  for (let at = 2; ; ) {
    at = bytes.indexOf(0xff, at);
    while (at >= 0 && bytes[at + 1] === 0xff) at += 1;
    if (at < 0 || at + 1 >= bytes.length) return null;
    const marker = bytes[at + 1];
    if (marker === EOI) break;
    if (marker <= 0x01 || (marker >= RST0 && marker <= SOI)) {
      at += 2; // markers without a length
      continue;
    }
    const [start, end] = [at + 4, at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3])];
    if (isFrame(marker)) {
      frame = readFrame(bytes, marker, start);
      for (const { id } of frame.components) known.set(id, new Array(64).fill(-1));
    }
    if (marker === DRI) interval = (bytes[start] << 8) | bytes[start + 1];
    at = end;
    if (marker !== SOS) continue;
    if (!frame) return null;
    markKnown(bytes, start, frame, known);
    let restarts = 0;
    for (at = end; ; at += 1) {
      at = bytes.indexOf(0xff, at);
      if (at < 0 || at + 1 >= bytes.length) return null;
      const next = bytes[at + 1];
      if (next === 0 || next === 0xff) continue;
      parts.push(bytes.subarray(from, at), JUNK);
      from = at;
      if (!isRestart(next)) break;
      restarts += 1;
    }
    if (interval && restarts < Math.ceil(countUnits(bytes, start, frame) / interval) - 1) return null;
  }
  if (!known.size || [...known.values()].some((bits) => bits.some(Boolean))) return null;
  const area = 64 * largest(frame, "across") * largest(frame, "down");
  const spare = frame.width * frame.height < 16 * area ? 0 : area;
  return { bytes: concatenate([...parts, bytes.subarray(from)]), spare };
}

function readFrame(bytes, marker, start) {
  const components = Array.from({ length: bytes[start + 5] }, (_, place) => {
    const at = start + 6 + 3 * place;
    return { id: bytes[at], across: bytes[at + 1] >> 4 || 1, down: bytes[at + 1] & 15 || 1 };
  });
  const [height, width] = [(bytes[start + 1] << 8) | bytes[start + 2], (bytes[start + 3] << 8) | bytes[start + 4]];
  return { progressive: marker === 0xc2 || marker === 0xca, height, width, components };
}

/** Note which bits of which coefficients a scan brings, as libjpeg's coef_bits. */
function markKnown(bytes, start, frame, known) {
  const count = bytes[start];
  const tail = start + 1 + 2 * count;
  const [low, high, bit] = frame.progressive ? [bytes[tail], Math.min(bytes[tail + 1], 63), bytes[tail + 2] & 15] : [0, 63, 0];
  for (let place = 0; place < count; place += 1) known.get(bytes[start + 1 + 2 * place])?.fill(bit, low, high + 1);
}

const largest = (frame, way) => Math.max(...frame.components.map((one) => one[way]));

/** MCUs of a scan (T.81, A.2). */
function countUnits(bytes, start, frame) {
  const { height, width, components } = frame;
  const [across, down] = [largest(frame, "across"), largest(frame, "down")];
  if (bytes[start] !== 1) return Math.ceil(width / (8 * across)) * Math.ceil(height / (8 * down));
  const own = components.find((one) => one.id === bytes[start + 1]) ?? { across: 1, down: 1 };
  const [wide, high] = [Math.ceil((width * own.across) / across), Math.ceil((height * own.down) / down)];
  return Math.ceil(wide / 8) * Math.ceil(high / 8);
}

function concatenate(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (whole.set(part, at), at + part.length), 0);
  return whole;
}
