import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { choosePageSize } from '#host';

interface Case {
  readonly pgsize_bitmap: string;
  readonly iova: string;
  readonly pa: string;
  readonly size: string;
  readonly pgsize: string;
  readonly count: number;
}

const { cases } = JSON.parse(gunzipSync(readFileSync('test/fixtures/vectors/iommu-pgsize.json.gz')).toString()) as {
  cases: readonly Case[];
};

test('picks the page size and count that the Linux core picks, in all 540 recorded cases', () => {
  expect(cases).toHaveLength(540);
  for (const { pgsize_bitmap, iova, pa, size, pgsize, count } of cases) {
    const number = (text: string): number => Number.parseInt(text, 16);
    const choice = choosePageSize(number(pgsize_bitmap), number(iova), number(pa), number(size));
    expect(choice, `bitmap ${pgsize_bitmap} iova ${iova} pa ${pa} size ${size}`).toEqual({
      pgsize: number(pgsize),
      count,
    });
  }
});

test('refuses a size below the smallest page', () => {
  expect(() => choosePageSize(0x40201000, 0, 0, 0x800)).toThrow(/no page size of bitmap 0x40201000 fits/);
});
