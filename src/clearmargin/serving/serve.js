// Without this script the page works as a plain form. With it, images are sent one by one as they are chosen or
// dropped, and the server's own HTML of each answer is put in. File names never leave the browser.
"use strict";

const form = document.getElementById("form");
const input = document.getElementById("files");
const drop = form.querySelector(".drop");
const answers = document.getElementById("answers");
const results = document.getElementById("results");
const progress = document.getElementById("progress");
const csv = document.getElementById("csv");
const said = form.dataset;
const AT_ONCE = 2;
const PATIENCE = 20;  // attempts while the server is overloaded
const MOST_LATE = 1;  // attempts that may be not answered in time, and one follows
const LATER = [429, 503];
const WORTH_AGAIN = [408, 429, 500, 503];
const waiting = [];
let sending = 0, all = 0, done = 0, csvAddress = null;

document.documentElement.classList.add("scripted");
input.required = false;

function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

function element(tag, kind, text) {
  const made = document.createElement(tag);
  made.className = kind;
  made.textContent = text;
  return made;
}

function card(kind, file, title, detail) {
  const made = element("article", `result ${kind}`, "");
  const header = made.appendChild(element("header", "", ""));
  made.tabIndex = -1;
  header.append(element("p", "file", file.name), element("h3", "", title));
  if (detail) header.append(element("p", "said", detail));
  return made;
}

function add(files) {
  for (const file of files) {
    const place = card("is-waiting", file, said.looking);
    results.append(place);
    waiting.push({ file, place });
    all += 1;
  }
  answers.hidden = all === 0;
  show();
  next();
}

function next() {
  while (sending < AT_ONCE && waiting.length) {
    sending += 1;
    look(waiting.shift()).finally(() => { sending -= 1; next(); });
  }
}

async function look({ file, place }) {
  let made;
  if (file.size > Number(said.bytes)) {
    made = [card("is-refused", file, said.unseen, filled(said.large, { size: said.size }))];
  } else {
    made = await answer(file);
  }
  if (!place.isConnected) return;  // cleared meanwhile
  const focused = place.contains(document.activeElement);
  place.replaceWith(...made);
  if (focused) made[0].focus();
  done += 1;
  show();
}

// The cards of a file: one, or one for each of its frames.
async function answer(file) {
  for (let attempt = 1, late = 0; ; attempt += 1) {
    const body = new FormData();
    body.append("files", file, "image");  // not its name
    let response, text;
    try {
      response = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
      text = await response.text();
    } catch {
      return [again(file, said.gone)];
    }
    late += response.status === 503;
    if (LATER.includes(response.status) && attempt < PATIENCE && late <= MOST_LATE) {
      await new Promise((go) => setTimeout(go, 1000 * Number(response.headers.get("Retry-After") || 1)));
      continue;
    }
    const found = [...new DOMParser().parseFromString(text, "text/html").querySelectorAll(".result")];
    if (!found.length) return [again(file, said.refused)];
    if (WORTH_AGAIN.includes(response.status)) {
      return [again(file, found[0].querySelector(".said")?.textContent ?? said.refused)];
    }
    return found.map((one) => {
      const made = document.importNode(one, true);
      made.querySelector(".file").textContent = made.dataset.frame ? `${file.name}#${made.dataset.frame}` : file.name;
      return made;
    });
  }
}

function again(file, reason) {
  const made = card("is-refused", file, said.unseen, reason);
  const button = made.firstChild.appendChild(element("button", "button again", said.again));
  button.type = "button";
  button.addEventListener("click", () => {
    const place = card("is-waiting", file, said.looking);
    made.replaceWith(place);
    place.focus();
    done -= 1;
    waiting.push({ file, place });
    show();
    next();
  });
  return made;
}

function show() {
  progress.textContent = all ? filled(said.progress, { done, all }) : "";
  const rows = [...results.querySelectorAll(".result[data-row]")];
  csv.hidden = rows.length === 0;
  if (csvAddress) URL.revokeObjectURL(csvAddress);
  csvAddress = null;
  if (!rows.length) return;
  const lines = rows.map((row) => [row.querySelector(".file").textContent, ...JSON.parse(row.dataset.row)]);
  const table = [JSON.parse(said.columns), ...lines].map((line) => line.map(cell).join(",")).join("\n");
  csvAddress = URL.createObjectURL(new Blob([table, "\n"], { type: "text/csv;charset=utf-8" }));
  csv.href = csvAddress;
}

// As the package writes tables: nothing can start a formula in a spreadsheet.
function cell(value) {
  if (typeof value === "number") return String(value);
  const text = value === null ? "" : value === true ? "True" : value === false ? "False" : String(value);
  const safe = /^[=+\-@\t\r\n＝＋－＠']/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

input.addEventListener("change", () => {
  add(input.files);
  input.value = "";
});
form.addEventListener("submit", (event) => event.preventDefault());
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) drop.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  add(event.dataTransfer.files);
});
results.addEventListener("input", (event) => {
  if (!event.target.matches(".opacity")) return;
  event.target.closest("figure").querySelector(".heat").style.opacity = event.target.value / 100;
});
document.getElementById("clear").addEventListener("click", () => {
  waiting.length = 0;
  all = done = 0;
  results.replaceChildren();
  show();
  answers.hidden = true;
  input.focus();
});
all = done = results.children.length;  // answers to the plain form
