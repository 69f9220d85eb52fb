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
  predict: ({ image }) => run(image, byNovelty() ? ["probabilities", "novelty"] : ["probabilities"]),
  explain: ({ image, label }, progress) =>
    occlusion(image, manifest, async (hidden) => (await run(hidden, ["probabilities"])).probabilities, { label, progress }),
  async test(_, progress) {
    const golden = await checked(folder, "golden.npz", manifest);
    let done = 0;
    const answer = ({ data, dtype, shape }) => {
      progress((done += 1));
      const image = { data, dtype, height: shape[0], width: shape[1], channels: shape[2] };
      return run(image, ["logits", "probabilities", ...(manifest.outputs.includes("novelty") ? ["novelty"] : [])]);
    };
    return replay(golden, answer, manifest);
  },
};

const byNovelty = () => Boolean(manifest.abstention?.novelty);

/** These outputs of one image, by name. */
async function run({ data, height, width, channels, dtype = "uint8" }, outputs) {
  const feed = { [manifest.input.name]: new ort.Tensor(dtype, data, [1, height, width, channels]) };
  const result = await session.run(feed, outputs);
  const found = Object.fromEntries(outputs.map((name) => [name, Array.from(result[name].data)]));
  Object.values(result).forEach((tensor) => tensor.dispose());
  for (const [name, values] of Object.entries(found)) {
    const wanted = name === "novelty" ? 1 : manifest.labels.length;
    if (values.length !== wanted) throw new Error(`${values.length} numbers of ${name}, expected ${wanted}; export the page again`);
  }
  if (found.novelty && !Number.isFinite(found.novelty[0])) {
    throw new Error("the model's score of novelty is not a number; do not use it, export the page again");
  }
  if (found.probabilities) checkProbabilities(found.probabilities, manifest.task);
  return found;
}

self.onmessage = async ({ data: { id, verb, ...given } }) => {
  try {
    self.postMessage({ id, value: await verbs[verb](given, (progress) => self.postMessage({ id, progress })) });
  } catch (problem) {
    self.postMessage({ id, error: problem.message ?? String(problem) });
  }
};
