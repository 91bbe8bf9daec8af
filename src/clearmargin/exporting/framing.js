"use strict";
// From the pixels of a picture to the square a network takes, in the whole numbers that Pillow computes with.

const REDUCING_GAP = 3, FIXED_POINT = 2 ** 22, LEAST_PX = 8, MOST_FRAMES = 4, UNIFORM = 12, ENDS = [0.01, 0.99];

// Halves go to the even number, as in Python.
function rounded(value) {
  const floor = Math.floor(value), rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 ? floor + 1 : floor;
}

// One picture: {width, height, bands, levels}, levels from row to row with the bands of a pixel side by side.
function grey(picture) {
  if (picture.bands === 1) return picture;
  const levels = new Uint8ClampedArray(picture.width * picture.height);
  for (let k = 0, at = 0; k < levels.length; k++, at += 3) {
    levels[k] = (picture.levels[at] * 19595 + picture.levels[at + 1] * 38470 + picture.levels[at + 2] * 7471 + 32768) >> 16;
  }
  return { width: picture.width, height: picture.height, bands: 1, levels };
}

function cropped(picture, left, top, right, bottom) {
  const width = right - left, height = bottom - top, bands = picture.bands;
  const levels = new Uint8ClampedArray(width * height * bands);
  for (let y = 0; y < height; y++) {
    const from = ((top + y) * picture.width + left) * bands;
    levels.set(picture.levels.subarray(from, from + width * bands), y * width * bands);
  }
  return { width, height, bands, levels };
}

// Blank lines at the left, top, right and bottom of a grey picture.
function margins(picture) {
  const { width, height, levels } = picture;
  const blank = (count, level) => (line) => {
    let low = 255, high = 0;
    for (let k = 0; k < count; k++) { const value = level(line, k); if (value < low) low = value; if (value > high) high = value; }
    return high - low <= UNIFORM;
  };
  const column = blank(height, (x, y) => levels[y * width + x]), row = blank(width, (y, x) => levels[y * width + x]);
  const leading = (count, test) => { let k = 0; while (k < count && test(k)) k++; return k; };
  return [leading(width, column), leading(height, row),
          leading(width, (k) => column(width - 1 - k)), leading(height, (k) => row(height - 1 - k))];
}

function content(picture) {
  let [left, top, right, bottom] = [0, 0, picture.width, picture.height];
  for (let pass = 0; pass < MOST_FRAMES; pass++) {
    const cut = margins(cropped(picture, left, top, right, bottom));
    if (right - left - cut[0] - cut[2] < LEAST_PX || bottom - top - cut[1] - cut[3] < LEAST_PX) break;
    if (!cut.some((lines) => lines > 0)) break;
    left += cut[0]; top += cut[1]; right -= cut[2]; bottom -= cut[3];
  }
  return [left, top, right, bottom];
}

function stretched(picture, inner) {
  const counts = new Array(256).fill(0), size = inner.levels.length;
  for (const level of inner.levels) counts[level]++;
  const place = (share) => { let sum = 0, k = 0; for (; k < 256; k++) { sum += counts[k]; if (sum / size >= share) break; } return k; };
  const [low, high] = ENDS.map(place);
  if (high <= low) return picture;
  const table = counts.map((_, k) => Math.min(255, Math.max(0, rounded(((k - low) * 255) / (high - low)))));
  return { ...picture, levels: picture.levels.map((level) => table[level]) };
}

// Means over blocks of fx by fy pixels; those at the edge may be smaller.
function reduced(picture, fx, fy) {
  const { width, height, bands, levels } = picture;
  const across = Math.ceil(width / fx), down = Math.ceil(height / fy), made = new Uint8ClampedArray(across * down * bands);
  for (let y = 0; y < down; y++) for (let x = 0; x < across; x++) {
    const bottom = Math.min(height, (y + 1) * fy), right = Math.min(width, (x + 1) * fx);
    const count = (bottom - y * fy) * (right - x * fx), half = Math.floor(count / 2);
    const multiplier = Math.floor(Math.fround(2 ** 32 / Math.fround(256 * count)));
    for (let band = 0; band < bands; band++) {
      let sum = half;
      for (let v = y * fy; v < bottom; v++) for (let u = x * fx; u < right; u++) sum += levels[(v * width + u) * bands + band];
      made[(y * across + x) * bands + band] = Math.floor((sum * multiplier) / 2 ** 24);
    }
  }
  return { width: across, height: down, bands, levels: made };
}

// For each new place: where its weights begin, and the weights of the triangle filter in fixed point.
function weights(length, extent, made) {
  const scale = Math.fround(extent) / made, support = Math.max(scale, 1);
  return Array.from({ length: made }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5)), end = Math.min(length, Math.trunc(centre + support + 0.5));
    const shares = [];
    for (let k = first; k < end; k++) shares.push(Math.max(0, 1 - Math.abs((k - centre + 0.5) * (1 / support))));
    const sum = shares.reduce((one, other) => one + other, 0);
    return { first, shares: shares.map((share) => Math.trunc(0.5 + (share / sum) * FIXED_POINT)) };
  });
}

function acrossRows(picture, table) {
  const { width, height, bands, levels } = picture, made = new Uint8ClampedArray(table.length * height * bands);
  for (let y = 0; y < height; y++) table.forEach(({ first, shares }, x) => {
    for (let band = 0; band < bands; band++) {
      let sum = FIXED_POINT / 2;
      for (let k = 0; k < shares.length; k++) sum += levels[(y * width + first + k) * bands + band] * shares[k];
      made[(y * table.length + x) * bands + band] = Math.floor(sum / FIXED_POINT);
    }
  });
  return { width: table.length, height, bands, levels: made };
}

function downColumns(picture, table) {
  const { width, bands, levels } = picture, line = width * bands, made = new Uint8ClampedArray(line * table.length);
  table.forEach(({ first, shares }, y) => {
    for (let at = 0; at < line; at++) {
      let sum = FIXED_POINT / 2;
      for (let k = 0; k < shares.length; k++) sum += levels[(first + k) * line + at] * shares[k];
      made[y * line + at] = Math.floor(sum / FIXED_POINT);
    }
  });
  return { width, height: table.length, bands, levels: made };
}

function resized(picture, width, height) {
  if (picture.width === width && picture.height === height) return picture;
  const factor = (length, made) => Math.trunc(length / made / REDUCING_GAP) || 1;
  const fx = factor(picture.width, width), fy = factor(picture.height, height);
  const small = fx > 1 || fy > 1 ? reduced(picture, fx, fy) : picture;
  const across = (one) => (one.width === width && fx === 1 ? one : acrossRows(one, weights(small.width, picture.width / fx, width)));
  const down = (one) => (one.height === height && fy === 1 ? one : downColumns(one, weights(small.height, picture.height / fy, height)));
  const lost = small.height - height;
  return lost > 0 && lost > 2 * (small.width - width) ? across(down(small)) : down(across(small));
}

function square(picture, side, fit) {
  const { width, height, bands } = picture;
  if (fit === "stretch") return resized(picture, side, side);
  if (fit === "crop") {
    const edge = Math.min(width, height), left = Math.floor((width - edge) / 2), top = Math.floor((height - edge) / 2);
    return resized(cropped(picture, left, top, left + edge, top + edge), side, side);
  }
  const longest = Math.max(width, height), inner = (length) => Math.max(1, rounded((length * side) / longest));
  const small = resized(picture, inner(width), inner(height));
  const left = Math.floor((side - small.width) / 2), top = Math.floor((side - small.height) / 2);
  const levels = new Uint8ClampedArray(side * side * bands);
  for (let y = 0; y < small.height; y++) {
    levels.set(small.levels.subarray(y * small.width * bands, (y + 1) * small.width * bands), ((top + y) * side + left) * bands);
  }
  return { width: side, height: side, bands, levels };
}

// A picture in red, green and blue as the network takes it: levels of a square.
function framed(picture, how) {
  const plain = grey(picture);
  let image = how.color === "gray" ? plain : picture;
  if (how.trim || how.intensity === "standardised") {
    const box = content(plain);
    if (how.intensity === "standardised") image = stretched(image, cropped(plain, ...box));
    if (how.trim) image = cropped(image, ...box);
  }
  return square(image, how.size_px, how.fit);
}

// float32 (channels, height, width), each channel (level / 255 - mean) / std.
function normalised(picture, how) {
  const size = picture.width * picture.height, bands = picture.bands, inputs = new Float32Array(size * bands);
  for (let band = 0; band < bands; band++) {
    const scale = Math.fround(1 / (255 * how.std[band])), shift = Math.fround(how.mean[band] / how.std[band]);
    for (let k = 0; k < size; k++) inputs[band * size + k] = Math.fround(picture.levels[k * bands + band] * scale) - shift;
  }
  return inputs;
}
