"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const root = document.getElementById("explorer");
  const SVG = "http://www.w3.org/2000/svg";
  const state = { image: 0, question: 0, keep: data.keeps[Math.floor(data.keeps.length / 2)], pruners: [] };

  const make = (tag, attributes = {}, text = "") => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  };
  const shape = (tag, attributes) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };

  // Token sets are bit fields, least significant bit first.
  const decoded = new Map();
  const tokens = (set) => {
    if (!decoded.has(set)) {
      const bytes = atob(data.sets[set]);
      const members = new Set();
      for (let i = 0; i < 8 * bytes.length; i++) if ((bytes.charCodeAt(i >> 3) >> (i & 7)) & 1) members.add(i);
      decoded.set(set, members);
    }
    return decoded.get(set);
  };

  const squares = (members, cols) => [...members].map((t) => `M${t % cols} ${Math.floor(t / cols)}h1v1h-1z`).join("");

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

  const fill = (select, names) => {
    select.replaceChildren(...names.map((name, index) => make("option", { value: index }, name)));
  };

  const verdict = (node, prediction, answer) => {
    node.textContent = prediction === null ? "not recorded" : prediction || "(nothing)";
    node.className = prediction === null ? "" : prediction.trim().toLowerCase() === answer.trim().toLowerCase() ? "right" : "wrong";
    if (node.className) node.append(node.className === "right" ? " ✓" : " ✗");
  };

  const panes = [0, 1].slice(0, Math.max(1, Math.min(2, data.pruners.length))).map((index) => {
    const pane = make("div", { class: "pane" });
    const label = make("label", {}, index ? "Compared with" : "Pruner");
    const select = make("select");
    const list = make("dl");
    const picture = shape("svg", { role: "img" });
    fill(select, data.pruners.map((pruner) => pruner.label));
    label.append(select);
    pane.append(label, picture, list);
    const random = data.pruners.findIndex((pruner) => pruner.name.toLowerCase() === "random");
    state.pruners[index] = index ? (random > 0 ? random : data.pruners.length - 1) : 0;
    select.value = state.pruners[index];
    select.addEventListener("change", () => { state.pruners[index] = Number(select.value); draw(); });
    return { pane, picture, list };
  });

  const drawPane = ({ picture, list }, index) => {
    const image = data.images[state.image];
    const question = image.questions[state.question];
    const { rows, cols } = image;
    const pruner = data.pruners[state.pruners[index]];
    const choice = question.choices.find(([name, keep]) => name === pruner.name && keep === state.keep);
    const kept = choice ? tokens(choice[2]) : new Set();
    const needed = tokens(question.needed);
    const full = { href: image.src, x: 0, y: 0, width: cols, height: rows, preserveAspectRatio: "none" };
    const clip = shape("clipPath", { id: `kept-${index}` });
    clip.append(shape("path", { d: squares(kept, cols) }));
    const border = outline(needed, rows, cols);
    picture.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
    picture.setAttribute("aria-label", `${image.name}: ${kept.size} tokens kept by ${pruner.label}`);
    picture.replaceChildren(
      clip,
      shape("image", { ...full, class: "rest" }),
      shape("image", { ...full, "clip-path": `url(#kept-${index})` }),
      shape("path", { d: border, class: "need" }),
      shape("path", { d: border, class: "need over" }),
    );
    const answered = make("dd");
    verdict(answered, choice ? choice[3] : null, question.answer);
    const unpruned = make("dd");
    verdict(unpruned, question.full, question.answer);
    const inside = [...needed].filter((token) => kept.has(token)).length;
    list.replaceChildren(
      make("dt", {}, "Kept"), make("dd", {}, choice ? `${kept.size} of ${rows * cols}` : "not run at this budget"),
      make("dt", {}, "Needed"), make("dd", {}, needed.size ? `${inside} of ${needed.size} kept` : "not known"),
      make("dt", {}, "Answer"), answered,
      make("dt", {}, "Full model"), unpruned,
      make("dt", {}, "Truth"), make("dd", {}, question.answer),
    );
  };

  const draw = () => panes.forEach(drawPane);

  const images = root.querySelector("[data-role=image]");
  const questions = root.querySelector("[data-role=question]");
  const keeps = root.querySelector("[data-role=keeps]");
  const showQuestions = () => {
    state.question = 0;
    fill(questions, data.images[state.image].questions.map((q) => `${q.text}  (${q.task.replaceAll("_", " ")})`));
  };
  fill(images, data.images.map((image) => image.name));
  images.addEventListener("change", () => { state.image = Number(images.value); showQuestions(); draw(); });
  questions.addEventListener("change", () => { state.question = Number(questions.value); draw(); });
  for (const keep of data.keeps) {
    const label = make("label");
    const input = make("input", { type: "radio", name: "keep", value: keep });
    input.checked = keep === state.keep;
    input.addEventListener("change", () => { state.keep = keep; draw(); });
    label.append(input, make("b", {}, keep));
    keeps.append(label);
  }
  root.querySelector(".panes").append(...panes.map(({ pane }) => pane));
  showQuestions();
  draw();
  root.hidden = false;
})();
