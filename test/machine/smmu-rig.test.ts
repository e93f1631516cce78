import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { createMachine, type MachineDescription, qemuVirt, registers, type Smmu } from '#machine';

const { Register } = registers;
const folder = new URL('../fixtures/rig/', import.meta.url);

/** Memory and registers of a real kernel on an emulated board, and what its log says is mapped. */
interface Fixture {
  readonly regs: Record<string, string>;
  readonly pages: Record<string, { readonly b64: string }>;
  readonly expected: readonly { sid: number; iova: string; pa: string; size: number; pte: string }[];
  readonly streams: readonly { sid: number }[];
}

function load(name: string): Fixture {
  return JSON.parse(gunzipSync(readFileSync(new URL(name, folder))).toString()) as Fixture;
}

/** A machine whose SMMU has the capture's features, with its memory and registers in place. */
function restore(fixture: Fixture): Smmu {
  const idr0 = Number(fixture.regs.IDR0);
  const smmus = [
    { ...qemuVirt.smmus[0]!, stage1: (idr0 & 2) !== 0, stage2: (idr0 & 1) !== 0, vmid16: (idr0 & 0x40000) !== 0 },
  ];
  const description: MachineDescription = { ...qemuVirt, smmus };
  const machine = createMachine(description);
  const smmu = machine.smmus[0]!;
  for (const name of ['IDR0', 'IDR1', 'IDR2', 'IDR3', 'IDR5'] as const) {
    expect(smmu.read32(Register[name]) >>> 0, name).toBe(Number(fixture.regs[name]));
  }
  for (const [pa, page] of Object.entries(fixture.pages)) {
    machine.memory.writeBytes(Number(pa), Buffer.from(page.b64, 'base64'));
  }
  const base = BigInt(fixture.regs.STRTAB_BASE!);
  smmu.write32(Register.CR2, Number(fixture.regs.CR2));
  smmu.write64(Register.STRTAB_BASE, Number(base >> 32n), Number(base & 0xffffffffn) | 0);
  smmu.write32(Register.STRTAB_BASE_CFG, Number(fixture.regs.STRTAB_BASE_CFG));
  smmu.write32(Register.CR0, Number(fixture.regs.CR0));
  return smmu;
}

const names = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json.gz')) : [];

test('there are captures of real kernels', () => {
  expect(names.length).toBeGreaterThan(0);
});

test.each(names)('%s: every mapping of the kernel translates as its log says', (name) => {
  const fixture = load(name);
  const smmu = restore(fixture);
  for (const { sid, iova, pa, size, pte } of fixture.expected) {
    // A stage-2 page that only allows writes (S2AP 2) is reached by a write.
    const write = (BigInt(pte) & 0x40n) === 0n;
    for (const offset of [0, size - 4]) {
      const { ok, pa: to } = smmu.translate(sid, Number(iova) + offset, write);
      expect(ok && to, `${sid} ${iova}`).toBe(Number(pa) + offset);
    }
    const { descriptors } = smmu.explain(sid, Number(iova), write);
    const last = descriptors.at(-1)!;
    expect((BigInt(last.hi >>> 0) << 32n) | BigInt(last.lo >>> 0)).toBe(BigInt(pte));
  }
  // Nothing is mapped just below the lowest mapping of a stream, nor at page 0.
  for (const { sid } of fixture.streams) {
    if (fixture.expected.some((entry) => entry.sid === sid))
      expect(smmu.translate(sid, 0x1000, false).fault).toBe(0x10);
  }
  expect(smmu.stale()).toEqual([]);
});
