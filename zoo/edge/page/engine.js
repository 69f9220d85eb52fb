// The model in a worker of its own, so that the page stays alive while it runs: onnxruntime-web, WebAssembly on one
// thread, which needs no special headers of the server.

import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { checkProbabilities, checked, compareManifests } from "./bundle.js";
import { occlusion } from "./explain.js";
import { replay } from "./golden.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("./ort/ort-wasm-simd-threaded.wasm", import.meta.url).href };
ort.env.logLevel = "error";

let folder, manifest, session;

const verbs = {
  async open({ bundle }) {
    folder = bundle;
    const response = await fetch(new URL("manifest.json", folder));
    if (!response.ok) throw new Error(`manifest.json cannot be loaded (status ${response.status}); copy the folder again`);
    manifest = await response.json();
    const model = await checked(folder, "model.onnx", manifest);
    compareManifests(model, manifest);
    session = await ort.InferenceSession.create(model, { executionProviders: ["wasm"], logSeverityLevel: 3 });
    return { manifest, runtime: `onnxruntime-web ${ort.env.versions.web ?? ort.env.versions.common}` };
  },
  predict: ({ image }) => run(image, "probabilities"),
  explain: ({ image, label }, progress) =>
    occlusion(image, manifest, (hidden) => run(hidden, "probabilities"), { label, progress }),
  async test(_, progress) {
    const golden = await checked(folder, "golden.npz", manifest);
    let done = 0;
    const answer = ({ data, dtype, shape }) => {
      progress((done += 1));
      return run({ data, dtype, height: shape[0], width: shape[1], channels: shape[2] }, "logits");
    };
    return replay(golden, answer, manifest);
  },
};

async function run({ data, height, width, channels, dtype = "uint8" }, output) {
  const feed = { [manifest.input.name]: new ort.Tensor(dtype, data, [1, height, width, channels]) };
  const result = await session.run(feed, [output]);
  const values = Array.from(result[output].data);
  Object.values(result).forEach((tensor) => tensor.dispose());
  if (values.length !== manifest.labels.length) {
    throw new Error(`${values.length} numbers for ${manifest.labels.length} labels; export the page again`);
  }
  if (output === "probabilities") checkProbabilities(values, manifest.task);
  return values;
}

self.onmessage = async ({ data: { id, verb, ...given } }) => {
  try {
    self.postMessage({ id, value: await verbs[verb](given, (progress) => self.postMessage({ id, progress })) });
  } catch (problem) {
    self.postMessage({ id, error: problem.message ?? String(problem) });
  }
};
