import { writeFileSync } from 'node:fs';
import { test } from 'vitest';
import { collisions } from '#lab/views/metrics';
import { renderSvg } from '#lab/views/svg';
import { walkView } from '#lab/views/walk-view';
import { walkSource } from '#lab/walk/source';
import { walkAccess } from '#lab/walk/walk';
import { rigFixture } from './rig.ts';
test('x', () => {
  const a = (run: string, sid: number, iova: number, w: boolean, out: string) => {
    const s = walkView(walkAccess(walkSource(rigFixture(run)), sid, iova, w));
    console.log(out, collisions(s));
    writeFileSync(`/tmp/${out}.svg`, renderSvg(s));
  };
  a('strict-all', 0x10, 0xffffc123, false, 'w1');
  a('strict-all', 0x10, 0x1000, true, 'w2');
  a('s2-strict', 0x10, 0xffffc123, true, 'w3');
  const n = rigFixture('k612-nested-strict');
  console.log(n.streams);
});
