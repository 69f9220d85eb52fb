// What a model's numbers decide, as zoo/edge/_decide.py decides, number for number; it says how numbers are compared.
//
// An ES module without dependencies. All numbers are float64, as JavaScript's are: probabilities and scores are to come
// from a Float32Array, or from `zoo serve`, and thresholds from the manifest's JSON.

const GIVEN = 0.5;
const TINY = 1e-12;

/**
 * The row of one image, as `zoo predict --json` gives it.
 *
 * @param {ArrayLike<number>} probabilities K of the model's labels.
 * @param {number | null} novelty the score, where `manifest.abstention.novelty` is set.
 * @param {{labels: string[], task?: string, operating?: object[], abstention?: object | null}} manifest
 * @returns {{label: string, probability: number, probabilities: Record<string, number>, labels?: string[],
 *   decision?: "label" | "uncertain" | "unlike training", set?: string[], operating?: Record<string, boolean>,
 *   novelty?: number}}
 */
export function decide(probabilities, novelty, { labels, task, operating, abstention }) {
  const p = Array.from(probabilities, Number);
  const points = new Map((operating ?? []).map(({ label, threshold }) => [label, threshold]));
  const thresholds = labels.map((label) => points.get(label));
  const given = labels.map((_, at) => p[at] >= (thresholds[at] ?? GIVEN));
  const called = labels.map((_, at) => thresholds[at] !== undefined && p[at] >= thresholds[at]);
  const best = task === "multilabel" ? largest(p, given) : calledBest(p, thresholds, called);
  const named = (held) => labels.filter((_, at) => held[at]);
  const row = {
    label: labels[best],
    probability: p[best],
    probabilities: Object.fromEntries(labels.map((label, at) => [label, p[at]])),
  };
  if (task === "multilabel") row.labels = named(given);
  const sets = abstention?.sets ? setOf(p, abstention.sets) : null;
  if (abstention) row.decision = decision(p, best, novelty, sets, abstention);
  if (sets) row.set = named(sets);
  if (points.size) row.operating = Object.fromEntries([...points.keys()].map((label) => [label, called[labels.indexOf(label)]]));
  if (abstention?.novelty) row.novelty = novelty;
  return row;
}

/** Conformal score of each label, in [0, 1]. */
function scores(p, method) {
  if (method === "lac") return p.map((value) => Math.min(1 - value, 1));
  const found = new Array(p.length);
  let sum = 0;
  for (const at of p.map((_, index) => index).sort((a, b) => p[b] - p[a])) {
    sum += p[at];
    found[at] = Math.min(sum, 1);
  }
  return found;
}

function setOf(p, { method, per_class: perClass, quantiles }) {
  const within = scores(p, method).map((score, at) => score <= quantiles[perClass ? at : 0]);
  if (method === "aps") within[largest(p)] = true;
  return within;
}

function calledBest(p, thresholds, called) {
  const ratios = p.map((value, at) => value / Math.max(thresholds[at] ?? 1, TINY));
  if (called.includes(true)) return largest(ratios, called);
  return largest(p, thresholds.map((threshold) => threshold === undefined));
}

function decision(p, best, novelty, sets, abstention) {
  const { novelty: unlike, error } = abstention;
  if (unlike && typeof novelty !== "number") throw new Error("the manifest decides by novelty, expected a score");
  if (unlike && !(novelty <= unlike.threshold)) return "unlike training";
  const other = sets && !(sets[best] && sets.filter(Boolean).length === 1);
  return other || (error && p[largest(p)] < error.threshold) ? "uncertain" : "label";
}

/** Place of the first largest value among some, or among all where there are none of these. */
function largest(values, among = []) {
  const some = among.includes(true);
  let found = -1;
  values.forEach((value, at) => {
    if ((!some || among[at]) && (found < 0 || value > values[found])) found = at;
  });
  return found;
}
