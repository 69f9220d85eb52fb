// Answers from the model in this browser; nothing leaves the machine.

import { checked } from "./bundle.js";
import { decide } from "./decide.js";
import { checkDecoders, checkPixels, decode } from "./decode.js";
import { views } from "./explain.js";

const BUNDLE = new URL("../model.zoo/", import.meta.url).href;
const MOST_PIXELS = 64_000_000; // between scaling and cropping, as zoo/preprocess.py

export class Browser {
  selfTests = true;
  #worker = new Worker(new URL("./engine.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #last = 0;
  #manifest;

  constructor() {
    this.#worker.onmessage = ({ data: { id, value, error, progress } }) => {
      const { resolve, reject, told } = this.#waiting.get(id);
      if (progress !== undefined) return told(progress);
      this.#waiting.delete(id);
      return error === undefined ? resolve(value) : reject(new Error(error));
    };
    this.#worker.onerror = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error("the model's worker cannot start; copy the folder again, or use a newer browser"));
      this.#waiting.clear();
    };
  }

  where = "The model runs in this browser. No image leaves this computer.";

  async open() {
    await checkPixels();
    await checkDecoders();
    const { manifest, runtime } = await this.#ask("open", { bundle: BUNDLE });
    this.#manifest = manifest;
    this.runtime = runtime;
    return manifest;
  }

  /** Why the page cannot answer with this model; null when it can. */
  unable() {
    const { dtype, stage } = this.#manifest.input;
    const { channels } = this.#manifest.preprocess;
    if (typeof channels === "number") return `This model takes stacks of ${channels} channels, which are no colours. A browser opens no such files: use 'zoo predict', or the page of 'zoo serve', with TIFF or .npy files.`;
    if (dtype === "uint8" && stage === "raw") return null;
    return `This model takes ${dtype === "uint8" ? "prepared" : `${dtype === "uint16" ? "16-bit" : "floating-point"} or DICOM`} images. A browser decodes pictures to 8 bits and would change their values, so this page does not try: use 'zoo predict', or the page of 'zoo serve', which reads them as they are stored.`;
  }

  takes = "PNG, JPEG, WebP, GIF or BMP with 8 bits a channel. DICOM, TIFF and 16-bit files are refused here: a browser cannot read them as they are stored.";

  async card() {
    if (!("CARD.md" in this.#manifest.files)) return null;
    return new TextDecoder().decode(await checked(BUNDLE, "CARD.md", this.#manifest));
  }

  async predict(file) {
    const image = await this.#image(file);
    const { probabilities, novelty } = await this.#ask("predict", { image });
    return { image: file.name, ...decide(probabilities, novelty?.[0] ?? null, this.#manifest) };
  }

  async explain(file, label, progress) {
    return this.#ask("explain", { image: await this.#image(file), label }, progress);
  }

  test(progress) {
    return this.#ask("test", {}, progress);
  }

  async #image(file) {
    const image = await decode(new Uint8Array(await file.arrayBuffer()));
    for (const { size, resize } of views(this.#manifest)) {
      const scale = Math.max(size[0] / image.height, size[1] / image.width);
      if (resize === "crop" && image.height * scale * image.width * scale > MOST_PIXELS) {
        throw new Error(`${image.width}x${image.height} pixels would be scaled to more than ${MOST_PIXELS / 1e6} million to fill ${size[1]}x${size[0]}; crop it`);
      }
    }
    return image;
  }

  #ask(verb, given, told = () => {}) {
    const id = (this.#last += 1);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, told });
      this.#worker.postMessage({ id, verb, ...given });
    });
  }
}
