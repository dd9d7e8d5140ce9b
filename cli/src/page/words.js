"use strict";
// Times, names and reasons, for people.

/** A text without characters that control how it is shown, nor what only looks like nothing. */
function printable(text) {
  return String(text).replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu,
    (character) => `\\u{${character.codePointAt(0).toString(16)}}`,
  );
}

const UNITS = [
  { name: "ns", ns: 1 },
  { name: "µs", ns: 1e3 },
  { name: "ms", ns: 1e6 },
  { name: "s", ns: 1e9 },
];

function unitOf(ns) {
  return UNITS.findLast((unit) => ns >= unit.ns) ?? UNITS[0];
}

/** How long something lasts, with three digits. */
function duration(ns) {
  if (ns >= 3600e9) {
    return `${Math.floor(ns / 3600e9)} h ${Math.floor((ns % 3600e9) / 60e9)} min`;
  }
  if (ns >= 60e9) return `${Math.floor(ns / 60e9)} min ${Math.floor((ns % 60e9) / 1e9)} s`;
  const unit = unitOf(ns);
  const value = ns / unit.ns;
  const digits = unit.ns === 1 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${value.toFixed(digits)} ${unit.name}`;
}

/** A place in the recording, to the nanosecond: "1.204 567 890 s". */
function place(ns) {
  const fraction = String(Math.floor(ns % 1e9)).padStart(9, "0").replace(/(...)(?=.)/g, "$1 ");
  return `${count(Math.floor(ns / 1e9))}.${fraction} s`;
}

/** A place as it is written in a link: "12ms", "1.5 s", or nanoseconds without a unit. */
function parsePlace(text) {
  const parts = /^\s*([\d.]+)\s*(ns|us|µs|ms|s|)\s*$/.exec(text ?? "");
  if (!parts) return NaN;
  const name = parts[2] === "us" ? "µs" : parts[2] || "ns";
  return Number(parts[1]) * UNITS.find((unit) => unit.name === name).ns;
}

/** A number, with its digits in threes. */
function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

function percent(part) {
  const value = 100 * part;
  if (value > 0 && value < 0.1) return "< 0.1%";
  return `${value > 0 && value < 9.95 ? value.toFixed(1) : value.toFixed(0)}%`;
}

function nameOfScheduler(scheduler) {
  const { name, number } = scheduler;
  if (name === "") return `scheduler ${number}`;
  return /^\d+$/.test(name) ? `scheduler ${name}` : name;
}

/** A task with its number, as the other commands of majjen write it. */
function nameOfTask(task) {
  if (task.isLoop) return `the loop of ${nameOfScheduler(task.scheduler)}`;
  return task.name === "" ? `task ${task.slot}` : `task ${task.slot} '${task.name}'`;
}

const PARKED = 255;

/** What a task waits for: the kind is in the low 8 bits, and which one it is above them. */
function reason(aux, scheduler) {
  const which = aux >>> 8;
  if (isJoin(aux, scheduler)) return `the end of task ${which}`;
  const kind = reasonKind(aux, scheduler);
  if (kind === "fd") return `fd ${which}`;
  // Of an address without its low 3 bits, the end as it is written elsewhere.
  const end = ((which * 8) & 0xffffff).toString(16).padStart(6, "0");
  return which === 0 || isParked(aux) ? kind : `${kind} …${end}`;
}

/** The kind alone. */
function reasonKind(aux, scheduler) {
  if (isParked(aux)) return "to be woken up";
  if (isJoin(aux, scheduler)) return "the end of a task";
  return scheduler.kinds[aux & 0xff] || "something";
}

function isParked(aux) {
  return (aux & 0xff) === PARKED;
}

function isJoin(aux, scheduler) {
  return ["task", "join"].includes(scheduler.kinds[aux & 0xff]);
}

/** What is waited for comes from outside, and not from a task. */
function isFromOutside(aux, scheduler) {
  return ["fd", "fds", "signal", "job"].includes(scheduler.kinds[aux & 0xff]);
}
