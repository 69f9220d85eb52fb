// Answers from the server that the page came from ('zoo serve').

export class Server {
  selfTests = false;
  runtime = null;
  takes = "Any file that the server reads: PNG, JPEG, TIFF, DICOM and others, as they are stored.";
  /** Those that answer: name, version, labels and more of each. */
  models = [];
  /** Whether a browser has logged in here, and may log out. */
  entered = false;
  /** Whether an answer came from another version than the one that `open` told of. */
  stale = false;
  /** Of the model that answers: the first digits of its file's sha256. */
  version;
  #manifest;
  #choice = new URLSearchParams(location.search);

  get where() {
    const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
    return here ? "Images go to the server on this computer, which runs the model." : `Images are sent to ${location.host}, which runs the model.`;
  }

  /** @throws {Locked} the server asks for a token. */
  async open(token = null) {
    const given = token === null ? {} : { method: "POST", body: JSON.stringify({ token }) };
    const login = await (await ask("login", given)).json();
    this.entered = login.key !== null;
    if (login.needed && !this.entered) throw new Locked("");
    this.models = await (await ask("models")).json();
    const response = await this.#ask("model");
    this.version = response.headers.get("zoo-model-version");
    this.#manifest = await response.json();
    this.stale = false;
    return this.#manifest;
  }

  async leave() {
    await ask("logout", { method: "POST" });
  }

  /** The place of `models` that answers, and the address at which another does. */
  get chosen() {
    const named = this.#choice.get("model");
    return this.models.findIndex(({ name, version }) => version === this.version && (named ?? name) === name);
  }

  address(at) {
    const { name, version } = this.models[at];
    const alone = this.models.filter((other) => other.name === name).length === 1;
    return `?${new URLSearchParams(alone ? { model: name } : { model: name, version })}`;
  }

  unable = () => null;

  async card() {
    return "CARD.md" in this.#manifest.files ? (await this.#ask("card")).text() : null;
  }

  async predict(file) {
    return { ...(await (await this.#answer("predict", {}, file)).json()), image: file.name };
  }

  async explain(file, label) {
    return (await this.#answer("explain", { label }, file)).json();
  }

  async #answer(path, more, file) {
    const headers = { "Content-Type": "application/octet-stream" };
    const response = await this.#ask(path, more, { method: "POST", headers, body: file });
    this.stale ||= response.headers.get("zoo-model-version") !== this.version;
    return response;
  }

  #ask(path, more = {}, given = {}) {
    const choice = ["model", "version"].filter((name) => this.#choice.has(name)).map((name) => [name, this.#choice.get(name)]);
    const query = new URLSearchParams([...choice, ...Object.entries(more)]).toString();
    return ask(query ? `${path}?${query}` : path, given);
  }
}

async function ask(path, given = {}) {
  const response = await fetch(path, { ...given, cache: "no-store", credentials: "same-origin" }).catch(() => {
    throw new Error("the server does not answer; is it still running?");
  });
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  const reason = said?.error?.message ?? `the server answered with status ${response.status}`;
  throw [401, 429].includes(response.status) ? new Locked(reason) : new Error(reason);
}

/** The server asks for a token, or for another one. */
export class Locked extends Error {}
