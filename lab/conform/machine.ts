/** A machine like the one that a fixture was captured on: its RAM, and an SMMU with the features its ID registers tell. */
import { createMachine, ID_REGISTER_NAMES, identify, type Machine, qemuVirt, registers } from '#machine';
import type { Fixture } from '../fixture/fixture.ts';
import { InputError } from '../input-error.ts';
import { COMMAND_BYTES } from '../oracle/decode/command.ts';
import type { Tally } from './tally.ts';

const { Register } = registers;

/** RAM that the captured machine did not have, for tables of our own: 16 MiB above the captured RAM. */
export const EXTRA_RAM = 2 ** 24;

/** A page of the model has 1,024 words. */
const WORDS = 1024;

/** Where {@link EXTRA_RAM} begins. */
export function extraRam(fixture: Fixture): number {
  return fixture.ramBase + fixture.ramSize;
}

/** The machine, with nothing in its memory and its SMMU as after reset. */
export function machineLike(fixture: Fixture): Machine {
  const { features } = identify(ID_REGISTER_NAMES.map((name) => fixture.registers.get(name)?.lo ?? 0));
  const { name, base } = qemuVirt.smmus[0]!;
  const ram = [{ base: fixture.ramBase, size: fixture.ramSize + EXTRA_RAM }];
  return createMachine({ ...qemuVirt, name: fixture.run, ram, smmus: [{ ...features, name, base }], devices: [] });
}

/** Puts pages of the fixture into memory: those that `wanted` names. */
export function loadPages(machine: Machine, fixture: Fixture, wanted: (kind: string) => boolean = () => true): void {
  for (const [pa, { kind, words }] of fixture.pages) {
    if (!wanted(kind)) continue;
    for (let i = 0; i < WORDS; i += 2) {
      if ((words[i]! | words[i + 1]!) !== 0) machine.memory.write64(pa + 4 * i, words[i + 1]!, words[i]!);
    }
  }
}

/** Sets the registers as the driver left them and turns the SMMU on. Both queues are empty, their indexes 0. */
export function loadRegisters(machine: Machine, fixture: Fixture): void {
  const smmu = machine.smmus[0]!;
  const word = (name: string): { hi: number; lo: number } => fixture.registers.get(name) ?? { hi: 0, lo: 0 };
  smmu.write32(Register.CR1, word('CR1').lo);
  smmu.write32(Register.CR2, word('CR2').lo);
  for (const name of ['STRTAB_BASE', 'CMDQ_BASE', 'EVENTQ_BASE'] as const) {
    smmu.write64(Register[name], word(name).hi, word(name).lo);
  }
  smmu.write32(Register.STRTAB_BASE_CFG, word('STRTAB_BASE_CFG').lo);
  smmu.write32(Register.CR0, word('CR0').lo);
}

/** The machine as captured: registers and every page. */
export function restoredMachine(fixture: Fixture): Machine {
  const machine = machineLike(fixture);
  loadPages(machine, fixture);
  loadRegisters(machine, fixture);
  return machine;
}

/** Where a command queue is, and how many commands it has room for. */
export interface QueuePlace {
  readonly base: number;
  readonly log2: number;
}

/**
 * The captured command queue, which must hold a whole history.
 * @throws InputError when it is outside RAM, or too small for so many commands
 */
export function queuePlace(fixture: Fixture, commands: number): QueuePlace {
  const { hi, lo } = fixture.registers.get('CMDQ_BASE') ?? { hi: 0, lo: 0 };
  const log2 = lo & 31;
  const base = (hi & 0xfffff) * 2 ** 32 + ((lo & ~31) >>> 0);
  const { ramBase, ramSize, file } = fixture;
  const fits = base >= ramBase && base + COMMAND_BYTES * 2 ** log2 <= ramBase + ramSize;
  if (fits && commands <= 2 ** log2) return { base, log2 };
  const expected = `a queue in RAM with room for the ${commands} commands since boot`;
  const got = fits ? `one for ${2 ** log2}` : `one at 0x${base.toString(16)} for ${2 ** log2}`;
  throw new InputError({ file, field: 'regs.CMDQ_BASE', expected, got });
}

/** Compares what the ID registers and the control registers read. */
export function checkRegisters(machine: Machine, fixture: Fixture, tally: Tally): void {
  const smmu = machine.smmus[0]!;
  for (const name of [
    'IDR0',
    'IDR1',
    'IDR2',
    'IDR3',
    'IDR5',
    'CR0',
    'CR0ACK',
    'CR1',
    'CR2',
    'STRTAB_BASE_CFG',
  ] as const) {
    const expected = fixture.registers.get(name);
    if (expected === undefined) continue;
    tally.check('registers', name, 'value', hex32(expected.lo), hex32(smmu.read32(Register[name])));
  }
}

function hex32(value: number): string {
  return `0x${(value >>> 0).toString(16).padStart(8, '0')}`;
}
