"use strict";
// The token explorer: what is chosen, and what the page says about it. Texts from data are set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const root = document.getElementById("explorer");
  const { shape, tokens, weights, overlay, draw } = pictures(data);
  const role = (name) => root.querySelector(`[data-role=${name}]`);
  const FULL = data.pruners.length - 1;
  const random = data.pruners.findIndex(({ name }) => name.toLowerCase() === "random");
  const state = {
    image: 0,
    question: 0,
    keep: Math.floor(data.keeps.length / 2),
    place: -1,
    pruners: [0, random > 0 ? random : Math.max(0, Math.min(1, FULL))],
    differences: true,
  };

  const make = (tag, attributes = {}, text = "") => {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.textContent = text;
    return node;
  };
  const fill = (select, names) => select.replaceChildren(...names.map((name, value) => make("option", { value }, name)));
  const step = (at, by, count) => (((at + by) % count) + count) % count;
  const percent = (share) => `${(100 * share).toPrecision(2)} %`;

  const image = () => data.images[state.image];
  const question = () => image().questions[state.question];
  const keep = () => data.keeps[state.keep];
  const attention = () => {
    const own = [...image().attention, ...question().attention].find(([place]) => place === state.place);
    return own ? own[1] : null;
  };

  // What a pruner has done at the chosen place: inside the language model, what is left in that layer; else in the last.
  const choice = (side) => {
    const pruner = data.pruners[state.pruners[side]];
    if (state.pruners[side] === FULL) return { pruner, run: true, kept: tokens(image().all), reply: question().full, stages: [] };
    const found = question().choices.find(([name, budget]) => name === pruner.name && budget === keep());
    if (!found) return { pruner, run: false, kept: new Set(), reply: null, stages: [] };
    const [, , last, reply, stages] = found;
    const place = data.places[state.place];
    let set = last;
    if (place && place.inside && stages.length) {
      const begun = stages.filter(([layer]) => layer <= place.layer);
      set = begun.length ? begun.at(-1)[1] : image().all;
    }
    return { pruner, run: true, kept: tokens(set), reply, stages };
  };

  const verdict = (node, reply) => {
    node.className = "verdict";
    if (reply === null) {
      node.textContent = "not recorded";
      return "no reply recorded";
    }
    const [text, correct] = reply;
    const words = { true: "right", false: "wrong", null: "" }[correct];
    node.textContent = text || "(nothing)";
    if (words) {
      node.classList.add(words);
      node.append(make("span", {}, `${correct ? "✓" : "✗"} ${words}`));
    }
    return `answers ${text || "nothing"}${words ? `, ${words}` : ""}`;
  };

  // "576 to layer 2, then 64": how many tokens reach each layer of a pruner inside the language model.
  const schedule = ({ stages }) => {
    let text = `${tokens(image().all).size}`;
    for (const [layer, set] of stages) text += ` up to layer ${layer - 1}, then ${tokens(set).size}`;
    return text;
  };

  const sides = [0, 1].map((side) => {
    const pane = make("div", { class: "pane" });
    const label = make("label", {}, side ? "Compared with" : "Pruner");
    const select = make("select", { "data-side": side });
    const frame = make("div", { class: "frame" });
    const picture = shape("svg", { role: "img" });
    const canvas = make("canvas", { "aria-hidden": "true" });
    const marks = shape("svg", { "aria-hidden": "true", class: "marks" });
    const reply = make("p");
    const list = make("dl");
    fill(select, data.pruners.map((pruner) => pruner.label));
    select.addEventListener("change", () => { state.pruners[side] = Number(select.value); show(); });
    label.append(select);
    frame.append(picture, canvas, marks);
    pane.append(label, frame, reply, list);
    return { side, pane, select, frame, picture, canvas, marks, reply, list };
  });

  const showSide = ({ side, select, picture, canvas, marks, reply, list }, chosen, map) => {
    const { rows, cols, name } = image();
    const { pruner, run, kept, stages } = chosen[side];
    const other = chosen[1 - side].kept;
    const needed = tokens(question().needed);
    const only = new Set([...kept].filter((token) => !other.has(token)));
    select.value = state.pruners[side];
    const above = draw(picture, `kept-${side}`, {
      image: image(), kept, only: state.differences && chosen[1 - side].run ? only : new Set(), needed, grey: map !== null,
    });
    picture.setAttribute("aria-label", `${name}: ${kept.size} of ${rows * cols} tokens kept by ${pruner.label}`);
    marks.setAttribute("viewBox", `0 0 ${cols} ${rows}`);
    marks.replaceChildren(...above);
    overlay(canvas, map, rows, cols);
    const said = verdict(reply, chosen[side].reply);
    const inside = [...needed].filter((token) => kept.has(token)).length;
    const facts = [
      ["Kept", run ? `${kept.size} of ${rows * cols}` : "not run at this budget"],
      ["Shared", run && chosen[1 - side].run ? `${kept.size - only.size}, ${only.size} on this side only` : "–"],
      ["Needed", needed.size ? `${inside} of ${needed.size} kept` : "not known"],
    ];
    if (map !== null) {
      const { shares, largest } = weights(map);
      let [held, sum] = [0, 0];
      shares.forEach((share, token) => { sum += share; held += kept.has(token) ? share : 0; });
      facts.push(["Attention", `${sum ? percent(held / sum) : "0 %"} of it on the kept; largest weight ${percent(largest)}`]);
    }
    if (stages.length) facts.push(["By layer", schedule(chosen[side])]);
    list.replaceChildren(...facts.flatMap(([term, text]) => [make("dt", {}, term), make("dd", {}, text)]));
    return `${pruner.label} ${run ? `keeps ${kept.size}` : "was not run at this budget"}, ${said}`;
  };

  const show = () => {
    const map = attention();
    const chosen = [choice(0), choice(1)];
    role("image").value = state.image;
    role("question").value = state.question;
    role("place").value = state.place + 1;
    role("differences").checked = state.differences;
    root.querySelectorAll("[name=keep]").forEach((input, at) => { input.checked = at === state.keep; });
    role("asked").textContent = question().text;
    const full = make("span");
    const parts = [make("span", {}, `Truth: ${question().answer}`), " · Full model: ", full];
    verdict(full, question().full);
    role("truth").replaceChildren(...parts);
    role("scale").hidden = map === null;
    role("readout").textContent = "";
    const said = sides.map((side) => showSide(side, chosen, map));
    role("status").textContent = `${question().text} ${said.join("; ")}.`;
  };

  // Begins with a question of which it is known what it needs.
  const showImage = () => {
    state.question = Math.max(0, image().questions.findIndex(({ needed }) => tokens(needed).size));
    fill(role("question"), image().questions.map((q) => `${q.text}  (${q.task.replaceAll("_", " ")})`));
    show();
  };

  const point = (event, { frame }) => {
    const { rows, cols } = image();
    const box = frame.getBoundingClientRect();
    const at = (offset, size, count) => Math.max(0, Math.min(count - 1, Math.floor((offset / size) * count)));
    const row = at(event.clientY - box.top, box.height, rows);
    const column = at(event.clientX - box.left, box.width, cols);
    const token = row * cols + column;
    for (const { marks } of sides) {
      const cursor = marks.querySelector(".cursor");
      for (const [name, value] of Object.entries({ x: column, y: row, visibility: "visible" })) cursor.setAttribute(name, value);
    }
    const words = sides.map(({ side }) => {
      const { pruner, run, kept } = choice(side);
      return `${pruner.label} ${run ? (kept.has(token) ? "keeps it" : "drops it") : "was not run"}`;
    });
    const map = attention();
    if (map !== null) words.push(`attention ${percent(weights(map).shares[token] * weights(map).largest)}`);
    role("readout").textContent = `Token ${token}, row ${row + 1}, column ${column + 1}: ${words.join(", ")}`;
  };
  const unpoint = (event) => {
    if (event.pointerType !== "mouse") return; // a finger that is lifted has not moved on
    for (const { marks } of sides) marks.querySelector(".cursor").setAttribute("visibility", "hidden");
    role("readout").textContent = "";
  };

  const turn = (side, by) => { state.pruners[side] = step(state.pruners[side], by, data.pruners.length); };
  const KEYS = {
    ArrowRight: (by) => { state.question = step(state.question, by, image().questions.length); },
    ArrowUp: (by) => { state.keep = Math.max(0, Math.min(data.keeps.length - 1, state.keep - by)); },
    "]": (by) => { state.place = step(state.place + 1, by, data.places.length + 1) - 1; },
    m: (by) => turn(0, by),
    n: (by) => turn(1, by),
    x: () => { state.pruners.reverse(); },
    d: () => { state.differences = !state.differences; },
  };
  const BACK = { ArrowLeft: "ArrowRight", ArrowDown: "ArrowUp", "[": "]" };

  const onKey = (event) => {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const name = BACK[key] ?? key;
    if (!Object.hasOwn(KEYS, name)) return;
    event.preventDefault();
    const letter = name === "m" || name === "n";
    const by = BACK[key] || (letter && event.shiftKey) ? -1 : 1;
    if (name === "ArrowRight" && event.shiftKey) {
      state.image = step(state.image, by, data.images.length);
      showImage();
      return;
    }
    KEYS[name](by);
    show();
  };

  fill(role("image"), data.images.map(({ name }) => name));
  fill(role("place"), ["not shown", ...data.places.map(({ label, layer }) => `${label}, layer ${layer}`)]);
  role("place").parentElement.hidden = !data.places.length;
  data.keeps.forEach((budget, at) => {
    const label = make("label");
    const input = make("input", { type: "radio", name: "keep", value: budget });
    input.addEventListener("change", () => { state.keep = at; show(); });
    label.append(input, make("b", {}, budget));
    role("keeps").append(label);
  });
  role("image").addEventListener("change", (event) => { state.image = Number(event.target.value); showImage(); });
  role("question").addEventListener("change", (event) => { state.question = Number(event.target.value); show(); });
  role("place").addEventListener("change", (event) => { state.place = Number(event.target.value) - 1; show(); });
  role("differences").addEventListener("change", (event) => { state.differences = event.target.checked; show(); });
  const panes = root.querySelector(".panes");
  panes.append(...sides.map(({ pane }) => pane));
  panes.addEventListener("keydown", onKey);
  for (const side of sides) {
    for (const name of ["pointermove", "pointerdown"]) side.frame.addEventListener(name, (event) => point(event, side));
    side.frame.addEventListener("pointerleave", unpoint);
  }
  showImage();
  root.hidden = false;
})();
