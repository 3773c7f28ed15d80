"use strict";
// Draws one side of the token explorer: the picture with its kept tokens, the marks on them, and attention over it.
const pictures = (data) => {
  const SVG = "http://www.w3.org/2000/svg";

  const shape = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

  const memo = (make) => {
    const known = new Map();
    return (key) => {
      if (!known.has(key)) known.set(key, make(key));
      return known.get(key);
    };
  };

  // Token sets are bit fields, least significant bit first.
  const tokens = memo((set) => {
    const members = new Set();
    bytes(data.sets[set]).forEach((byte, at) => {
      for (let bit = 0; bit < 8; bit++) if ((byte >> bit) & 1) members.add(8 * at + bit);
    });
    return members;
  });

  // A byte is 255 times the root of the weight over the largest one.
  const weights = memo((map) => {
    const { roots, largest } = data.maps[map];
    return { largest, shares: Float64Array.from(bytes(roots), (root) => (root / 255) ** 2) };
  });

  const squares = (members, cols) => [...members].map((t) => `M${t % cols} ${Math.floor(t / cols)}h1v1h-1z`).join("");

  // In a corner, so that the patch under it stays visible.
  const corners = (members, cols, size) =>
    [...members].map((t) => `M${t % cols} ${Math.floor(t / cols)}h${size}l${-size} ${size}z`).join("");

  const outline = (members, rows, cols) => {
    const has = (r, c) => r >= 0 && c >= 0 && r < rows && c < cols && members.has(r * cols + c);
    let path = "";
    for (let r = 0; r <= rows; r++)
      for (let c = 0; c <= cols; c++) {
        if (has(r, c) !== has(r - 1, c)) path += `M${c} ${r}h1`;
        if (has(r, c) !== has(r, c - 1)) path += `M${c} ${r}v1`;
      }
    return path;
  };

  const RAMP = [[255, 237, 160], [253, 141, 60], [189, 0, 38]];
  const heat = (share) => {
    const at = Math.min(share * 2, 1.999);
    const [from, to] = [RAMP[Math.floor(at)], RAMP[Math.floor(at) + 1]];
    return from.map((value, channel) => Math.round(value + (at % 1) * (to[channel] - value)));
  };

  // One pixel per token; the style sheet stretches it over the picture without smoothing.
  const overlay = (canvas, map, rows, cols) => {
    canvas.width = cols;
    canvas.height = rows;
    canvas.hidden = map === null;
    if (map === null) return;
    const context = canvas.getContext("2d");
    const painted = context.createImageData(cols, rows);
    weights(map).shares.forEach((share, token) => {
      painted.data.set([...heat(share), Math.round(229 * share ** 0.7)], 4 * token);
    });
    context.putImageData(painted, 0, 0);
  };

  const draw = (svg, id, { image, kept, only, needed, grey }) => {
    const { rows, cols, src } = image;
    const full = { href: src, x: 0, y: 0, width: cols, height: rows, preserveAspectRatio: "none" };
    const clip = shape("clipPath", { id });
    clip.append(shape("path", { d: squares(kept, cols) }));
    const border = outline(needed, rows, cols);
    svg.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
    svg.classList.toggle("grey", grey);
    svg.replaceChildren(clip, shape("image", { ...full, class: "rest" }), shape("image", { ...full, class: "stay", "clip-path": `url(#${id})` }));
    return [
      shape("path", { d: corners(only, cols, 0.5), class: "only" }),
      shape("path", { d: border, class: "need" }),
      shape("path", { d: border, class: "need over" }),
      shape("rect", { width: 1, height: 1, class: "cursor", visibility: "hidden" }),
    ];
  };

  return { shape, tokens, weights, overlay, draw };
};
