// The page: images in, answers in words out. Who computes them (this browser or a server) is `model`'s business.

import { rendered } from "./card.js";
import { byId, el, fill, show } from "./dom.js";
import { VISIBLE } from "./explain.js";
import { paint, paintLegend, top } from "./heat.js";
import { MODE } from "./mode.js";
import { always, decisions, evidence, goldenImages, meaning, overall, percent, pointOf, points, ranked, verdict } from "./words.js";

const FEW_BARS = 8; // shown at first; the rest on demand
const MOST_FILES = 200; // kept in memory at a time
const SIDE = 1200; // of a preview, in pixels

const model = MODE === "browser" ? new (await import("./browser.js")).Browser() : new (await import("./server.js")).Server();
const items = [];
let manifest;
let current = null;
let busy = false;
let listening = false;

byId("unstarted").hidden = true;
byId("locked").addEventListener("submit", (event) => {
  event.preventDefault();
  start(byId("token").value);
});
byId("leave").addEventListener("click", async () => {
  await model.leave().catch(() => null);
  location.reload();
});
byId("which").addEventListener("change", () => location.assign(model.address(byId("which").selectedIndex)));
await start();

async function start(token) {
  fill("where", model.where);
  say("Loading the model…");
  try {
    manifest = await model.open(token);
  } catch (problem) {
    say("");
    if (isLocked(problem)) lock(problem.message);
    else trouble(`The model cannot be used: ${problem.message}`);
    return;
  }
  show("locked", false);
  byId("token").value = "";
  await introduce();
  const unable = model.unable();
  say(unable ? "" : "Ready.");
  if (unable) trouble(unable);
  else if (!listening) listen();
  else if (items.length) answer(); // what waited for the login
}

function isLocked(problem) {
  return problem.constructor.name === "Locked";
}

/** Ask for a token; what was chosen stays and is answered after the login. */
function lock(reason) {
  show("locked");
  show("leave", false);
  fill("refused", reason);
  byId("token").focus();
}

/** Which model answers, and who asks. */
function introduceServer() {
  const { models = [], entered = false } = model;
  show("which-box", models.length > 1);
  show("leave", entered);
  const twice = ({ name }) => models.filter((other) => other.name === name).length > 1;
  fill("which", ...models.map((one) => el("option", {}, twice(one) ? `${one.name} ${one.version}` : one.name)));
  if (models.length) byId("which").selectedIndex = model.chosen;
}

/** What the model says of itself. */
async function introduce() {
  const { report, provenance, labels, task } = manifest;
  introduceServer();
  document.title = manifest.name;
  fill("name", manifest.name);
  fill("intended", manifest.intended_use.replace(/\s*Not a medical\s+device\.?/i, ""));
  fill("takes", model.takes);
  const facts = {
    Labels: `${labels.join(", ")}${task === "multilabel" ? " (any number of them at once)" : ""}`,
    Evaluated: report ? `on ${report.n} images of the split “${report.split}”` : "not evaluated: how often it is right is not known",
    ...overall(manifest),
    ...decisions(manifest),
    Made: `${provenance.created.slice(0, 10)}, from ${provenance.model}, trained on ${provenance.data.name}`,
    "Licence of the weights": manifest.licence,
    ...(model.version ? { Version: model.version } : {}),
    ...(model.runtime ? { "Runs on": model.runtime } : {}),
  };
  fill("facts", ...Object.entries(facts).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  fill("golden", goldenImages(manifest));
  const marked = task === "multilabel" || manifest.operating?.length;
  fill("scaled", marked ? "Calibrated probabilities; a line marks from where on a label is called" : "Calibrated probabilities");
  show("proof", model.selfTests);
  const card = await model.card().catch((problem) => `The card cannot be shown: ${problem.message}`);
  byId("card-box").hidden = card === null;
  if (card !== null) fill("card", ...rendered(card));
  show("about");
}

function listen() {
  listening = true;
  show("choose");
  const input = byId("files");
  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      byId("choose").classList.add("over");
    });
  }
  for (const kind of ["dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      if (kind === "drop" || !event.relatedTarget) byId("choose").classList.remove("over");
      if (kind === "drop") take(event.dataTransfer.files);
    });
  }
  byId("more").addEventListener("click", () => {
    current.all = !current.all;
    showBars(current);
  });
  byId("explain").addEventListener("click", () => explain(current, byId("of").value));
  byId("of").addEventListener("change", () => showHeat(current));
  byId("overlay").addEventListener("change", dress);
  byId("opacity").addEventListener("input", dress);
  byId("test").addEventListener("click", selfTest);
  paintLegend(byId("legend"));
}

/** Answer files, one after the other, in the order given. */
async function take(files) {
  const fresh = [...files].slice(0, MOST_FILES).map((file) => ({ file, row: null, error: null, heat: new Map(), all: false }));
  if (!fresh.length) return;
  const left = files.length - fresh.length;
  trouble(left ? `Only the first ${MOST_FILES} of ${files.length} images were taken; 'zoo predict' takes any number.` : "");
  items.splice(0, items.length + fresh.length - MOST_FILES);
  items.push(...fresh);
  select(fresh[0]);
  await answer();
}

/** Answer what has no answer yet. */
async function answer() {
  if (busy) return; // the loop below finds them
  busy = true;
  for (let item = next(); item; item = next()) {
    say(items.length > 1 ? `Looking at ${item.file.name}, ${items.indexOf(item) + 1} of ${items.length}…` : `Looking at ${item.file.name}…`);
    try {
      item.row = await model.predict(item.file);
      if (model.stale) await renew(item);
    } catch (problem) {
      if (isLocked(problem)) {
        busy = false;
        say("");
        lock("Your login is over; log in again, and the images are answered.");
        return;
      }
      item.error = problem.message;
    }
    showRows();
    if (item === current) render();
  }
  busy = false;
  say(summary());
}

/** A newer version answers: what was said by the older one is asked again. */
async function renew(item) {
  manifest = await model.open();
  await introduce();
  for (const other of items) if (other !== item) [other.row, other.error, other.heat] = [null, null, new Map()];
}

const next = () => items.find((item) => !item.row && !item.error);

function summary() {
  const failed = items.filter((item) => item.error).length;
  if (items.length === 1) return current.error ? "No answer." : spoken(current.row);
  const unsaid = ["uncertain", "unlike training"].map((kind) => [kind, items.filter(({ row }) => row?.decision === kind).length]).filter(([, n]) => n);
  const left = unsaid.reduce((sum, [, n]) => sum + n, failed);
  return `${items.length - left} of ${items.length} images answered${unsaid.map(([kind, n]) => `, ${n} ${kind}`).join("")}.`;
}

function spoken(row) {
  const { title, close } = verdict(row, manifest);
  return close ? `${title}.` : `${title}, ${percent(row.probability)}.`;
}

function select(item) {
  current = item;
  render();
  showRows();
}

function showRows() {
  show("several", items.length > 1);
  fill("rows", ...items.map(rowOf));
}

function rowOf(item) {
  const pick = el("button", { type: "button", class: "plain", "aria-pressed": String(item === current) }, item.file.name);
  pick.addEventListener("click", () => {
    const at = items.indexOf(item);
    select(item);
    byId("rows").rows[at].querySelector("button").focus();
  });
  const name = el("th", { scope: "row" }, pick);
  if (item.error) return el("tr", { class: "failed" }, name, el("td", { colspan: "2" }, item.error));
  if (!item.row) return el("tr", {}, name, el("td", { colspan: "2", class: "quiet" }, "waiting"));
  const { short, note, answered } = verdict(item.row, manifest);
  return el(
    "tr",
    { class: item === current ? "chosen" : "" },
    name,
    el("td", answered ? {} : { class: "unsaid" }, ...soft(short), ...(note ? [el("div", { class: "quiet" }, note)] : [])),
    el("td", { class: "number" }, answered ? percent(item.row.probability) : "–"),
  );
}

function render() {
  const item = current;
  show("answer", Boolean(item.row));
  if (item.error) trouble(`${item.file.name}: ${item.error}`);
  else if (byId("trouble").dataset.of) trouble("");
  byId("trouble").dataset.of = item.error ? "image" : "";
  if (!item.row) return;
  const { title, close, about } = verdict(item.row, manifest);
  const unlike = item.row.decision === "unlike training";
  byId("verdict").classList.toggle("unsaid", unlike || item.row.decision === "uncertain");
  fill("verdict", ...soft(title), ...(close || about.length > 1 ? [] : [" ", el("span", { class: "share" }, percent(item.row.probability))]));
  show("close", Boolean(close));
  fill("close", close ?? "");
  showBars(item);
  const said = [...(unlike ? [] : about).flatMap((label) => evidence(label, manifest)), ...always(manifest)];
  const lines = [...new Map(said.map((line) => [line.text, line])).values()];
  fill("evidence", ...lines.map(({ text, warning }) => el("li", warning ? { class: "warning" } : {}, text)));
  fill("of", ...ranked(item.row).map(([label]) => el("option", {}, label)));
  byId("of").value = about[0];
  fill("file", item.file.name);
  preview(item);
  showHeat(item);
}

function showBars(item) {
  const all = ranked(item.row);
  const shown = item.all ? all : all.slice(0, FEW_BARS);
  const chosen = item.row.decision === "unlike training" ? [] : verdict(item.row, manifest).about;
  fill(
    "bars",
    ...shown.map(([label, p]) => {
      const bar = el("div", { class: "bar" });
      bar.style.width = `${100 * p}%`;
      const from = pointOf(label, manifest)?.threshold ?? (manifest.task === "multilabel" ? 0.5 : null);
      const mark = el("div", { class: "mark" });
      if (from !== null) mark.style.left = `${100 * from}%`;
      const track = el("div", { class: "track", "aria-hidden": "true" }, bar, ...(from === null ? [] : [mark]));
      const attributes = chosen.includes(label) && item.row.probability > 0 ? { class: "chosen" } : {};
      return el("tr", attributes, el("th", { scope: "row" }, ...soft(label)), el("td", {}, track), el("td", { class: "number" }, percent(p)));
    }),
  );
  show("more", all.length > FEW_BARS);
  fill("more", item.all ? "Show fewer" : `Show all ${all.length} labels`);
}

/** Draw the picture as far as this browser can; a server may well have read what a browser cannot draw. */
async function preview(item) {
  const canvas = byId("image");
  canvas.setAttribute("aria-label", `Image ${item.file.name}`);
  for (const other of items) {
    if (other === item || !other.bitmap) continue;
    other.bitmap.close(); // a photograph takes 50 MB
    delete other.bitmap;
  }
  try {
    item.bitmap ??= await createImageBitmap(item.file);
  } catch {
    item.bitmap = null;
  }
  if (item !== current) return;
  show("frame", Boolean(item.bitmap));
  if (!item.bitmap) {
    fill("file", `${item.file.name}: this browser cannot draw such a file; the answer is from the file itself.`);
    return;
  }
  const scale = Math.min(1, SIDE / Math.max(item.bitmap.width, item.bitmap.height));
  const [width, height] = [item.bitmap.width, item.bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  for (const one of [canvas, byId("heat")]) [one.width, one.height] = [width, height];
  byId("frame").classList.toggle("small", Math.max(width, height) < 200);
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(item.bitmap, 0, 0, width, height);
  showHeat(item);
}

async function explain(item, label) {
  const [button, progress] = [byId("explain"), byId("working")];
  button.disabled = true;
  progress.removeAttribute("value");
  show("working");
  say(`Working out what ${label} depends on…`);
  try {
    const heat = await model.explain(item.file, label, (share) => {
      progress.value = share;
    });
    item.heat.set(label, heat);
    say("The heat map is there.");
    if (model.stale) {
      item.row = null;
      await answer();
    }
  } catch (problem) {
    if (isLocked(problem)) lock("Your login is over; log in again.");
    else trouble(`No heat map: ${problem.message}`);
    say("");
  }
  show("working", false);
  button.disabled = false;
  if (item === current) showHeat(item);
}

function showHeat(item) {
  const heat = item.heat.get(byId("of").value);
  show("shown", Boolean(heat));
  if (heat) {
    paint(byId("heat"), heat);
    fill("most", heat.method === "evidence" ? top(heat).toFixed(1) : `${points(top(heat))} points`);
    fill("meaning", meaning(heat, VISIBLE));
  }
  dress();
}

function dress() {
  const there = current?.heat.has(byId("of").value) && byId("overlay").checked;
  byId("heat").hidden = !there;
  byId("heat").style.opacity = byId("opacity").value / 100;
  byId("opacity").disabled = !byId("overlay").checked;
}

async function selfTest() {
  const button = byId("test");
  button.disabled = true;
  fill("tested", "Running…");
  byId("tested").className = "";
  try {
    const done = await model.test((count) => fill("tested", `Running… ${count} images answered`));
    const worst = done.max_abs_logit.toExponential(1);
    const passed = !done.mismatches.length;
    fill(
      "tested",
      passed
        ? `Passed: all ${done.images} ${goldenImages(manifest)} answered as where the model was made (largest difference of a logit ${worst}, allowed ${done.tolerance.toPrecision(1)}${done.open_labels ? `; this leaves ${done.open_labels} label${done.open_labels > 1 ? "s" : ""} open` : ""}).`
        : `Failed: do not use this page on this computer. ${done.mismatches.length} of its numbers differ: ${done.mismatches.slice(0, 3).join("; ")}`,
    );
    byId("tested").className = passed ? "passed" : "warning";
  } catch (problem) {
    fill("tested", `Failed: ${problem.message}`);
    byId("tested").className = "warning";
  }
  button.disabled = false;
}

/** A label that may be broken behind its underscores. */
function soft(label) {
  return label.split(/(?<=_)/).flatMap((part) => [part, el("wbr")]);
}

function say(text) {
  fill("status", text);
}

function trouble(text) {
  show("trouble", Boolean(text));
  fill("trouble", text);
}
