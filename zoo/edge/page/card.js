// A model card for reading: the part of Markdown that cards are written in, as elements, never as markup.

import { el } from "./dom.js";

/** Elements for a card: headings, paragraphs, lists, tables and `code`. */
export function rendered(markdown) {
  return markdown
    .replaceAll("\r\n", "\n")
    .split(/\n{2,}/)
    .flatMap((block) => ofBlock(block.trim()));
}

function ofBlock(block) {
  if (!block) return [];
  const lines = block.split("\n");
  const [, marks, title] = /^(#{1,4})\s+(.*)$/.exec(lines[0]) ?? [];
  if (marks) return [el(`h${Math.min(marks.length + 2, 6)}`, {}, ...inline(title)), ...ofBlock(lines.slice(1).join("\n").trim())];
  if (lines.length > 1 && lines.every((line) => line.startsWith("|"))) return [table(lines)];
  if (lines.every((line) => /^[-*] /.test(line))) return [el("ul", {}, ...lines.map((line) => el("li", {}, ...inline(line.slice(2)))))];
  return [el("p", {}, ...inline(lines.join(" ")))];
}

function table([head, , ...body]) {
  const cells = (line) => line.replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const row = (line, tag) => el("tr", {}, ...cells(line).map((cell) => el(tag, tag === "th" ? { scope: "col" } : {}, ...inline(cell))));
  const whole = el("table", {}, el("thead", {}, row(head, "th")), el("tbody", {}, ...body.map((line) => row(line, "td"))));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "table" }, whole);
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).filter(Boolean).map((part) => {
    if (part.startsWith("`") && part.length > 2) return el("code", {}, part.slice(1, -1));
    return part.startsWith("**") && part.length > 4 ? el("strong", {}, part.slice(2, -2)) : part;
  });
}
