// A PPM or PGM file as the model takes it: uint8 RGB, or uint16 with one channel; and whether its values are.

export function readPicture(file) {
  const header = /^P([56])\s+(?:#.*\n\s*)*(\d+)\s+(\d+)\s+(\d+)\s/.exec(file.toString("latin1", 0, 1024));
  if (!header) throw new Error("expected a binary PPM or PGM picture");
  const [width, height, largest] = header.slice(2).map(Number);
  const [grey, deep] = [header[1] === "5", largest > 255];
  // `zoo predict` stretches the values of others to 255; here they would be answered as a darker picture
  if (largest !== 255 && !(grey && deep)) {
    throw new Error(`largest value ${largest}, expected 255, or more in a PGM; save the picture with 8 or 16 bits`);
  }
  const pixels = file.subarray(header[0].length);
  if (deep) {
    const values = Uint16Array.from({ length: pixels.length / 2 }, (_, index) => pixels.readUInt16BE(2 * index));
    return { dtype: "uint16", shape: [height, width, 1], data: values };
  }
  const data = grey
    ? Uint8Array.from({ length: pixels.length * 3 }, (_, index) => pixels[Math.floor(index / 3)])
    : new Uint8Array(pixels);
  return { dtype: "uint8", shape: [height, width, 3], data };
}

/** Fails where a value is above the range that a network was trained on, as `zoo predict` does. */
export function checkRange({ dtype, data }, manifest) {
  const specs = manifest.members.length ? manifest.members.map((member) => member.preprocess) : [manifest.preprocess];
  const most = Math.min(...specs.map(({ intensity }) => (intensity.type === "scale" ? intensity.maximum : Infinity)));
  const brightest = data.reduce((found, value) => Math.max(found, value), 0);
  if (dtype !== "uint8" && brightest > most) {
    throw new Error(`a pixel has the value ${brightest}, expected 0 to ${most}; give pictures of the range it was trained on`);
  }
}
