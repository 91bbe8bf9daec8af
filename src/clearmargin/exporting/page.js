"use strict";
// The page: pictures in, answers out. Nothing is sent anywhere.

const about = JSON.parse(document.getElementById("about").textContent);
const status = document.getElementById("status"), results = document.getElementById("results");
const chooser = document.getElementById("files"), drop = document.getElementById("drop");
const MOST_PIXELS = 50_000_000;
let session = null;

function bytesOf(id) {
  const element = document.getElementById(id), text = element.textContent.trim(), piece = 4 << 20;
  const size = (text.length / 4) * 3 - (text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0), bytes = new Uint8Array(size);
  for (let from = 0, at = 0; from < text.length; from += piece) {
    const decoded = atob(text.slice(from, from + piece));
    for (let k = 0; k < decoded.length; k++) bytes[at++] = decoded.charCodeAt(k);
  }
  element.remove();
  return bytes;
}

async function start() {
  const glue = new Blob([new TextDecoder().decode(bytesOf("glue"))], { type: "text/javascript" });
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = bytesOf("wasm").buffer;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(glue) };
  session = await ort.InferenceSession.create(bytesOf("network"), { executionProviders: ["wasm"] });
  chooser.disabled = false;
  status.textContent = "Ready.";
  document.body.dataset.ready = "yes";
}

async function pictureOf(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Error(`too large: ${width} x ${height} pixels`);
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.fillStyle = "black"; // what is transparent is laid on black
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const shown = context.getImageData(0, 0, width, height).data, levels = new Uint8ClampedArray(width * height * 3);
  for (let k = 0, at = 0; at < levels.length; k += 4, at += 3) levels.set(shown.subarray(k, k + 3), at);
  return { width, height, bands: 3, levels };
}

async function answer(picture) {
  const inputs = normalised(framed(picture, about), about), side = about.size_px;
  const channels = about.color === "gray" ? 1 : 3;
  const tensor = new ort.Tensor("float32", inputs, [1, channels, side, side]);
  const outputs = await session.run({ [session.inputNames[0]]: tensor });
  const logits = Array.from(outputs[session.outputNames[0]].data, (value) => value / about.temperature);
  const largest = Math.max(...logits), powers = logits.map((value) => Math.exp(value - largest));
  const sum = powers.reduce((one, other) => one + other, 0);
  return powers.map((power) => power / sum);
}

function inSet(probabilities) {
  const rule = about.decision && about.decision.conformal;
  if (!rule) return null;
  return about.classes.filter((name, k) => {
    const limit = rule.kind === "marginal" ? rule.threshold : rule.class_thresholds[name];
    return limit === null || 1 - probabilities[k] <= limit;
  });
}

function isUnsure(probabilities) {
  const rule = about.decision && about.decision.abstention;
  if (!rule) return false;
  return rule.threshold === null ? rule.outcome !== "few" : !(Math.max(...probabilities) >= rule.threshold);
}

function element(kind, text, properties = {}) {
  const made = Object.assign(document.createElement(kind), properties);
  if (text) made.textContent = text;
  return made;
}

function bars(probabilities) {
  const list = element("dl", "", { className: "bars" });
  const order = probabilities.map((_, k) => k).sort((one, other) => probabilities[other] - probabilities[one]);
  for (const k of order) {
    const said = element("dd"), percent = `${(100 * probabilities[k]).toFixed(1)} %`;
    said.append(element("meter", "", { min: 0, max: 1, value: probabilities[k], ariaLabel: `${about.classes[k]}: ${percent}` }), element("span", percent));
    list.append(element("dt", about.classes[k]), said);
  }
  return list;
}

function words(probabilities) {
  const best = about.classes[probabilities.indexOf(Math.max(...probabilities))], said = [];
  if (isUnsure(probabilities)) said.push("Not sure: please refer.");
  else said.push(`Most like ${best}.`);
  const held = inSet(probabilities);
  if (held) {
    const sure = `at ${(100 * (1 - about.decision.conformal.error_rate)).toFixed(0)} % confidence`;
    said.push(held.length ? `${held.join(" or ")}, ${sure}.` : `None of the classes, ${sure}: unlike what it knows.`);
  }
  return said.join(" ");
}

async function show(file) {
  const item = element("li", "", { className: "answer" });
  const figure = element("img", "", { src: URL.createObjectURL(file), alt: `the picture ${file.name}` });
  const text = element("div");
  text.append(element("h2", file.name));
  item.append(figure, text);
  results.prepend(item);
  try {
    const probabilities = await answer(await pictureOf(file));
    item.dataset.probabilities = JSON.stringify(probabilities);
    text.append(element("p", words(probabilities)), bars(probabilities));
  } catch (error) {
    item.dataset.failed = "yes";
    figure.remove();
    text.append(element("p", `This browser can't show it as a picture (${error.message}).`, { className: "failed" }));
  }
}

async function showAll(files) {
  let done = 0;
  for (const file of files) {
    status.textContent = `Picture ${done + 1} of ${files.length} …`;
    await show(file);
    done += 1;
  }
  status.textContent = `${done} picture${done === 1 ? "" : "s"} answered.`;
}

chooser.addEventListener("change", () => showAll([...chooser.files]));
for (const kind of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind === "drop" && session) showAll([...event.dataTransfer.files]);
  });
}
start().catch((error) => { status.textContent = `This browser can't run the model: ${error.message}`; });
