// Elements from code. Text is only ever set as text, so that no label, file name or card can become markup.

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** A new element; a null attribute is left out. */
export function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Show or hide. */
export function show(id, visible = true) {
  byId(id).hidden = !visible;
}

/** Replace what an element holds. */
export function fill(id, ...children) {
  byId(id).replaceChildren(...children);
}
