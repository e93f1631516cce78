import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HostMemory } from '#host';
import { qemuVirt, tiny } from '#machine';

test('chunks are aligned, in host RAM, outside the carve-out, and never overlap', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(tiny, qemuVirt),
      fc.array(fc.integer({ min: 0, max: 6 }), { maxLength: 60 }),
      (machine, orders) => {
        const memory = new HostMemory(machine);
        const taken: { pa: number; end: number }[] = [];
        for (const order of orders) {
          const pa = memory.alloc(order);
          if (pa === 0) continue;
          const bytes = 4096 * 2 ** order;
          expect(pa % bytes).toBe(0);
          expect(machine.ram.some(({ base, size }) => pa >= base && pa + bytes <= base + size)).toBe(true);
          const { base, size } = machine.carveOut;
          expect(pa + bytes <= base || pa >= base + size).toBe(true);
          for (const other of taken) expect(pa + bytes <= other.pa || pa >= other.end).toBe(true);
          taken.push({ pa, end: pa + bytes });
        }
      },
    ),
  );
});

test('memory runs out, and comes back when it is freed', () => {
  const memory = new HostMemory({ ram: [{ base: 0x1000, size: 0x2000 }], carveOut: { base: 0x2000, size: 0x1000 } });
  const pa = memory.alloc();
  expect(pa).toBe(0x1000);
  expect(memory.alloc()).toBe(0);
  memory.free(pa);
  expect(memory.pagesInUse).toBe(0);
  expect(memory.alloc()).toBe(pa);
});
