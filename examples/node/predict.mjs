// A bundle on onnxruntime-node: prove that it answers here as it did where it was made, then label pictures.
//
//   npm install --ignore-scripts        (onnxruntime-node's own install script would download GPU libraries)
//   node predict.mjs NAME.zoo [PICTURE.ppm …]
//
// Prints one JSON document. When the proof fails, no picture is labelled and the exit status is 3. A picture is a
// binary PPM (P6, 8 bit) or PGM (P5, 8 or 16 bit): raw pixels, because the whole preprocessing is in the graph.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { compareManifests } from "../../zoo/edge/page/bundle.js";
import { decide } from "../../zoo/edge/page/decide.js";
import { replay } from "../../zoo/edge/page/golden.js";
import { checkRange, readPicture } from "./picture.mjs";

process.env.ORT_DISABLE_TELEMETRY ??= "1"; // its packages report to their maker otherwise
const { default: ort } = await import("onnxruntime-node");

const [bundle, ...pictures] = process.argv.slice(2);
if (!bundle) {
  console.error("usage: node predict.mjs NAME.zoo [PICTURE.ppm ...]");
  process.exit(2);
}
const manifest = JSON.parse(await readFile(join(bundle, "manifest.json"), "utf8"));
const [model, golden] = [await checked("model.onnx"), await checked("golden.npz")];
compareManifests(model, manifest);
const session = await ort.InferenceSession.create(model);
const proof = await replay(golden, answer, manifest);
const stack = manifest.preprocess.channels; // a number: channels that are no colours
if (typeof stack === "number" && pictures.length) {
  console.error(`${manifest.name} takes stacks of ${stack} channels, which no PPM or PGM holds; make a tensor (1, H, W, ${stack}) of them`);
  process.exit(1);
}
const predictions = [];
for (const picture of proof.mismatches.length ? [] : pictures) {
  const image = readPicture(await readFile(picture));
  checkRange(image, manifest);
  const { probabilities, novelty } = await answer(image);
  predictions.push({ image: picture, ...decide(probabilities, novelty?.[0], manifest) });
}
console.log(JSON.stringify({ runtime: `onnxruntime-node ${ort.env.versions.node}`, proof, predictions }));
process.exitCode = proof.mismatches.length ? 3 : 0;

/** The bytes of a file of the bundle, once they are the ones that the manifest lists. */
async function checked(name) {
  const bytes = new Uint8Array(await readFile(join(bundle, name)));
  if (createHash("sha256").update(bytes).digest("hex") !== manifest.files[name]) {
    throw new Error(`${name} is not the file that manifest.json lists; copy the bundle again from where it was made`);
  }
  return bytes;
}

/** Logits, probabilities and, where the model has it, novelty of one raw image. */
async function answer({ dtype, shape, data }) {
  const outputs = ["logits", "probabilities", "novelty"].filter((name) => manifest.outputs.includes(name));
  const found = await session.run({ [manifest.input.name]: new ort.Tensor(dtype, data, [1, ...shape]) }, outputs);
  return Object.fromEntries(outputs.map((name) => [name, found[name].data]));
}
