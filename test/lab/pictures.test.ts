import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { kernelWalkPicture, releaseOrderPicture } from '#lab/demo/pictures';
import { renderSvg } from '#lab/views/svg';
import { rigFixture } from './rig.ts';
import { expectSound } from './views-rig.ts';

const folder = new URL('../../docs/pictures/', import.meta.url);
const pictures = [
  ['walk-linux.svg', () => kernelWalkPicture(rigFixture('strict-all'))],
  ['release-order.svg', releaseOrderPicture],
] as const;

test.each(pictures)(
  'docs/pictures/%s is up to date (UPDATE=1 npx vitest run test/lab/pictures.test.ts)',
  (name, draw) => {
    const scene = draw();
    expectSound(scene);
    const svg = renderSvg(scene);
    if (process.env.UPDATE === '1') {
      mkdirSync(folder, { recursive: true });
      writeFileSync(new URL(name, folder), svg);
    }
    expect(readFileSync(new URL(name, folder), 'utf8')).toBe(svg);
  },
);
