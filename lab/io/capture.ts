/**
 * Takes a running QEMU guest's SMMU and memory out over QMP: stops it, reads the SMMU's registers, has QEMU save each
 * range of RAM, and puts it all in a folder that `audit` reads. The folder appears when it is complete, or not at all.
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { InputError } from '../input-error.ts';
import { CAPTURE_FORMAT, type CaptureManifest, MANIFEST, REGISTERS } from './capture-format.ts';
import { Qmp, QmpRefusal } from './qemu-qmp.ts';

/** Where QEMU's `virt` board has its SMMU. */
export const VIRT_SMMU = 0x09050000;

/** Offsets of the registers that are kept; those of 64 bits apart. */
const WORDS: Readonly<Record<string, number>> = {
  IDR0: 0x0,
  IDR1: 0x4,
  IDR2: 0x8,
  IDR3: 0xc,
  IDR4: 0x10,
  IDR5: 0x14,
  IIDR: 0x18,
  AIDR: 0x1c,
  CR0: 0x20,
  CR0ACK: 0x24,
  CR1: 0x28,
  CR2: 0x2c,
  GBPA: 0x44,
  IRQ_CTRL: 0x50,
  GERROR: 0x60,
  GERRORN: 0x64,
  STRTAB_BASE_CFG: 0x88,
  CMDQ_PROD: 0x98,
  CMDQ_CONS: 0x9c,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
};
const DOUBLE_WORDS: Readonly<Record<string, number>> = { STRTAB_BASE: 0x80, CMDQ_BASE: 0x90, EVENTQ_BASE: 0xa0 };

/** What to capture, and where to put it. */
export interface CaptureOptions {
  readonly socket: string;
  readonly smmu: number;
  readonly folder: string;
  /** Let the guest go on afterwards. */
  readonly resume: boolean;
}

/** A range of RAM as QEMU lays it out. */
interface RamRange {
  readonly base: number;
  readonly size: number;
  readonly name: string;
}

/** What was captured. */
export interface Captured {
  readonly qemu: string;
  readonly ram: readonly RamRange[];
  readonly enabled: boolean;
  /** Does the guest run now? */
  readonly running: boolean;
}

/** Captures. @throws InputError; the guest then runs on if it ran before */
export async function capture({ socket, smmu, folder, resume }: CaptureOptions): Promise<Captured> {
  const target = resolve(folder);
  if (existsSync(target) && !(statSync(target).isDirectory() && readdirSync(target).length === 0)) {
    throw new InputError({
      file: folder,
      expected: 'a folder that does not exist yet, or is empty',
      got: 'another one',
    });
  }
  const qmp = await Qmp.connect(socket);
  const temporary = join(dirname(target), `.${basename(target)}.${process.pid}.partial`);
  let wasRunning = false;
  let done = false;
  try {
    wasRunning = ((await qmp.execute('query-status')) as { running: boolean }).running;
    await qmp.execute('stop');
    const registers = await readRegisters(qmp, smmu);
    const ram = ramRanges(await qmp.human('info mtree -f'));
    if (ram.length === 0)
      throw new InputError({ file: socket, expected: 'RAM in the answer to info mtree -f', got: 'none' });
    mkdirSync(temporary, { recursive: true });
    for (const range of ram) await save(qmp, range, join(temporary, imageName(range)));
    writeFileSync(join(temporary, REGISTERS), `${JSON.stringify(registers, null, 1)}\n`);
    const manifest: CaptureManifest = {
      format: CAPTURE_FORMAT,
      qemu: qmp.version,
      smmu: hex(smmu),
      registers: REGISTERS,
      ram: ram.map((range) => ({ base: hex(range.base), size: range.size, file: imageName(range) })),
    };
    writeFileSync(join(temporary, MANIFEST), `${JSON.stringify(manifest, null, 1)}\n`);
    if (existsSync(target)) rmdirSync(target);
    renameSync(temporary, target);
    done = true;
    if (resume) await qmp.execute('cont');
    const enabled = (Number(registers.CR0) & 1) !== 0;
    return { qemu: qmp.version, ram, enabled, running: resume };
  } catch (error) {
    if (error instanceof QmpRefusal)
      throw new InputError({ file: socket, expected: 'an obliging QEMU', got: error.message });
    throw error;
  } finally {
    if (!done) {
      rmSync(temporary, { recursive: true, force: true });
      // As it was found.
      if (wasRunning) await qmp.execute('cont').catch(() => {});
    }
    qmp.close();
  }
}

async function readRegisters(qmp: Qmp, smmu: number): Promise<Record<string, string>> {
  const registers: Record<string, string> = {};
  const read = async (name: string, offset: number, format: string): Promise<void> => {
    const answer = await qmp.human(`xp /1${format}x 0x${(smmu + offset).toString(16)}`);
    const value = /:\s*(0x[0-9a-f]+)\s*$/i.exec(answer.trim())?.[1];
    if (value === undefined) {
      const got = answer.trim().split('\n')[0] ?? '';
      throw new InputError({ file: hex(smmu), field: name, expected: 'a register of an SMMU there (--smmu)', got });
    }
    registers[name] = value;
  };
  for (const [name, offset] of Object.entries(WORDS)) await read(name, offset, 'w');
  const oas = Number(registers.IDR5) & 7;
  const architecture = Number(registers.AIDR) & 0xff;
  if ((Number(registers.IDR0) & 3) === 0 || architecture > 0x0f || oas > 6) {
    const got = `IDR0 ${registers.IDR0}, AIDR ${registers.AIDR}`;
    throw new InputError({ file: hex(smmu), expected: 'an SMMUv3 at this address (--smmu, or iommu=smmuv3)', got });
  }
  for (const [name, offset] of Object.entries(DOUBLE_WORDS)) await read(name, offset, 'g');
  return registers;
}

/** The RAM of the system's address space, from `info mtree -f`. Pages at either end that are not whole are left out. */
export function ramRanges(text: string): RamRange[] {
  const view = text.split(/^FlatView #\d+$/m).find((part) => /^ AS "memory",/m.test(part)) ?? '';
  const ranges: RamRange[] = [];
  for (const [, from, to, name] of view.matchAll(/^\s*([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, ram\): (\S+)/gm)) {
    const base = Math.ceil(Number.parseInt(from!, 16) / 4096) * 4096;
    const end = Math.floor((Number.parseInt(to!, 16) + 1) / 4096) * 4096;
    const last = ranges.at(-1);
    if (end <= base) continue;
    if (last !== undefined && last.base + last.size === base)
      ranges[ranges.length - 1] = { ...last, size: end - last.base };
    else ranges.push({ base, size: end - base, name: name! });
  }
  return ranges;
}

async function save(qmp: Qmp, { base, size, name }: RamRange, filename: string): Promise<void> {
  await qmp.execute('pmemsave', { val: base, size, filename });
  const saved = statSync(filename, { throwIfNoEntry: false })?.size;
  if (saved === size) return;
  const expected = `${size} bytes of ${name}: QEMU must see this file system, and it must have room`;
  throw new InputError({ file: filename, expected, got: saved === undefined ? 'no file' : `${saved} bytes` });
}

function imageName({ base }: RamRange): string {
  return `ram-${base.toString(16)}.bin`;
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
