import fc from 'fast-check';
import { expect, test } from 'vitest';
import { allocPageTable, iovaToPhys, mapPages, type PageTable, unmapPages } from '#io-pgtable/plain';
import { BigintPageTable } from '../../lab/bench/bigint-reference.ts';
import { operations, STAGE_1 } from './operations.ts';
import { BASE } from './tables.ts';
import { Arena } from './vector-runner.ts';

/** The third table on has a page number of more than 31 bits. */
const AT_31_BITS = 2 ** 43 - 8192;

test('results, tables and every descriptor are those of a reference written with bigints', () => {
  fc.assert(
    fc.property(operations, fc.constantFrom(39, 48), fc.constantFrom(BASE, AT_31_BITS), (calls, ias, base) => {
      const arena = new Arena(base);
      const pt = allocPageTable(arena.ops, { ...STAGE_1, ias }) as PageTable;
      const reference = new BigintPageTable(BigInt(ias), BigInt(base));
      for (const call of calls) {
        const iova = BigInt(call.iova);
        if (call.o === 'map') {
          const got = mapPages(pt, call.iova, call.pa, call.size, call.count, call.prot);
          const [pa, size, count, prot] = [call.pa, call.size, call.count, call.prot].map(BigInt) as [
            bigint,
            ...bigint[],
          ];
          expect([call, BigInt(got)]).toEqual([call, reference.map(iova, pa, size!, count!, prot!)]);
        } else if (call.o === 'unmap') {
          const got = unmapPages(pt, call.iova, call.size, call.count);
          expect([call, BigInt(got)]).toEqual([call, reference.unmap(iova, BigInt(call.size), BigInt(call.count))]);
        } else {
          expect(BigInt(iovaToPhys(pt, call.iova))).toBe(reference.translate(iova));
        }
      }
      expect([...arena.live].sort()).toEqual([...reference.tables.keys()].map(Number).sort());
      for (const [table, entries] of reference.tables) {
        const bytes = new Uint8Array(entries.buffer, 0, 4096);
        expect(Buffer.compare(arena.memory.readBytes(Number(table), 4096), bytes)).toBe(0);
      }
    }),
    { numRuns: 100 },
  );
});
