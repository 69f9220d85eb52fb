// Answers from the server that the page came from ('zoo serve').

export class Server {
  selfTests = false;
  runtime = null;
  takes = "Any file that the server reads: PNG, JPEG, TIFF, DICOM and others, as they are stored.";
  #token = null;
  #manifest;

  get where() {
    const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
    return here ? "Images go to the server on this computer, which runs the model." : `Images are sent to ${location.host}, which runs the model.`;
  }

  /** @throws {Locked} the server asks for a token. */
  async open(token = null) {
    this.#token = token;
    this.#manifest = await (await this.#ask("model")).json();
    return this.#manifest;
  }

  unable = () => null;

  async card() {
    return "CARD.md" in this.#manifest.files ? (await this.#ask("card")).text() : null;
  }

  async predict(file) {
    return { ...(await (await this.#ask("predict", file)).json()), image: file.name };
  }

  async explain(file, label) {
    return (await this.#ask(`explain?label=${encodeURIComponent(label)}`, file)).json();
  }

  async #ask(path, file = null) {
    const headers = this.#token === null ? {} : { Authorization: `Bearer ${this.#token}` };
    if (file) headers["Content-Type"] = "application/octet-stream";
    const given = file ? { method: "POST", headers, body: file } : { headers };
    const response = await fetch(path, { ...given, cache: "no-store" }).catch(() => {
      throw new Error("the server does not answer; is it still running?");
    });
    if (response.ok) return response;
    const said = await response.json().catch(() => null);
    const reason = said?.error?.message ?? `the server answered with status ${response.status}`;
    throw response.status === 401 ? new Locked(reason) : new Error(reason);
  }
}

/** The server asks for a token, or for another one. */
export class Locked extends Error {}
