// A bundle as a browser fetches it, checked as zoo/edge/bundle/_opening.py checks one: each file is the one that the
// manifest lists, and the manifest beside the model is the one inside it.

import { sha256 } from "./sha256.js";

const KEY = "zoo"; // of the manifest in the model's metadata
const BUNDLE_ONLY = ["files", "sizes", "golden"];

/** The bytes of a file of the bundle, once they are the ones that the manifest lists. */
export async function checked(folder, name, manifest) {
  const expected = manifest.files[name];
  if (!expected) throw new Error(`manifest.json lists no ${name}; export the page again`);
  const response = await fetch(new URL(name, folder));
  if (!response.ok) throw new Error(`${name} cannot be loaded (status ${response.status}); copy the folder again`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const actual = sha256(bytes);
  if (actual !== expected) {
    throw new Error(`${name} has sha256 ${actual.slice(0, 12)}…, the manifest says ${expected.slice(0, 12)}…: it was changed or damaged. Do not use this page; copy the folder again from where it was made`);
  }
  return bytes;
}

/** Fails unless the model holds the same manifest. */
export function compareManifests(model, manifest) {
  const text = metadata(model).get(KEY);
  if (text === undefined) throw new Error("model.onnx holds no manifest; export the page again");
  const inner = JSON.parse(text);
  const fields = new Set([...Object.keys(inner), ...Object.keys(manifest)]);
  for (const field of fields) {
    if (!BUNDLE_ONLY.includes(field) && sorted(inner[field]) !== sorted(manifest[field])) {
      throw new Error(`manifest.json and the manifest inside model.onnx differ in '${field}'; copy the folder again`);
    }
  }
}

const sorted = (value) =>
  JSON.stringify(value, (_, inner) =>
    inner && typeof inner === "object" && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  );

/** metadata_props of an ONNX file (field 14 of ModelProto; protobuf wire format). */
export function metadata(bytes) {
  const found = new Map();
  for (const [field, value] of messages(bytes)) {
    if (field !== 14) continue;
    const entry = new Map([...messages(value)].map(([part, text]) => [part, new TextDecoder().decode(text)]));
    found.set(entry.get(1), entry.get(2));
  }
  return found;
}

function* messages(bytes) {
  let at = 0;
  const varint = () => {
    let [value, scale] = [0, 1];
    for (;;) {
      if (at >= bytes.length) throw new Error("model.onnx is cut short; copy the folder again");
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    const kind = key % 8;
    if (kind === 0) varint();
    else if (kind === 1) at += 8;
    else if (kind === 5) at += 4;
    else if (kind === 2) {
      const size = varint();
      yield [Math.floor(key / 8), bytes.subarray(at, at + size)];
      at += size;
    } else throw new Error("model.onnx is damaged; copy the folder again");
  }
}

const ROUNDING = 1e-3; // as zoo/edge/_runtime.py

/** Refuse numbers that are no probabilities, as of a file whose outputs were swapped. */
export function checkProbabilities(values, task) {
  const inside = values.every((value) => value >= -ROUNDING && value <= 1 + ROUNDING); // NaN is neither
  const sum = values.reduce((total, value) => total + value, 0);
  if (inside && (task === "multilabel" || Math.abs(sum - 1) <= ROUNDING)) return;
  throw new Error("the model's answers are no probabilities; do not use it, export the page again");
}
