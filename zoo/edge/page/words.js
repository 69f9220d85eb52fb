// What may be said of an answer, in plain words: each number with its interval and with how many images it is from.
//
// Only the manifest's own report is quoted; where it says nothing, that is said.

/** Two answers nearer to each other than this, in probability, are not told apart. */
export const MARGIN = 0.1;

/** Images below which a share is called rough: from 30 the 95 % interval of a share is within 18 points of it. */
export const FEW = 30;

const PERCENT = "\u00a0%"; // the sign stays with its number

/** A probability as people read it; never "0 %" or "100 %". */
export function percent(p) {
  if (p > 0.999) return `>99.9${PERCENT}`;
  if (p < 0.001) return `<0.1${PERCENT}`;
  return `${(100 * p).toFixed(p >= 0.0995 && p < 0.9895 ? 0 : 1)}${PERCENT}`;
}

/** Shares of a test, where none and all are possible: "85 % (73–95 %)". */
export function withInterval({ value, low, high }) {
  const whole = (share) => (100 * share).toFixed(0);
  return `${whole(value)}${PERCENT} (${whole(low)}–${whole(high)}${PERCENT})`;
}

const some = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

/** Whose the images are that the self-test answers. */
export function goldenImages({ golden }) {
  const whose = {
    generated: "pictures that were drawn for the purpose",
    public: "images of a public set",
    own: "images of whoever made this page",
  };
  return whose[golden] ?? "images that came with the model";
}

/** Labels by probability, the largest first; equal ones in the model's order. */
export function ranked(row) {
  return Object.entries(row.probabilities).sort((a, b) => b[1] - a[1]);
}

/**
 * The headline, and why there may be none.
 *
 * @returns {{title: string, short: string, close: string | null, about: string[], answered: boolean, note: string}}
 *   about: labels to explain; answered: whether the model stands by its answer; note: beside `short`, in a table.
 */
export function verdict(row, manifest) {
  if (row.decision === "unlike training") return ofUnlike(row, manifest);
  if (row.decision === "uncertain") return ofUncertain(row, manifest);
  return manifest.task === "multilabel" ? ofSeveral(row, manifest) : ofOne(row, manifest);
}

function ofUnlike(row, { abstention: { novelty } }) {
  return {
    title: "Not answered: unlike the images it was trained on",
    short: "not answered: unlike training",
    close: `Its score is ${significant(row.novelty)}. Above ${significant(novelty.threshold)} an image counts as unlike, as at most ${share(passing(novelty))} of images like those of validation do on average. Take no label as the answer.`,
    about: [row.label],
    answered: false,
    note: "",
  };
}

function ofUncertain(row, { abstention: { sets, error }, reference }) {
  const called = Object.keys(row.operating ?? {}).filter((label) => row.operating[label]);
  const reached = called.length ? ` ${called.join(", ")} ${called.length === 1 ? "reaches its operating point" : "reach their operating points"}.` : "";
  const unsaid = (what, why, about) => ({ title: `Uncertain: ${what}`, short: `uncertain: ${what}`, close: why + reached, about, answered: false, note: "" });
  const [[top, p]] = ranked(row);
  const low = Boolean(error) && p < error.threshold;
  // An operating point may call another label than the one that is alone in the set.
  if (row.set && (row.set.length !== 1 || (row.set[0] !== row.label && !low))) {
    const built = `The right label is in the set for ${share(sets.coverage)} of images like those ${reference?.source === "recalibration" ? "of the site that recalibrated the model" : "of validation"}.`;
    if (!row.set.length) return unsaid("no label is likely enough", `${built} Here the set is empty.`, [top]);
    return unsaid(either(few(row.set)), `${built} Here the set has ${some(row.set.length, "label")}.`, row.set);
  }
  const fewWrong = `at most ${share(error.error)} of its answers are wrong`;
  if (error.threshold > 1) return unsaid(`perhaps ${top}`, `No probability could be shown from which ${fewWrong}. So it answers none.`, [top]);
  return unsaid(`perhaps ${top}`, `${top} has ${percent(p)}. Below ${percent(error.threshold)} it gives no answer, so that ${fewWrong}.`, [top]);
}

function ofOne(row, { operating, abstention }) {
  const all = ranked(row);
  const [[, p], second] = all;
  const plain = !operating?.length && !abstention?.sets && !abstention?.error; // else the file itself says what is too close
  const near = plain && second ? all.filter(([, value]) => p - value < MARGIN) : [];
  if (near.length < 2) return { title: row.label, short: row.label, close: null, about: [row.label], answered: true, note: "" };
  const names = near.map(([label]) => label);
  const shares = near.map(([label, value]) => `${label} ${percent(value)}`).join(", ");
  return {
    title: `Too close to call: ${either(names)}`,
    short: either(names),
    close: `${shares}: less than ${100 * MARGIN} points apart. Take none of them as the answer.`,
    about: names,
    answered: true,
    note: "too close to call",
  };
}

function ofSeveral(row, manifest) {
  const given = ranked(row).filter(([label]) => row.labels.includes(label)).map(([label]) => label);
  const near = ranked(row)
    .filter(([label, p]) => !pointOf(label, manifest) && Math.abs(2 * p - 1) < MARGIN)
    .map(([label]) => label);
  const close = near.length
    ? `Too close to call: ${near.join(", ")}. For each of them yes and no are less than ${100 * MARGIN} points apart.`
    : null;
  const title = given.length ? given.join(", ") : "No label";
  const about = [...new Set([...given, ...near])].concat(given.length + near.length ? [] : [row.label]);
  return { title, short: title, close, about, answered: true, note: close ? "too close to call" : "" };
}

/** From which probability a label is called; undefined: it has no point. */
export const pointOf = (label, { operating }) => operating?.find((point) => point.label === label);

const MOST_NAMED = 6;

const few = (names) => (names.length > MOST_NAMED ? [...names.slice(0, MOST_NAMED), `${names.length - MOST_NAMED} more`] : names);

/** A share that was chosen, such as a coverage: "90 %". */
const share = (value) => `${Number((100 * value).toPrecision(3))}${PERCENT}`;

/** Share of images like those of validation above the threshold: of few images it is the largest score, which 1 in n + 1 passes. */
const passing = (novelty) => Math.max(novelty.share, 1 / (novelty.n + 1));

const significant = (value) => String(Number(value.toPrecision(4)));

/** How the model decides, name to value; nothing where the most probable label is always the answer. */
export function decisions({ operating, abstention, reference }) {
  const said = {};
  const recalibrated = reference?.source === "recalibration";
  const settling = (n, kind = "") => (recalibrated ? `${some(n, `${kind}image`)} of the site that recalibrated it` : some(n, `${kind}validation image`));
  if (operating?.length) {
    said["Called from"] = operating.map(({ label, threshold, rule, n, positives }) => `${label}: ${percent(threshold)} (${rule}; chosen on ${settling(n)}, ${positives} of them ${label})`).join("; ");
  }
  const { sets, error, novelty } = abstention ?? {};
  if (sets) {
    const images = sets.n.reduce((sum, one) => sum + one, 0);
    said.Uncertain = `where the set of labels is not the answer alone; sets are built to hold the right label for ${share(sets.coverage)} of images${sets.per_class ? " in each class" : ""} (fixed on ${settling(images, "independent ")})`;
  }
  if (error) {
    const from = error.threshold > 1 ? "whatever the probability" : `below ${percent(error.threshold)}`;
    const limit = `${from}, so that at most ${share(error.error)} of answers are wrong (fixed on ${settling(error.n)})`;
    said.Uncertain = said.Uncertain ? `${said.Uncertain}; and ${limit}` : limit;
  }
  if (novelty) {
    const known = novelty.grouped ? `those of its ${some(novelty.n, "group")} of validation images` : `its ${some(novelty.n, "validation image")}`;
    said["Not answered"] = `images whose score of being unlike training is above ${significant(novelty.threshold)}, as at most ${share(passing(novelty))} are on average of images like ${known}${recalibrated ? " of training" : ""}`;
  }
  return said;
}

function either(names) {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} or ${names.at(-1)}`;
}

/**
 * What the model's own evaluation says of one label.
 *
 * @returns {{text: string, warning: boolean}[]} sentences, the most useful first.
 */
export function evidence(label, manifest) {
  const { report } = manifest;
  if (!report) {
    return [warning("No evaluation came with this model. How often it is right is not known.")];
  }
  if (!report.per_class[label]) return [warning(`Its evaluation says nothing of ${label}.`)];
  const point = pointOf(label, manifest);
  const said = point ? [fact(`${label} is called from ${percent(point.threshold)} on, by the rule ${point.rule}.`)] : [];
  const { called, images, n, ppv, sensitivity, blind } = calls(label, manifest) ?? {};
  if (n === undefined) return [...said, warning(`Its evaluation does not say how often it is right to call ${label} from there on.`)];
  if (ppv && called) {
    const which = blind ? `whose most probable label is ${label}` : `that it called ${label}`;
    said.push(fact(`Of the ${some(called, "test image")} ${which}, ${withInterval(ppv)} were ${label}.`));
  } else {
    const none = blind ? `${label} is the most probable label of no test image` : `It called no test image ${label}`;
    said.push(warning(`${none}: how often that is right is not known.`));
  }
  if (sensitivity) {
    const found = blind ? `${label} is the most probable label of` : "it found";
    said.push(fact(`Of the ${some(n, "test image")} of ${label}, ${found} ${withInterval(sensitivity)}.`));
  }
  if (ppv && called) said.push(fact(`${n} of ${images} test images were ${label}. Where it is rarer, fewer of its calls are right.`));
  const rough = [called, n].filter((count) => count && count < FEW);
  if (rough.length) said.push(warning(`From so few images (${Math.min(...rough)}) the shares of ${label} are rough.`));
  if (blind) said.push(warning(`Other labels have operating points. How often one of them takes the place of ${label} was not counted.`));
  return said;
}

/**
 * How the test images were called one label: from its operating point on where it has one, as the model answers.
 *
 * @returns {object | null} null: the report has nothing of this point. images: those of which the truth is known; n: those
 *   of the label; blind: points of other labels are left out.
 */
function calls(label, manifest) {
  const { report, labels, task, operating } = manifest;
  const point = pointOf(label, manifest);
  const judged = (point) => report.operating?.points.find((one) => one.label === point.label && one.threshold === point.threshold);
  if (point) {
    const one = judged(point);
    return one ? { ...one, called: one.tp + one.fp, images: one.n, n: one.tp + one.fn } : null;
  }
  const others = task === "multilabel" ? [] : (operating ?? []); // of several labels each is called for itself
  const other = labels.length === 2 && others.length ? judged(others[0]) : null;
  if (other) {
    return { called: other.tn + other.fn, images: other.n, n: other.tn + other.fp, ppv: other.npv, sensitivity: other.specificity };
  }
  const of = report.per_class[label];
  return { ...of, called: calledSo(label, report, of), images: of.known ?? report.n, blind: others.length > 0 };
}

/** What holds for every answer of the model, whatever the label. */
export function always(manifest) {
  const { report, labels, task, abstention } = manifest;
  const said = [];
  if (report) {
    const { calibration } = report;
    const off = calibration && `on ${calibration.n} test images they were off by ${(100 * calibration.ece).toFixed(1)} points on average`;
    said.push(off ? fact(`Probabilities are calibrated; ${off}.`) : warning("How well its probabilities are calibrated is not known."));
    const groups = `In brackets: 95 % intervals, from resampling ${report.clusters} groups, such as patients, kept whole.`;
    const alone =
      "In brackets: 95 % intervals, as if each image were of another patient; where some are of the same, they are too narrow.";
    said.push(fact(report.clusters ? groups : alone));
  }
  said.push(fact(abstention?.novelty ? "It does not answer images that it takes for unlike those of training. Some such images still pass." : ofAny(labels, task)));
  return said;
}

const ofAny = (labels, task) =>
  task === "multilabel"
    ? "It knows only its own labels, and does not notice an image of another kind."
    : `It answers with one of its ${labels.length} labels for any image, also for one of something else.`;

const fact = (text) => ({ text, warning: false });
const warning = (text) => ({ text, warning: true });

/** Test images that were given the label without any operating point, or null where the report does not tell. */
function calledSo(label, report, of) {
  if (report.confusion) {
    const at = report.confusion.labels.indexOf(label);
    return report.confusion.counts.reduce((sum, row) => sum + row[at], 0);
  }
  if (!of.ppv || !of.sensitivity || !of.ppv.value) return of.ppv ? null : 0;
  return Math.round((of.sensitivity.value * of.n) / of.ppv.value); // right ones, over the share that is right
}

/** The model's numbers over all labels, name to value: "Accuracy" to "79 % (75–84 %)". */
export function overall({ report, operating }) {
  const how = operating?.length ? " without operating points" : "";
  const names = { accuracy: `Accuracy${how}`, balanced_accuracy: `Balanced accuracy${how}` };
  const known = Object.entries(names).filter(([name]) => report?.metrics[name]);
  const shares = Object.fromEntries(known.map(([name, title]) => [title, withInterval(report.metrics[name])]));
  const area = report?.metrics.macro_auroc;
  if (!area) return shares;
  const [value, low, high] = [area.value, area.low, area.high].map((one) => one.toFixed(3));
  return { ...shares, "Macro AUROC": `${value} (${low}–${high})` };
}

/** What a heat map says and does not say. */
export function meaning(heat, visible) {
  const most = Math.max(...heat.values.flat());
  const caution = "It shows what this answer depends on, not where a disease is: do not use it to locate anything.";
  if (heat.method === "evidence") {
    const what = `The model's own map of evidence for ${heat.label} (${percent(heat.base)}), of which it makes its answer, in logits.`;
    return `${what} ${most > 0 ? `Bright: speaks for it, by up to ${most.toFixed(1)}.` : "No place speaks for it."} ${caution}`;
  }
  const limits = `${caution} Parts that matter only together stay dark.`;
  const what = `Parts of the image were covered one after the other with its mean colour. Bright: covering this part lowers the probability of ${heat.label} from ${percent(heat.base)}`;
  if (most < visible) {
    return `Covering any one part changes the probability of ${heat.label} by less than ${100 * visible} points: no single place decides. ${limits}`;
  }
  return `${what} by up to ${points(most)} points. ${limits}`;
}

/** A difference of probabilities in points. */
export function points(difference) {
  return (100 * difference).toFixed(difference < 0.1 ? 1 : 0);
}
