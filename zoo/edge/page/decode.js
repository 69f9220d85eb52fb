// One image file to raw pixels in a browser, by the rules of zoo/readers/_raster.py, or a refusal in words.
//
// A browser decodes what it is given to 8 bits without a word, shows the first frame of an animation and mixes
// transparent pixels with black. So each file's header is read first, and what would change is refused.

import { isWhole } from "./jpeg.js";
import { KNOWN } from "./known.js";

const MOST_PIXELS = 64_000_000;
const ELSEWHERE = "a page in a browser cannot read it; give it to 'zoo predict', or to the page of 'zoo serve'";

/** What the first bytes say, as in zoo/readers: "PNG", "DICOM", … or null. */
export function recognise(bytes) {
  const starts = (text, at = 0) => [...text].every((letter, index) => bytes[at + index] === letter.charCodeAt(0));
  if (starts("DICM", 128)) return "DICOM";
  if (starts("\xff\xd8\xff")) return "JPEG";
  if (starts("\x89PNG\r\n\x1a\n")) return "PNG";
  if (starts("RIFF") && starts("WEBP", 8)) return "WebP";
  if (starts("GIF8")) return "GIF";
  if (starts("BM")) return "BMP";
  if (["II*\0", "MM\0*", "II+\0", "MM\0+"].some((magic) => starts(magic))) return "TIFF";
  return /^P[1-6f]\s/.test(String.fromCharCode(...bytes.subarray(0, 3))) ? "PPM" : null;
}

/**
 * Why a browser must not decode a file for a model of 8-bit pictures; null when it may.
 *
 * @param {Uint8Array} bytes the file.
 */
export function defect(bytes) {
  if (!bytes.length) return "empty file (0 bytes), expected an image";
  const form = recognise(bytes);
  if (form === null) return "not an image by its first bytes; expected PNG, JPEG, WebP, GIF or BMP";
  const inspect = { PNG: ofPng, JPEG: ofJpeg, WebP: ofWebp, GIF: ofGif, BMP: ofBmp }[form];
  if (!inspect) return `a ${form} file: ${ELSEWHERE}`;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    return inspect(view, bytes);
  } catch (problem) {
    if (problem instanceof RangeError) return "the file is cut short; restore it or leave it out";
    throw problem;
  }
}

/**
 * Decode one file.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<{data: Uint8Array, height: number, width: number, channels: 3}>} upright by EXIF.
 * @throws {Error} in words: what the file is, what was expected, what to do.
 */
export async function decode(bytes) {
  const wrong = defect(bytes);
  if (wrong) throw new Error(wrong);
  const { shown, width, height } = await show(bytes);
  if (recognise(bytes) === "JPEG" && !(await isWhole(bytes, shown, async (more) => (await show(more)).shown))) {
    throw new Error("truncated: the data end before the picture does; restore the file or leave it out");
  }
  const data = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < shown.length; from += 4, to += 3) {
    if (shown[from + 3] !== 255) {
      throw new Error("partly transparent, expected opaque pixels; flatten it on the background you mean");
    }
    data[to] = shown[from];
    data[to + 1] = shown[from + 1];
    data[to + 2] = shown[from + 2];
  }
  return { data, height, width, channels: 3 };
}

/** The pixels of a file as the browser decodes them, four bytes each. */
async function show(bytes) {
  const bitmap = await createImageBitmap(new Blob([bytes]), {
    colorSpaceConversion: "none", // profiles are display hints: Pillow's reader does not apply them either
    premultiplyAlpha: "none",
    imageOrientation: "from-image",
  }).catch(() => {
    throw new Error("cannot be decoded; restore the file or leave it out");
  });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(tooLarge(width, height));
  const shown = pixels(bitmap, width, height);
  bitmap.close();
  return { shown, width, height };
}

/**
 * Whether the browser gives pages true pixels: some add noise against fingerprinting.
 *
 * @throws {Error} it does not.
 */
export async function checkPixels() {
  const [side, known] = [16, new ImageData(16, 16)];
  for (let at = 0; at < known.data.length; at += 1) known.data[at] = at % 4 === 3 ? 255 : (at * 37 + (at >> 3) * 11) % 256;
  const bitmap = await createImageBitmap(known, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  const back = pixels(bitmap, side, side);
  if (known.data.some((value, at) => value !== back[at])) {
    throw new Error(
      "this browser changes the pixels that a page reads, as a protection against tracking; answers would be wrong. " +
        "Allow canvas data for this page, or use another browser.",
    );
  }
}

/**
 * Whether the browser decodes files as zoo/readers does: another way to turn, colours by a profile, other rounding.
 *
 * @param {(bytes: Uint8Array) => Promise<{data: Uint8Array, height: number, width: number}>} decoder `decode`, or its like.
 * @throws {Error} it does not.
 */
export async function checkDecoders(decoder = decode) {
  const unpack = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  for (const { form, most, height, width, file, pixels: expected } of KNOWN) {
    const found = await decoder(unpack(file));
    const values = unpack(expected);
    const alike = found.height === height && found.width === width;
    if (!alike || values.some((value, at) => Math.abs(value - found.data[at]) > most)) {
      throw new Error(
        `this browser decodes ${form} files to other pixels than the model was proven on; answers might be wrong. ` +
          "Use another browser, or 'zoo predict', or the page of 'zoo serve'.",
      );
    }
  }
}

function pixels(bitmap, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" }); // on the CPU: exact
  if (!context) throw new Error(`${width}x${height} pixels are more than this browser can hold; shrink the image`);
  context.drawImage(bitmap, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}

function tooLarge(width, height) {
  return `${width}x${height} pixels, expected at most ${MOST_PIXELS / 1e6} million; shrink it`;
}

const unturned = (form) => `a ${form} file that is to be turned by its EXIF data, which browsers leave out; save it upright`;
const animated = (what) => `${what}, expected one image; save the wanted frame as a file`;

function ofPng(view, bytes) {
  const [width, height, depth] = [view.getUint32(16), view.getUint32(20), bytes[24]];
  if (width * height > MOST_PIXELS) return tooLarge(width, height);
  if (depth === 16) return `16 bits a sample, which would be cut to 8: ${ELSEWHERE}`;
  let pixels = false;
  for (let at = 8; at + 8 <= bytes.length; at += 12 + view.getUint32(at)) {
    const [size, kind] = [view.getUint32(at), String.fromCharCode(...bytes.subarray(at + 4, at + 8))];
    const content = bytes.subarray(at + 8, at + 8 + size);
    if (kind === "acTL" && !pixels) return animated("an animation");
    if (kind === "eXIf" && turned(content)) return unturned("PNG"); // also behind the pixels
    // Packed or in hexadecimal digits, as older programs wrote it: what it says of the picture is not looked for.
    if (["tEXt", "zTXt", "iTXt"].includes(kind) && String.fromCharCode(...content.subarray(0, 22)) === "Raw profile type exif\0") {
      return "a PNG file with EXIF data in a text, which browsers leave out; save it without, upright";
    }
    if (kind === "IEND") break;
    pixels ||= kind === "IDAT";
  }
  return pixels ? null : "the header is damaged; restore the file or leave it out";
}

function ofJpeg(view, bytes) {
  for (let at = 2; ; ) {
    if (bytes[at] !== 0xff) return "the header is damaged; restore the file or leave it out";
    while (bytes[at + 1] === 0xff) at += 1; // fill bytes
    const marker = bytes[at + 1];
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const [depth, height, width, channels] = [bytes[at + 4], view.getUint16(at + 5), view.getUint16(at + 7), bytes[at + 9]];
      if (depth !== 8) return `${depth} bits a sample, which would be cut to 8: ${ELSEWHERE}`;
      if (channels === 4) return "CMYK colours, expected grey or RGB; convert the file with a known colour profile";
      return width * height > MOST_PIXELS ? tooLarge(width, height) : null;
    }
    at += 2 + (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8) ? 0 : view.getUint16(at + 2));
    if (at + 9 >= bytes.length) throw new RangeError();
  }
}

function ofWebp(view, bytes) {
  for (let at = 12; at + 8 <= bytes.length; ) {
    const [kind, size] = [String.fromCharCode(...bytes.subarray(at, at + 4)), view.getUint32(at + 4, true)];
    if (kind === "VP8X" && bytes[at + 8] & 2) return animated("an animation");
    if (kind === "EXIF" && turned(bytes.subarray(at + 8, at + 8 + size))) {
      return unturned("WebP");
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** Whether EXIF data (a TIFF header and its first directory) name another orientation than upright. */
function turned(bytes) {
  const from = String.fromCharCode(...bytes.subarray(0, 4)) === "Exif" ? 6 : 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset + from, bytes.byteLength - from);
  const little = view.getUint16(0) === 0x4949;
  const directory = view.getUint32(4, little);
  for (let entry = 0; entry < view.getUint16(directory, little); entry += 1) {
    const at = directory + 2 + 12 * entry;
    if (view.getUint16(at, little) === 0x0112) return view.getUint16(at + 8, little) !== 1;
  }
  return false;
}

function ofGif(view, bytes) {
  const table = (flags) => (flags & 0x80 ? 3 * 2 ** ((flags & 7) + 1) : 0);
  let frames = 0;
  let at = 13 + table(bytes[10]);
  const blocks = (from) => {
    let here = from;
    while (view.getUint8(here)) here += 1 + bytes[here];
    return here + 1;
  };
  while (view.getUint8(at) !== 0x3b) {
    if (bytes[at] === 0x2c) {
      frames += 1;
      at = blocks(at + 11 + table(view.getUint8(at + 9)));
    } else {
      at = blocks(at + 2);
    }
  }
  return frames === 1 ? null : animated(`holds ${frames} frames`);
}

function ofBmp(view) {
  const depth = view.getUint16(28, true);
  return [1, 4, 8, 24].includes(depth) ? null : `a BMP file of ${depth} bits a pixel, which programs read differently; save it as PNG`;
}
