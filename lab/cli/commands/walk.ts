/** `postern walk`: explain one access of a device over a captured machine. */
import { readFixture } from '../../io/fixture.ts';
import { renderWalk, walkDocument } from '../../walk/render.ts';
import { walkSource } from '../../walk/source.ts';
import { presentStreams } from '../../walk/stream.ts';
import { walkAccess } from '../../walk/walk.ts';
import { type Command, flagArg, requiredNumber, requiredText, UsageError } from '../command.ts';

export const walkCommand: Command = {
  name: 'walk <fixture>',
  describe: 'Explain one device access: every word the SMMU fetches, and the outcome',
  options: [
    { flags: '--sid <stream>', describe: 'Stream ID of the device' },
    { flags: '--iova <address>', describe: 'Address that the device uses' },
    { flags: '--write', describe: 'Explain a write instead of a read' },
    { flags: '--json', describe: 'Print one JSON document' },
  ],
  examples: ['postern walk test/fixtures/rig/strict-all.json.gz --sid 0x10 --iova 0xffffc000'],
  async run(args, io) {
    const path = requiredText(args, 'fixture');
    const sid = requiredNumber(args, 'sid');
    const iova = requiredNumber(args, 'iova');
    const source = walkSource(await readFixture(path));
    const present = presentStreams(source);
    if (!present.includes(sid)) {
      const list = present.map((stream) => `0x${stream.toString(16)}`).join(', ');
      throw new UsageError(`--sid: there is no stream 0x${sid.toString(16)} in ${path}; it has ${list || 'none'}`);
    }
    const walk = walkAccess(source, sid, iova, flagArg(args, 'write'));
    io.out(flagArg(args, 'json') ? `${JSON.stringify(walkDocument(walk), null, 2)}\n` : renderWalk(walk, io.columns));
    return 0;
  },
};
