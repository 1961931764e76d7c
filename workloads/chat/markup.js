// @ts-check
// Shows a model's text: fenced code, inline code and bold; all else stays as it is. Builds nodes and never parses
// HTML, so what a model writes cannot act.

/**
 * @param {string} text
 * @returns {Node[]}
 */
export function toNodes(text) {
  // Odd parts lie between fences; a fence that is still open counts as closed at the end.
  return text.split(/^```/m).flatMap((part, index) => {
    if (index % 2 === 1) return [codeBlock(part)];
    const trimmed = part.replace(/^\n+|\n+$/g, "");
    return trimmed === "" ? [] : [paragraph(trimmed)];
  });
}

/** @param {string} part the language, a line break and the code */
function codeBlock(part) {
  const end = part.indexOf("\n");
  const code = element("code", end < 0 ? "" : part.slice(end + 1).replace(/\n$/, ""));
  const block = element("pre", "");
  // Wide code scrolls inside its block: that needs the keyboard's focus.
  block.tabIndex = 0;
  block.append(code);
  return block;
}

/** @param {string} text */
function paragraph(text) {
  const block = element("p", "");
  for (const piece of text.split(/(`[^`\n]+`|\*\*[^*\n]+\*\*)/)) {
    if (piece.startsWith("`") && piece.length > 2) block.append(element("code", piece.slice(1, -1)));
    else if (piece.startsWith("**") && piece.length > 4) block.append(element("strong", piece.slice(2, -2)));
    else block.append(piece);
  }
  return block;
}

/**
 * @param {string} name
 * @param {string} text
 */
function element(name, text) {
  const node = document.createElement(name);
  node.textContent = text;
  return node;
}
