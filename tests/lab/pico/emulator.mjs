// An emulated RP2040, driven by lines of JSON: time passes only when it is told to, and only inside.
//
//   node emulator.mjs RP2040JS-FOLDER FLASH BOOTROM
//   {"run": MS, "until": TEXT}  let time pass, at most until that text is said; {"send": TEXT} over USB;
//   {"pin": [N, LEVEL]} drive an input; {"reset": true} pull RUN; {"power": true} switch off and on; {"peek": ADDRESS}
//
// Each line is answered by one: {"now": MS, "peek": WORD, "events": [[MS, KIND, ...]...]}, where KIND is
// "pin" N high|low|released, "said" TEXT, "connected", or "reset" watchdog|program|run|power

import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { pathToFileURL } from 'node:url';

const [library, flashFile, bootromFile] = process.argv.slice(2);
const entry = pathToFileURL(path.join(library, 'dist', 'esm', 'index.js'));
const { Simulator, USBCDC, GPIOPinState } = await import(entry);

const CYCLE_NS = 8; // 125 MHz
const FLASH_START = 0x10000000;
const ROSC = 0x40060;
const RANDOM_BIT = 0x1c;
const REASON_TIMER = 1;
const flash = fs.readFileSync(flashFile);
const bootrom = new Uint32Array(JSON.parse(fs.readFileSync(bootromFile, 'utf8')));

const driven = new Map(); // what is wired to the inputs stays there through a reset
let epoch = 0; // nanoseconds lived by the chips before this one
let events = [];
let why = ''; // a reset that is due
let chip;

const now = () => (epoch + chip.clock.nanos) / 1e6;
const level = (state) =>
  state === GPIOPinState.High ? 'high' : state === GPIOPinState.Low ? 'low' : 'released';

// A reset is a new chip, so that everything in it has its reset value, with the same flash and wires.
function start(reason, scratch) {
  const simulator = new Simulator();
  const { rp2040, clock } = simulator;
  rp2040.logger = { debug() {}, info() {}, warn() {}, error(...words) { console.error(...words); } };
  rp2040.loadBootrom(bootrom);
  rp2040.flash.set(flash);
  rp2040.watchdog ??= rp2040.peripherals[0x40058];
  const { watchdog } = rp2040;
  watchdog.reason = reason;
  if (scratch) watchdog.scratchData.set(scratch);
  watchdog.onWatchdogTrigger = () => {
    why = watchdog.reason === REASON_TIMER ? 'watchdog' : 'program';
    watchdog.alarm.enable = false; // or it would come again at once, for ever
  };
  const ring = rp2040.peripherals[ROSC];
  const read = ring.readUint32.bind(ring);
  ring.readUint32 = (offset) => (offset === RANDOM_BIT ? Number(Math.random() < 0.5) : read(offset));
  chip = { rp2040, clock, cdc: new USBCDC(rp2040.usbCtrl), unsent: [] };
  chip.cdc.onSerialData = (data) => events.push([now(), 'said', Buffer.from(data).toString('latin1')]);
  chip.cdc.onDeviceConnected = () => events.push([now(), 'connected']);
  rp2040.gpio.forEach((pin, number) => {
    pin.addListener((state) => events.push([now(), 'pin', number, level(state)]));
    if (driven.has(number)) pin.setInputValue(driven.get(number));
  });
  rp2040.core.PC = FLASH_START;
}

function restart() {
  const { rp2040, clock } = chip;
  events.push([now(), 'reset', why]);
  const before = rp2040.gpio.map((pin) => level(pin.value));
  const watchdog = rp2040.watchdog;
  const kept = why === 'watchdog' || why === 'program';
  epoch += clock.nanos;
  why = '';
  start(kept ? watchdog.reason : 0, kept ? watchdog.scratchData : null);
  chip.rp2040.gpio.forEach((pin, number) => {
    const after = level(pin.value);
    if (after !== before[number]) events.push([now(), 'pin', number, after]);
  });
}

function run(ms, until) {
  const end = now() + ms;
  let said = '';
  let seen = events.length;
  while (now() < end) {
    const { rp2040, clock, cdc, unsent } = chip;
    while (unsent.length && !cdc.txFIFO.full) cdc.sendSerialByte(unsent.shift());
    const stop = Math.min(clock.nanos + 1e6, (end * 1e6) - epoch);
    do { // at least one step, whatever the rounding says
      if (rp2040.core.waiting) {
        const idle = clock.nanosToNextAlarm;
        clock.tick(idle > 0 ? Math.min(idle, stop - clock.nanos + CYCLE_NS) : CYCLE_NS);
      } else {
        clock.tick(rp2040.core.executeInstruction() * CYCLE_NS);
      }
    } while (clock.nanos < stop && !why);
    if (why) restart();
    if (until === undefined) continue;
    for (; seen < events.length; seen++) if (events[seen][1] === 'said') said += events[seen][2];
    const at = said.indexOf(until);
    if (at >= 0 && said.indexOf('\n', at) >= 0) break;
  }
}

start(0, null);
for await (const line of readline.createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if (order.send !== undefined) chip.unsent.push(...Buffer.from(order.send, 'latin1'));
  if (order.pin) {
    const [number, high] = order.pin;
    driven.set(number, high);
    chip.rp2040.gpio[number].setInputValue(high);
  }
  if (order.reset || order.power) {
    why = order.reset ? 'run' : 'power';
    restart();
  }
  if (order.run) run(order.run, order.until);
  const peek = order.peek && chip.rp2040.readUint32(order.peek);
  process.stdout.write(JSON.stringify({ now: now(), peek, events }) + '\n');
  events = [];
}
