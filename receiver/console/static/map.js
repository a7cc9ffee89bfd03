// The map of the locations: it moves and zooms the drawn world, and puts near locations together.
"use strict";

const WORLD = 40000; // the width of world.svg, as .ci/world_map.py draws it
const SVG = "http://www.w3.org/2000/svg";
const NEAR_PX = 44; // locations that are nearer to each other are one marker
const MAX_SCALE = 12; // pixels for each unit, which is about a kilometre
const SIGNS = { available: "✓", in_use: "▶", faulted: "!", unavailable: "!", offline: "×", unknown: "?" };
const FILLS = {
  available: "fill-available", charging: "fill-charging", faulted: "fill-broken", unavailable: "fill-away",
  offline: "fill-away", unknown: "fill-none",
}; // every other state is one of use

function project([longitude, latitude]) {
  const y = Math.asinh(Math.tan(latitude * Math.PI / 180)) / Math.PI;
  return [(longitude + 180) / 360 * WORLD, (1 - y) / 2 * WORLD];
}

function element(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

class WorldMap {
  constructor(svg) {
    this.svg = svg;
    this.world = svg.querySelector("[data-world]");
    this.markers = svg.querySelector("[data-markers]");
    this.locations = JSON.parse(svg.dataset.locations).map((each) => ({ ...each, point: project(each.at) }));
    this.showAll();
  }

  get size() { return [this.svg.clientWidth, this.svg.clientHeight]; }

  // Show these points, and at least so many units of the world around them.
  show(points, least = 80) {
    const [width, height] = this.size;
    const xs = points.map(([x]) => x);
    const ys = points.map(([, y]) => y);
    const [left, right, top, bottom] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
    this.scale = this.limited(0.8 * Math.min(width / Math.max(right - left, least), height / Math.max(bottom - top, least)));
    this.center = [(left + right) / 2, (top + bottom) / 2];
    this.draw();
  }

  showAll() {
    const points = this.locations.map((each) => each.point);
    this.show(points.length ? points : [project([-12, 35]), project([32, 71])], 900);
  }

  limited(scale) { return Math.min(Math.max(scale, this.size[0] / WORLD), MAX_SCALE); }

  zoom(factor, [x, y] = this.size.map((length) => length / 2)) {
    const [width, height] = this.size;
    const scale = this.limited(this.scale * factor);
    const shift = 1 / this.scale - 1 / scale; // what is under the pointer stays there
    this.center = [this.center[0] + (x - width / 2) * shift, this.center[1] + (y - height / 2) * shift];
    this.scale = scale;
    this.draw();
  }

  move(dx, dy) {
    this.center = [this.center[0] - dx / this.scale, this.center[1] - dy / this.scale];
    this.draw();
  }

  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => { this.isDue = false; this.drawNow(); });
  }

  drawNow() {
    const [width, height] = this.size;
    this.center = this.center.map((value) => Math.min(Math.max(value, 0), WORLD));
    const [left, top] = [width / 2 - this.center[0] * this.scale, height / 2 - this.center[1] * this.scale];
    this.world.setAttribute("transform", `translate(${left} ${top}) scale(${this.scale})`);
    const focused = this.markers.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const visible = this.clusters().filter(({ x, y }) => x + left > -40 && x + left < width + 40 && y + top > -40 && y + top < height + 40);
    this.markers.replaceChildren(...visible.map((cluster) => this.marker(cluster, cluster.x + left, cluster.y + top)));
    if (focused) this.markers.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
  }

  // Each location joins the first marker that is near, so that a marker stays where it is while the map moves.
  clusters() {
    if (this.clusteredAt === this.scale) return this.clustered;
    const cells = new Map();
    const found = [];
    for (const location of this.locations) {
      const [x, y] = location.point.map((value) => value * this.scale);
      const [column, row] = [Math.floor(x / NEAR_PX), Math.floor(y / NEAR_PX)];
      let near = null;
      for (let dx = -1; dx <= 1; dx++) {
        for (let dy = -1; dy <= 1; dy++) {
          for (const each of cells.get(`${column + dx} ${row + dy}`) ?? []) {
            if (Math.hypot(each.x - x, each.y - y) < NEAR_PX) near ??= each;
          }
        }
      }
      if (near) { near.locations.push(location); continue; }
      const cluster = { x, y, locations: [location] };
      found.push(cluster);
      const cell = `${column} ${row}`;
      cells.set(cell, [...(cells.get(cell) ?? []), cluster]);
    }
    [this.clusteredAt, this.clustered] = [this.scale, found];
    return found;
  }

  marker({ locations }, x, y) {
    const states = {};
    for (const location of locations) {
      for (const [state, count] of Object.entries(location.states)) states[state] = (states[state] ?? 0) + count;
    }
    const words = Object.entries(states).map(([state, count]) => `${count} ${state}`).join(", ") || "no EVSE is known";
    const [first] = locations;
    const isOne = locations.length === 1;
    const radius = isOne ? 13 : 16 + Math.min(Math.log2(locations.length), 6);
    const name = isOne ? first.name : `${locations.length} locations`;
    const link = element(
      "a",
      { transform: `translate(${x} ${y})`, "data-key": `${first.href} ${locations.length}`, "aria-label": `${name}: ${words}`, class: "marker" },
      element("title", {}, `${name}: ${words}`),
      element("circle", { r: radius, class: "marker-ring" }),
      ...ring(states, radius),
      element("circle", { r: radius - 5, class: "marker-center" }),
      element("text", { "text-anchor": "middle", dy: "0.35em" }, isOne ? SIGNS[first.state] : String(locations.length)),
    );
    if (isOne) {
      link.setAttribute("href", first.href);
    } else if (this.scale < MAX_SCALE) {
      link.setAttribute("role", "button");
      link.setAttribute("tabindex", "0");
      const open = () => this.show(locations.map((each) => each.point));
      link.addEventListener("click", open);
      link.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
    } else {
      link.setAttribute("href", "#list-title"); // they are at one place
    }
    return link;
  }
}

function ring(states, radius) {
  const total = Object.values(states).reduce((sum, count) => sum + count, 0);
  let begin = 0;
  return Object.entries(states).map(([state, count]) => {
    const fill = FILLS[state] ?? "fill-busy";
    const end = begin + count / total;
    const point = (turn) => [Math.sin(turn * 2 * Math.PI) * radius, -Math.cos(turn * 2 * Math.PI) * radius].map((value) => value.toFixed(2)).join(" ");
    const path = count === total
      ? element("circle", { r: radius, class: fill })
      : element("path", { class: fill, d: `M0 0L${point(begin)}A${radius} ${radius} 0 ${count / total > 0.5 ? 1 : 0} 1 ${point(end)}Z` });
    begin = end;
    return path;
  });
}

const KEYS = {
  ArrowLeft: (map) => map.move(80, 0), ArrowRight: (map) => map.move(-80, 0),
  ArrowUp: (map) => map.move(0, 80), ArrowDown: (map) => map.move(0, -80),
  "+": (map) => map.zoom(1.5), "=": (map) => map.zoom(1.5), "-": (map) => map.zoom(1 / 1.5), 0: (map) => map.showAll(),
};

function control(map) {
  const { svg } = map;
  const pointers = new Map();
  let moved = 0;
  const place = (event) => { const box = svg.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const spread = () => { const [[ax, ay], [bx, by]] = pointers.values(); return Math.hypot(ax - bx, ay - by); };

  svg.addEventListener("wheel", (event) => {
    event.preventDefault();
    map.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), place(event));
  }, { passive: false });
  svg.addEventListener("pointerdown", (event) => { if (!pointers.size) moved = 0; pointers.set(event.pointerId, place(event)); });
  addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = place(event);
    const distance = pointers.size === 2 ? spread() : 0;
    pointers.set(event.pointerId, now);
    moved += Math.hypot(now[0] - before[0], now[1] - before[1]);
    if (pointers.size === 2) map.zoom(spread() / Math.max(distance, 1), now);
    else map.move(now[0] - before[0], now[1] - before[1]);
  });
  for (const name of ["pointerup", "pointercancel"]) addEventListener(name, (event) => pointers.delete(event.pointerId));
  // The end of a drag is no click on what lies there.
  svg.addEventListener("click", (event) => { if (moved > 5) { event.preventDefault(); event.stopPropagation(); } }, true);
  svg.addEventListener("dragstart", (event) => event.preventDefault());
  svg.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    event.preventDefault();
    KEYS[event.key](map);
  });
  const buttons = { in: () => map.zoom(2), out: () => map.zoom(0.5), all: () => map.showAll() };
  for (const button of document.querySelectorAll("[data-zoom]")) button.addEventListener("click", buttons[button.dataset.zoom]);
  addEventListener("resize", () => map.draw());
}

document.addEventListener("DOMContentLoaded", () => {
  for (const svg of document.querySelectorAll("svg[data-locations]")) control(new WorldMap(svg));
});
