/**
 * Two accounts of what may still be cached, written apart: the machine's and the oracle's. Wherever the machine says that
 * a device may get to, the oracle must count a way, whenever the hypervisor queues a command.
 */

import { expect, test } from 'vitest';
import { type MachineDescription, registers, streamsOf, tiny } from '#machine';
import { makeRig, PAGE, RandomHost } from './oracle-rig.ts';

const smmu = tiny.smmus[0]!;
const machines: readonly MachineDescription[] = [
  tiny,
  { ...tiny, name: 'without ranges', smmus: [{ ...smmu, rangeInvalidation: false }] },
  { ...tiny, name: 'stage 2 alone', smmus: [{ ...smmu, stage1: false }] },
];

/** How often caches may lead a device elsewhere while a random host is at work; and where the oracle counts no way. */
function compare(machine: MachineDescription, seed: number): { ways: number; missing: string[] } {
  const { session, oracle, machine: real } = makeRig({ machine, full: 'never' });
  const { reach } = oracle['monitor'];
  const { base, size } = machine.ram[0]!;
  const streams = machine.devices.flatMap((device) => streamsOf(device).map(({ sid }) => sid));
  const hardware = real.smmus[0]!;
  let ways = 0;
  const missing: string[] = [];
  const look = (): void => {
    const iovas = hardware
      .stale()
      .filter(({ kind }) => kind === 'leaf' || kind === 'table')
      .flatMap(({ iova, size: bytes }) => [iova, iova + bytes - PAGE]);
    for (const sid of streams) {
      for (const iova of new Set(iovas)) {
        for (const { ok, pa, via } of hardware.possible(sid, iova, false)) {
          if (!ok || pa < base || pa >= base + size) continue;
          if (via !== '') ways++;
          const page = (pa - base - (pa % PAGE)) / PAGE;
          if (reach.isUnreached(page) && reach.identityCount(page) === 0)
            missing.push(`${sid} 0x${iova.toString(16)} ${via}`);
        }
      }
    }
  };
  // A command is in the queue, and no account has it yet: neither the hypervisor's record nor the hardware.
  const bit = real.memory.observe({ wrote: look });
  const queue = hardware.get(registers.Register.CMDQ_BASE) & ~0xfff;
  const bytes = 16 << (hardware.get(registers.Register.CMDQ_BASE) & 31);
  for (let pa = queue; pa < queue + bytes; pa += PAGE) real.memory.watch(pa, bit);
  const host = new RandomHost(session, seed);
  for (let i = 0; i < 300 && missing.length === 0; i++) host.step();
  return { ways, missing };
}

test.each(machines)('wherever caches may lead a device, the oracle counts a way, machine $name', (machine) => {
  const found = [31, 32, 33, 34].map((seed) => compare(machine, seed));
  expect(found.flatMap(({ missing }) => missing)).toEqual([]);
  expect(found.reduce((total, { ways }) => total + ways, 0)).toBeGreaterThan(50);
});
