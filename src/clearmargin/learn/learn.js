(() => {
  'use strict';
  const byId = id => document.getElementById(id);
  const data = JSON.parse(byId('data').textContent);
  const image = { values: data.pixels, width: data.side, height: data.side };
  const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  document.documentElement.classList.add('scripted');
  document.querySelectorAll('input[readonly]').forEach(input => { input.readOnly = false; });

  function format(value, digits = 2) {
    const power = 10 ** digits;
    let text = (Math.floor(Math.abs(value) * power + 0.5) / power).toFixed(digits);
    if (text.includes('.')) text = text.replace(/\.?0+$/, '');
    return value < 0 && text !== '0' ? '\u2212' + text : text;
  }
  const factor = value => value < 0 ? `(${format(value)})` : format(value);

  // The finite number in an input, or null; the input shows that it is not one.
  function numberIn(input, allowed = () => true) {
    const value = input.value.trim() === '' ? NaN : Number(input.value);
    const fine = Number.isFinite(value) && Math.abs(value) <= 1e6 && allowed(value);
    input.classList.toggle('bad-number', !fine);
    input.setAttribute('aria-invalid', String(!fine));
    return fine ? value : null;
  }

  // ---- arithmetic: the same as clearmargin.learn.convolve and pool, for one channel

  function convolve({ values, width, height }, kernel, stride, same) {
    const zeros = same ? 1 : 0;
    const rows = Math.floor((height + 2 * zeros - 3) / stride) + 1;
    const columns = Math.floor((width + 2 * zeros - 3) / stride) + 1;
    const out = new Float64Array(rows * columns);
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
      let sum = 0;
      for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) {
        const y = r * stride + i - zeros, x = c * stride + j - zeros;
        if (y >= 0 && y < height && x >= 0 && x < width) sum += values[y * width + x] * kernel[3 * i + j];
      }
      out[r * columns + c] = sum;
    }
    return { values: out, width: columns, height: rows };
  }

  function pool({ values, width, height }, kind, size) {
    const rows = Math.floor(height / size), columns = Math.floor(width / size);
    const out = new Float64Array(rows * columns);
    for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) {
      let sum = 0, most = -Infinity;
      for (let i = 0; i < size; i++) for (let j = 0; j < size; j++) {
        const value = values[(r * size + i) * width + c * size + j];
        sum += value;
        most = Math.max(most, value);
      }
      out[r * columns + c] = kind === 'max' ? most : kind === 'sum' ? sum : sum / size ** 2;
    }
    return { values: out, width: columns, height: rows };
  }

  function draw(canvas, map, scale) {
    canvas.width = map.width;
    canvas.height = map.height;
    let largest = 0;
    for (const value of map.values) largest = Math.max(largest, Math.abs(value));
    const context = canvas.getContext('2d'), picture = context.createImageData(map.width, map.height);
    map.values.forEach((value, place) => {
      const shown = scale === 'signed' ? 128 + 127 * value / (largest || 1) : scale === 'positive' ? 255 * value / (largest || 1) : value;
      const grey = Math.floor(clamp(shown, 0, 255) + 0.5);
      picture.data.set([grey, grey, grey, 255], 4 * place);
    });
    context.putImageData(picture, 0, 0);
  }

  // ---- the window slides

  const weights = [...document.querySelectorAll('.weight')], divisor = byId('divisor'), preset = byId('preset');
  const state = { kernel: null, weights: [], divisor: 1, stride: 1, same: false, at: [0, 0], patch: [...data.patch] };

  function readKernel() {
    const values = weights.map(input => numberIn(input));
    const by = numberIn(divisor, value => value !== 0);
    if (by === null || values.includes(null)) return false;
    Object.assign(state, { weights: values, divisor: by, kernel: values.map(value => value / by) });
    return true;
  }

  function patchMap() {
    const side = data.patchSide, values = [];
    for (let r = 0; r < side; r++) for (let c = 0; c < side; c++) values.push(image.values[(state.patch[0] + r) * image.width + state.patch[1] + c]);
    return { values, width: side, height: side };
  }

  function buildTable(table, rows, columns, fill) {
    const body = document.createElement('tbody');
    for (let r = 0; r < rows; r++) {
      const line = body.insertRow();
      for (let c = 0; c < columns; c++) fill(line.insertCell(), r, c);
    }
    table.replaceChild(body, table.tBodies[0]);
  }

  function showNumbers() {
    const map = patchMap(), zeros = state.same ? 1 : 0, out = convolve(map, state.kernel, state.stride, state.same);
    state.at = [clamp(state.at[0], 0, out.height - 1), clamp(state.at[1], 0, out.width - 1)];
    const [row, column] = state.at, top = row * state.stride, left = column * state.stride;
    const hadFocus = byId('out').contains(document.activeElement);
    byId('patch').classList.toggle('padded', state.same);
    buildTable(byId('patch'), map.height + 2 * zeros, map.width + 2 * zeros, (cell, r, c) => {
      const y = r - zeros, x = c - zeros, inside = y >= 0 && x >= 0 && y < map.height && x < map.width;
      const value = inside ? map.values[y * map.width + x] : 0;
      cell.textContent = value;
      if (inside) cell.style.setProperty('--grey', value);
      cell.classList.toggle('zero', !inside);
      cell.classList.toggle('light', inside && value > 117);
      cell.classList.toggle('under', r >= top && r < top + 3 && c >= left && c < left + 3);
      cell.addEventListener('click', () => choose(Math.round((r - 1) / state.stride), Math.round((c - 1) / state.stride)));
    });
    byId('out').classList.toggle('padded', out.width > 5);
    buildTable(byId('out'), out.height, out.width, (cell, r, c) => {
      const chosen = r === row && c === column;
      cell.textContent = format(out.values[r * out.width + c], 1);
      cell.setAttribute('role', 'gridcell');
      cell.setAttribute('aria-selected', String(chosen));
      cell.setAttribute('aria-label', `row ${r + 1}, column ${c + 1}: ${cell.textContent}`);
      cell.tabIndex = chosen ? 0 : -1;
      cell.classList.toggle('chosen', chosen);
      cell.addEventListener('click', () => choose(r, c, true));
      if (chosen && hadFocus) queueMicrotask(() => cell.focus());
    });
    byId('out').querySelectorAll('tr').forEach(line => line.setAttribute('role', 'row'));
    showSum(map, top - zeros, left - zeros, out.values[row * out.width + column]);
  }

  function showSum(map, top, left, result) {
    const line = document.createElement('p'), place = document.createElement('b'), total = document.createElement('b');
    place.textContent = `Row ${state.at[0] + 1}, column ${state.at[1] + 1}: `;
    total.textContent = format(result);
    line.append(place, state.divisor === 1 ? '' : '(');
    state.weights.forEach((weight, k) => {
      const y = top + Math.floor(k / 3), x = left + k % 3;
      const pixel = y >= 0 && x >= 0 && y < map.height && x < map.width ? map.values[y * map.width + x] : 0;
      const term = document.createElement('span');
      term.className = 'term';
      term.textContent = `${pixel}·${factor(weight)}`;
      line.append(k ? ' + ' : '', term);
    });
    line.append(state.divisor === 1 ? ' = ' : `) / ${factor(state.divisor)} = `, total);
    byId('arithmetic').replaceChildren(line);
  }

  function showPicture() {
    const out = convolve(image, state.kernel, state.stride, state.same), canvas = byId('result');
    const signed = Math.abs(state.kernel.reduce((sum, value) => sum + value, 0)) < 1e-6;
    draw(canvas, out, signed ? 'signed' : 'pixels');
    canvas.style.width = `${100 * out.width / image.width}%`;
    let low = Infinity, high = -Infinity;
    for (const value of out.values) { low = Math.min(low, value); high = Math.max(high, value); }
    byId('facts').textContent = `Its feature map, ${out.height} × ${out.width}, from ${format(low)} to ${format(high)}. ` +
      (signed ? 'The weights add up to 0: mid-grey is 0, white positive, black negative.' : '0 is black, 255 white, what lies outside is cut.');
    canvas.setAttribute('aria-label', byId('facts').textContent);
  }

  function choose(row, column, focus) {
    state.at = [Math.max(row, 0), Math.max(column, 0)];
    showNumbers();
    if (focus) byId('out').querySelector('.chosen').focus();
  }

  function changed() {
    if (!readKernel()) return;
    const known = Object.entries(data.kernels).find(([, kernel]) =>
      kernel.divisor === state.divisor && kernel.weights.every((weight, k) => weight === state.weights[k]));
    preset.value = known ? known[0] : 'own';
    showNumbers();
    showPicture();
  }

  function usePreset(key) {
    const kernel = data.kernels[key];
    if (!kernel) return;
    kernel.weights.forEach((weight, k) => { weights[k].value = weight; });
    divisor.value = kernel.divisor;
    changed();
  }

  byId('out').setAttribute('role', 'grid');
  byId('out').addEventListener('keydown', event => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    choose(state.at[0] + step[0], state.at[1] + step[1], true);
  });
  [...weights, divisor].forEach(input => input.addEventListener('input', changed));
  preset.addEventListener('change', () => usePreset(preset.value));
  byId('stride-by').addEventListener('change', event => { state.stride = Number(event.target.value); changed(); });
  byId('padding').addEventListener('change', event => { state.same = event.target.value === 'same'; changed(); });
  document.querySelectorAll('.try').forEach(button => button.addEventListener('click', () => {
    usePreset(button.dataset.kernel);
    byId('slide').scrollIntoView();
    preset.focus({ preventScroll: true });
  }));

  // ---- where the numbers come from

  const view = byId('image'), marker = view.querySelector('.marker');
  view.tabIndex = 0;
  view.setAttribute('role', 'application');
  view.setAttribute('aria-label', 'The image. Arrow keys move the square whose pixels are shown as numbers.');
  function movePatch(row, column) {
    state.patch = [clamp(row, 0, image.height - data.patchSide), clamp(column, 0, image.width - data.patchSide)];
    marker.style.top = `${100 * state.patch[0] / image.height}%`;
    marker.style.left = `${100 * state.patch[1] / image.width}%`;
    showNumbers();
  }
  view.addEventListener('keydown', event => {
    const step = ARROWS[event.key];
    if (!step) return;
    event.preventDefault();
    movePatch(state.patch[0] + step[0], state.patch[1] + step[1]);
  });
  view.addEventListener('click', event => {
    const box = view.getBoundingClientRect(), half = data.patchSide / 2;
    movePatch(Math.round((event.clientY - box.top) / box.height * image.height - half),
      Math.round((event.clientX - box.left) / box.width * image.width - half));
  });

  // ---- activation functions

  // Abramowitz & Stegun 7.1.26: right to 1.5e-7
  function errorFunction(x) {
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const tail = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
    return Math.sign(x) * (1 - tail * Math.exp(-x * x));
  }
  const FUNCTIONS = {
    sigmoid: x => 1 / (1 + Math.exp(-x)),
    tanh: Math.tanh,
    relu: x => Math.max(0, x),
    leaky_relu: x => x >= 0 ? x : 0.01 * x,
    elu: x => x >= 0 ? x : Math.expm1(x),
    maxout: x => Math.max(...data.pieces.map(([slope, offset]) => slope * x + offset)),
    gelu: x => x * (1 + errorFunction(x / Math.SQRT2)) / 2,
  };
  byId('x').addEventListener('input', event => {
    const x = Number(event.target.value);
    byId('x-shown').textContent = format(x);
    document.querySelectorAll('.x-again').forEach(place => { place.textContent = format(x); });
    document.querySelectorAll('.dot').forEach(dot => {
      const value = FUNCTIONS[dot.dataset.kind](x);
      dot.setAttribute('cx', x);
      dot.setAttribute('cy', -value);
      document.querySelector(`[data-value="${dot.dataset.kind}"]`).textContent = format(value, 3);
    });
  });

  // ---- pooling

  const poolInputs = [...document.querySelectorAll('#pool-lab input')];
  const KINDS = ['max', 'average', 'sum'];
  poolInputs.forEach(input => input.addEventListener('input', () => {
    const values = poolInputs.map(one => numberIn(one));
    if (values.includes(null)) return;
    KINDS.forEach(kind => {
      const out = pool({ values, width: 4, height: 4 }, kind, 2);
      byId(`pooled-${kind}`).querySelectorAll('td').forEach((cell, k) => { cell.textContent = format(out.values[k]); });
    });
  }));
  function showPools() {
    const size = Number(byId('pool-size').value);
    KINDS.forEach(kind => draw(byId(`pool-canvas-${kind}`), pool(image, kind, size), kind === 'sum' ? 'positive' : 'pixels'));
  }
  byId('pool-size').addEventListener('change', showPools);

  // ---- softmax

  const logits = [...document.querySelectorAll('.logit')];
  logits.forEach(input => input.addEventListener('input', () => {
    const odds = logits.map(one => Math.exp(Number(one.value))), total = odds.reduce((sum, value) => sum + value, 0);
    odds.forEach((value, k) => {
      byId(`z-${k}`).textContent = format(Number(logits[k].value));
      byId(`odds-${k}`).textContent = format(value);
      byId(`p-${k}`).textContent = format(value / total, 3);
      byId(`bar-${k}`).style.width = `${100 * value / total}%`;
    });
  }));

  // ---- dropout

  const { values: activations, draws } = data.dropout;
  let number = 0;
  function drop() {
    const rate = Number(byId('rate').value), cells = byId('neurons').children;
    let gone = 0;
    activations.forEach((value, k) => {
      const vanishes = draws[number][k] < rate;
      gone += vanishes;
      cells[k].classList.toggle('gone', vanishes);
      cells[k].querySelector('b').textContent = format(vanishes ? 0 : value / (1 - rate));
    });
    byId('rate-shown').textContent = format(rate);
    byId('draw-shown').textContent = number + 1;
    byId('dropped').textContent = `${gone} of ${activations.length} vanish, the others are multiplied by ${format(1 / (1 - rate))}.`;
  }
  byId('rate').addEventListener('input', drop);
  byId('draw').addEventListener('click', () => { number = (number + 1) % draws.length; drop(); });

  changed();
  showPools();
})();
